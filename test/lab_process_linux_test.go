package test

import "syscall"

// processAttributes gives a process a group of its own, and ends it with the tests if these are
// killed.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
