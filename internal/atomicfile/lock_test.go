package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Of many who read, count and write at once none is lost, and nothing is left behind.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := Create(path, []byte("0")); err != nil {
		t.Fatal(err)
	}
	const people, times = 8, 20
	var wg sync.WaitGroup
	for range people {
		wg.Go(func() {
			for range times {
				unlock, err := Lock(path, 3*time.Minute) // for 160 times on the disk
				if err != nil {
					t.Error(err)
					return
				}
				b, _, err := Read(path, 10)
				n, _ := strconv.Atoi(string(b))
				if err := errors.Join(err, Replace(path, []byte(strconv.Itoa(n+1)))); err != nil {
					t.Error(err)
				}
				unlock()
			}
		})
	}
	wg.Wait()
	wantFile(t, path, strconv.Itoa(people*times))
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || runtime.GOOS != "windows" && len(left) != 1 {
		t.Errorf("files left behind: %v, %v", left, err)
	}
}

// Who waits in vain is told, and a file has one lock, whatever it is called.
func TestLockIsHeld(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := Create(path, nil); err != nil {
		t.Fatal(err)
	}
	unlock, err := Lock(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{path}
	if os.Symlink("file", link) == nil {
		names = append(names, link)
	}
	for _, name := range names {
		if _, err := Lock(name, 2*lockPause); !errors.Is(err, ErrLocked) {
			t.Errorf("%s: %v", name, err)
		}
	}
	unlock()
	if unlock, err = Lock(link, 0); err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := Lock(filepath.Join(dir, "no", "file"), 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
}
