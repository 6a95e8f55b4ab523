package test

import "syscall"

// processAttributes gives a process a group of its own and no terminal, and ends it with the tests
// if these are killed.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}
