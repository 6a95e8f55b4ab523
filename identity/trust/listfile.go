package trust

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/internal/filewatch"
)

// Kinds of lists.
const (
	allowKind = "allow"
	denyKind  = "deny"
)

// listFile is an allow or deny file and what was last read from it. Its owner is the
// policy, under its lock.
type listFile struct {
	kind, path string // set once; kind is allowKind or denyKind
	later      bool   // set once: it need not be there before it has been read
	file       *filewatch.File

	named        // ids is nil if it was never read
	fresh   bool // it has been read since the policy last looked
	emptied bool // it was found empty once, which is not believed yet

	shorter fs.FileInfo // of a deny file in which something was missing once; nil: nothing is
}

func newListFile(kind, path string) *listFile {
	return &listFile{kind: kind, path: path, file: filewatch.New(path)}
}

// load reads the file. If it cannot, or finds something wrong, the old list stays.
func (f *listFile) load() error {
	f.file.Changed() // what poll compares with from now on
	return f.read(false)
}

// poll loads the file if it is not as it was. An error is returned once and not again
// until it is another one. A file that is being written, or an allow file that has just been
// emptied, perhaps to be written, is left for the next time. So is what is missing in a deny file.
func (f *listFile) poll() error {
	if !f.file.Changed() {
		return f.file.Once(nil)
	}
	return f.file.Once(f.read(true))
}

// read makes the file's contents the list, if they are one. Contents that are wrong are not
// read again before the file changes; a file that cannot be read is.
func (f *listFile) read(patient bool) error {
	b, info, err := atomicfile.ReadDeciding(f.path, MaxListFile)
	if f.isAwaited() && errors.Is(err, fs.ErrNotExist) {
		f.file.Again()
		return nil
	}
	if err != nil {
		f.file.Again()
		return f.error(err)
	}
	if patient && f.unfinished(b) {
		f.file.Again()
		return nil
	}
	all, err := parseLines(string(b), f.kind == denyKind)
	if err != nil {
		return f.error(err)
	}
	if patient && f.kind == denyKind && f.named.exceeds(all) && !f.leftAlone(info) {
		f.file.Again()
		all = all.and(f.named)
	} else {
		f.shorter = nil
	}
	f.named, f.fresh = all, true
	return nil
}

// leftAlone reports whether a deny file that lacks something is as it was when that was found out.
// Nobody is let in because somebody else is writing the list just now, slowly: what is new counts
// at once, and what is missing only if it still is at the next look and nothing has been written
// since.
func (f *listFile) leftAlone(now fs.FileInfo) bool {
	before := f.shorter
	f.shorter = now
	return filewatch.Same(before, now)
}

// isAwaited reports whether the file may be missing: it has not been there yet.
func (f *listFile) isAwaited() bool { return f.later && f.ids == nil }

// unfinished reports whether somebody seems to be writing what was read as b.
func (f *listFile) unfinished(b []byte) bool {
	emptied := len(b) == 0 && f.kind == allowKind && len(f.ids) > 0 && !f.emptied
	f.emptied = emptied
	return emptied || f.file.Changing()
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
