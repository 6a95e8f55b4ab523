package cli

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// backgroundAttributes has a process in the background have no console that could end it.
func backgroundAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP,
	}
}
