package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/internal/printable"
)

// listMu keeps two appenders of this process apart. Those of other processes are kept
// apart by appending with one write; if both add the same identity it is there twice.
var listMu sync.Mutex

// addToAllowFile adds an identity to an allow file, with a comment of at most maxComment
// bytes of printable text, or an empty one. What is in the file stays as it is. A file that
// is not there is created, mode 0600; one that has an error in it is left alone. An
// identity that is listed already is not added again, and that is no error.
func addToAllowFile(path string, id identity.Identifier, comment string) error {
	if err := addToList(path, id, comment); err != nil {
		return fmt.Errorf("allow file %s: %w", path, err)
	}
	return nil
}

func addToList(path string, id identity.Identifier, comment string) error {
	if id.IsZero() {
		return errZero
	}
	if len(comment) > maxComment || !printable.Is(comment) {
		return fmt.Errorf("comment is not printable text of at most %d bytes", maxComment)
	}
	listMu.Lock()
	defer listMu.Unlock()
	line := listLine(nil, id, comment)
	err := writeNew(path, line)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	b, _, err := atomicfile.Read(path, MaxListFile)
	if err != nil {
		return err
	}
	ids, err := parseList(string(b))
	if err != nil {
		return err
	}
	if _, listed := ids[id]; listed {
		return nil
	}
	line = listLine(b, id, comment)
	if len(b)+len(line) > MaxListFile {
		return fmt.Errorf("it would have more than %d bytes", MaxListFile)
	}
	return atomicfile.Append(path, line)
}

// writeNew creates the file unless it is there, in which case nothing is written.
func writeNew(path string, line []byte) error {
	if _, err := os.Stat(path); err == nil {
		return fs.ErrExist
	}
	return atomicfile.Create(path, line)
}
