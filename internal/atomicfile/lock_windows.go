package atomicfile

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// tryLock locks the file at name, which it makes if need be, and which stays: a file that is open
// elsewhere cannot be removed.
func tryLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, newFileMode)
	if err != nil {
		return nil, err
	}
	const how = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err = windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		err = ErrLocked
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// release lets go of a lock.
func release(f *os.File, _ string) { _ = f.Close() }
