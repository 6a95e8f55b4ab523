//go:build unix && !linux

package cli

import "syscall"

func programAttributes() *syscall.SysProcAttr { return nil }
