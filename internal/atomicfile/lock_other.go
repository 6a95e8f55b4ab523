//go:build (!unix && !windows) || aix || (solaris && !illumos)

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
)

// tryLock makes the file at name, which nobody else can while it is there. That of a process that
// died has to be removed by hand.
func tryLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, newFileMode)
	if errors.Is(err, fs.ErrExist) {
		return nil, ErrLocked
	}
	return f, err
}

// release lets go of a lock.
func release(f *os.File, name string) {
	_ = f.Close()
	_ = os.Remove(name)
}
