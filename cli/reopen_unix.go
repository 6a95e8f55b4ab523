//go:build unix

package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// ignoreReopen has SIGUSR1, which is for those who have a log file, do nothing.
func ignoreReopen() { signal.Ignore(syscall.SIGUSR1) }

// onReopen calls do on each SIGUSR1, until the returned function is called.
func onReopen(do func()) (ignore func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	return onEach(signals, do)
}
