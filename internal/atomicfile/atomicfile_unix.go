//go:build unix

package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// CheckPrivate refuses a file that anybody but its owner may use, with [ErrNotPrivate].
// info is of the file at path; the error says how to put it right.
func CheckPrivate(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: its mode is %04o: run \"chmod 600 %s\"", ErrNotPrivate, mode, path)
	}
	return nil
}

// syncDir brings a new name to the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
