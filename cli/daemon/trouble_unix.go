//go:build unix && !netbsd && !openbsd && !solaris && !illumos

package daemon

import "golang.org/x/sys/unix"

// freeDescriptor returns the lowest number that no open file has: at least so many are open. The
// error is that there is none.
func freeDescriptor() (int, error) {
	n, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err == unix.EBADF { // there is no stdin
		n, err = unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 0)
	}
	if err != nil && err != unix.EMFILE {
		return 0, nil // who does not tell has some left
	}
	if err != nil {
		return 0, err
	}
	_ = unix.Close(n)
	return n, nil
}

// freeSpace returns how many bytes can still be written in a folder.
func freeSpace(folder string) (bytes uint64, known bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil || s.Blocks == 0 {
		return 0, false // such as of what has no size
	}
	return uint64(max(int64(s.Bavail), 0)) * uint64(s.Bsize), true
}
