//go:build unix

package atomicfile

import (
	"errors"
	"os"
)

// syncDir brings a new name to the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
