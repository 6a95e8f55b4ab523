//go:build unix && !linux

package test

import "syscall"

// processAttributes gives a process a group of its own.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true}
}

// bootedMain is for machines with systemd.
func bootedMain() { panic("there is no systemd here") }

// radioMain is for a machine of Linux's.
func radioMain() { panic("there is no Linux here") }
