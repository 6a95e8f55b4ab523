//go:build unix

package cli

import (
	"os"
	"syscall"
)

// hasTerminal tells whether the process has a controlling terminal: one that sends it SIGHUP when
// it is closed.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}
