package atomicfile

import "golang.org/x/sys/unix"

// isReadOnly tells whether a folder is on a file system that is mounted read-only.
func isReadOnly(folder string) bool {
	var s unix.Statfs_t
	return unix.Statfs(folder, &s) == nil && s.Flags&unix.ST_RDONLY != 0
}
