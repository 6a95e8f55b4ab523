package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// What signals mean. What was ignored when the process began stays ignored: nohup does that to
// SIGHUP, and a shell to SIGINT and SIGQUIT of what a script starts in the background. SIGPIPE
// never ends a process that has work to do; a command whose results nobody reads ends with it.
// SIGHUP is for roles: see runPortals.

// watchSignals has the first of SIGINT and SIGTERM call stop, unless ctx has ended before, and the
// next one call exit. What it has started lives as long as the process.
func watchSignals(ctx context.Context, stop, exit func()) (unwatch func()) {
	if signal.Ignored(os.Interrupt) {
		signal.Ignore(syscall.SIGQUIT) // whether that was ignored, Go does not tell
	}
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			stop()
		case <-ctx.Done():
		}
		<-signals
		exit()
	}()
	return func() { signal.Stop(signals) }
}

// notify is signal.Notify for what was not ignored when the process began.
func notify(c chan<- os.Signal, all ...os.Signal) {
	for _, s := range all {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// endByBrokenPipe ends the process as SIGPIPE does, where that is possible.
func endByBrokenPipe() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // Reset alone leaves it ignored
	signal.Reset(syscall.SIGPIPE)
	_, _ = os.Stdout.WriteString("\n") // which nobody reads: see package os/signal
}
