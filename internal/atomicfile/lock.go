package atomicfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// LockTime is how long to wait for a lock whose holders read and write small files.
const LockTime = 10 * time.Second

// lockPause is between two tries to take a lock.
const lockPause = 5 * time.Millisecond

// ErrLocked says that another process changes the file just now.
var ErrLocked = errors.New("another process is changing it")

// Lock keeps others who call Lock for the same path from going on until unlock is called, once:
// other processes, and others in this one. It waits for its turn, for at most some time, and fails
// with ErrLocked then. path need not exist; its folder must. A process that dies lets go.
//
// Beside the file there is another one meanwhile, with its name between a dot and ".lock".
func Lock(path string, wait time.Duration) (unlock func(), err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".lock")
	for end := time.Now().Add(wait); ; time.Sleep(lockPause) {
		f, err := tryLock(name)
		switch {
		case err == nil:
			return func() { release(f, name) }, nil
		case !errors.Is(err, ErrLocked):
			return nil, fmt.Errorf("lock %s: %w", name, WithoutPath(err))
		case time.Now().After(end):
			return nil, fmt.Errorf("%w, and has been for %v: see %s", ErrLocked, wait, name)
		}
	}
}
