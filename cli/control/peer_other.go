//go:build !linux

package control

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// mayCall leaves it to the folder who may call.
func mayCall(*net.UnixConn) bool { return true }

// refusedMeansGone tells whether the process that a socket's name is of has ended: a connection is
// refused here as well where many wait to be accepted.
func refusedMeansGone(path string) bool {
	m := named.FindStringSubmatch(filepath.Base(path))
	if m == nil {
		m = unnamed.FindStringSubmatch(filepath.Base(path))
	}
	if m == nil {
		return false
	}
	pid, err := strconv.Atoi(m[1])
	if err != nil {
		return false
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return true
	}
	err = p.Signal(syscall.Signal(0))
	return err == os.ErrProcessDone || err == syscall.ESRCH
}
