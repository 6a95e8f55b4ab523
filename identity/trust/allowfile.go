package trust

import (
	"encoding/hex"
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

// MakeAllowFile makes an empty allow file, mode 0600, unless there is one. One that is there must
// be a list, and one that can be added to.
func MakeAllowFile(path string) error {
	err := writeNew(path, nil)
	if errors.Is(err, fs.ErrExist) {
		err = checkList(path)
	}
	if err == nil {
		err = atomicfile.Try(path)
	}
	if err != nil {
		return fmt.Errorf("allow file %s: %w", path, atomicfile.WithoutPath(err))
	}
	return nil
}

// RemoveAllowFile removes an allow file and what is remembered beside it of spent tickets. Who made
// the file for a while calls it, when nothing reads it any more.
func RemoveAllowFile(path string) error {
	return errors.Join(os.RemoveAll(path+spentSuffix), os.Remove(path))
}

// AddToAllowFile adds an identity to an allow file, with a comment of at most maxComment
// bytes of printable text, or an empty one. What is in the file stays as it is. A file that
// is not there is created, mode 0600; one that has an error in it is left alone. An
// identity that is listed already is not added again, and that is no error.
func AddToAllowFile(path string, id identity.Identifier, comment string) error {
	if id.IsZero() {
		return fmt.Errorf("allow file %s: %w", path, errZero)
	}
	listed := func(n named) bool { _, ok := n.ids[id]; return ok }
	if err := addToList(path, id.String(), comment, allowKind, listed); err != nil {
		return fmt.Errorf("allow file %s: %w", path, err)
	}
	return nil
}

// RevokeCredential adds the serial number of a credential to a deny file, which is made if it is
// not there: whoever reads that file does not believe the credential any more. comment is printable
// text, or empty. One that is there already is not added again.
func RevokeCredential(denyFile string, serial Serial, comment string) error {
	listed := func(n named) bool { _, ok := n.serials[serial]; return ok }
	err := addToList(denyFile, hex.EncodeToString(serial[:]), comment, denyKind, listed)
	if err != nil {
		return fmt.Errorf("deny file %s: %w", denyFile, err)
	}
	return nil
}

// addToList adds a line that begins with name to a list of some kind, unless it is listed.
func addToList(path, name, comment, kind string, listed func(named) bool) error {
	if len(comment) > maxComment || !printable.Is(comment) {
		return fmt.Errorf("comment is not printable text of at most %d bytes", maxComment)
	}
	listMu.Lock()
	defer listMu.Unlock()
	line := listLine(nil, name, comment)
	err := writeNew(path, line)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	b, _, err := atomicfile.ReadDeciding(path, MaxListFile)
	if err != nil {
		return err
	}
	all, err := parseLines(string(b), kind == denyKind)
	if err != nil || listed(all) {
		return err
	}
	line = listLine(b, name, comment)
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
