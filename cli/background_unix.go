//go:build unix

package cli

import "syscall"

// backgroundAttributes has a process in the background have no terminal that could end it.
func backgroundAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
