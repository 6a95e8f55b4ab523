package cli

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// What signals mean. What was ignored when the process began stays ignored: nohup does that to
// SIGHUP, and a shell to SIGINT and SIGQUIT of what a script starts in the background. SIGPIPE
// never ends a process that has work to do; a command whose results nobody reads ends with it.
// SIGHUP is for roles: see runPortals.

// oneSignal is within which time several of a kind are one: whoever signals a process and then its
// group, as timeout does, means one. What is typed is as many as it is.
const oneSignal = 100 * time.Millisecond

// signalWatch is who gets the process's signals. It is safe for concurrent use.
type signalWatch struct {
	arrived chan os.Signal

	mu    sync.Mutex // guards what follows
	first os.Signal  // that has ended the command; nil for none
	take  func(os.Signal)
}

// watchSignals has the first of SIGINT and SIGTERM call stop, unless ctx has ended before, and the
// next one call exit. What comes from others is as if the process had got it. What it has started
// lives as long as the process.
func watchSignals(
	ctx context.Context, others <-chan os.Signal, stop, exit func(),
) *signalWatch {
	if signal.Ignored(os.Interrupt) {
		signal.Ignore(syscall.SIGQUIT) // whether that was ignored, Go does not tell
	}
	signal.Ignore(syscall.SIGPIPE)
	w := &signalWatch{arrived: make(chan os.Signal, 2)}
	notify(w.arrived, os.Interrupt, syscall.SIGTERM)
	go func() {
		var last os.Signal
		var at time.Time
		for {
			var s os.Signal
			select {
			case s = <-w.arrived:
			case s = <-others:
			}
			if s == last && s != os.Interrupt && time.Since(at) < oneSignal {
				continue
			}
			last, at = s, time.Now()
			switch take := w.taker(); {
			case take != nil:
				take(s)
			case ctx.Err() != nil:
				exit()
			default:
				w.mu.Lock()
				w.first = s
				w.mu.Unlock()
				stop()
			}
		}
	}()
	return w
}

func (w *signalWatch) unwatch() { signal.Stop(w.arrived) }

func (w *signalWatch) taker() func(os.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.take
}

// passTo has take get all signals from now on, those in more as well, and in place of what they do
// otherwise. With nil they do that again.
func (w *signalWatch) passTo(take func(os.Signal), more ...os.Signal) {
	w.mu.Lock()
	w.take = take
	w.mu.Unlock()
	notify(w.arrived, more...)
}

// ended is the error of a command that was ended by a signal, or nil if it was not.
func (w *signalWatch) ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first == nil {
		return nil
	}
	return exitBySignal(w.first)
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

// notIgnored has programs that are started from now on begin with the SIGPIPE that they know.
func notIgnored() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// selfSignalTime is how long a process waits to be ended by a signal that it has sent itself. The
// first one of a container is not.
const selfSignalTime = time.Second

// endByInterrupt ends the process as SIGINT does, where that is possible: a shell whose command has
// ended so ends its script.
func endByInterrupt() {
	signal.Reset(os.Interrupt)
	self, err := os.FindProcess(os.Getpid())
	if err == nil && self.Signal(os.Interrupt) == nil {
		time.Sleep(selfSignalTime)
	}
}
