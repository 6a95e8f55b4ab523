package cli

import "syscall"

// programAttributes has a program be told to end if this process is killed: its portals are gone
// then, and somebody else may get their ports.
func programAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
