//go:build unix

package control

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// hasModes tells that files have modes here.
const hasModes = true

// systemFolders are those of this user's that the system names.
func systemFolders() []string {
	if os.Geteuid() == 0 {
		return []string{filepath.Join("/run", folder)}
	}
	user := filepath.Join("/run/user", strconv.Itoa(os.Geteuid()))
	if !isOwn(user) {
		return nil
	}
	return []string{filepath.Join(user, folder)}
}

// isOwn tells whether path is there and this user's.
func isOwn(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	about, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(about.Uid) == os.Geteuid()
}
