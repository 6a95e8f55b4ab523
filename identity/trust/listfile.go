package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/atomicfile"
)

// listFile is an allow or deny file and what was last read from it. Its owner is the
// policy, under its lock.
type listFile struct {
	kind, path string // set once; kind is "allow" or "deny"

	ids     map[identity.Identifier]int
	fresh   bool        // ids has been read since the policy last looked
	info    fs.FileInfo // of what was read; nil: look again
	settled bool        // it had been left alone for long enough when it was read
	emptied bool        // it was found empty once and this has not been believed yet
	told    string      // the last error that poll returned
}

// load reads the file. If it cannot, or finds something wrong, the old list stays.
func (f *listFile) load() error {
	b, info, err := atomicfile.Read(f.path, MaxListFile)
	if err != nil {
		return f.error(err)
	}
	return f.take(b, info)
}

// poll loads the file if it is not as it was. An error is returned once and not again
// until it is another one. A file that is being written, or has just been emptied,
// perhaps to be written, is left for the next time.
func (f *listFile) poll() error {
	err := f.look()
	if err == nil {
		f.told = ""
		return nil
	}
	if err.Error() == f.told {
		return nil
	}
	f.told = err.Error()
	return err
}

func (f *listFile) look() error {
	now, err := os.Stat(f.path)
	if err != nil {
		f.info = nil
		return f.error(atomicfile.WithoutPath(err))
	}
	if f.settled && unchanged(f.info, now) {
		return nil
	}
	b, info, err := atomicfile.Read(f.path, MaxListFile)
	if err != nil {
		f.info = nil
		return f.error(err)
	}
	after, err := os.Stat(f.path)
	writing := err != nil || !unchanged(info, after)
	emptied := len(b) == 0 && len(f.ids) > 0 && !f.emptied
	f.emptied = emptied
	if writing || emptied {
		f.info = nil
		return nil
	}
	return f.take(b, info)
}

// take makes b the list, if it is one. The file is not read again, either way, before
// it changes.
func (f *listFile) take(b []byte, info fs.FileInfo) error {
	f.info = info
	f.settled = time.Since(info.ModTime()) > settleTime
	ids, err := parseList(string(b))
	if err != nil {
		return f.error(err)
	}
	f.ids, f.fresh = ids, true
	return nil
}

func unchanged(before, now fs.FileInfo) bool {
	return before != nil && os.SameFile(before, now) &&
		before.Size() == now.Size() && before.ModTime().Equal(now.ModTime())
}

// error names the file in an error, and says if the list read before stays in force.
func (f *listFile) error(err error) error {
	at := f.path
	if e, ok := errors.AsType[*lineError](err); ok {
		at, err = fmt.Sprintf("%s:%d", f.path, e.line), e.err
	}
	if f.ids == nil {
		return fmt.Errorf("%s file %s: %w", f.kind, at, err)
	}
	return fmt.Errorf("%s file %s: %w: the list read before stays in force", f.kind, at, err)
}
