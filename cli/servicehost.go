package cli

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// What a service manager knows of a process that it has started:
//
//	starting ──ready, or startTime is over──▶ running ──stop──▶ stopping ──▶ (its end)
//	    └──────────────stop──────────────────────────────────────▲
//
// While it is starting or stopping it is given up if it says nothing for as long as it has said.

// serviceState is how far a service has come.
type serviceState int

const (
	serviceStarting serviceState = iota
	serviceRunning
	serviceStopping
)

const (
	// startTime is how long a service may be starting: a role that waits for a relay runs, and
	// others are not to wait for it. What ends before that has not been started.
	startTime = 10 * time.Second

	// sayEvery is how often a service that is starting or stopping says that it is, and sayWithin how
	// long it says that the next word may take.
	sayEvery  = time.Second
	sayWithin = 20 * time.Second
)

// serviceReport is what the manager is told.
type serviceReport struct {
	state  serviceState
	step   uint32        // counts up while it is starting or stopping
	within time.Duration // until when there is another report; 0 if there need not be one
}

// serviceOrder is what the manager wants.
type serviceOrder int

const (
	orderNothing serviceOrder = iota
	orderReport
	orderStop
)

// hosted is a service, between its manager and what it runs.
type hosted[R any] struct {
	requests <-chan R
	order    func(R) serviceOrder
	report   func(serviceReport)
	ready    <-chan struct{} // closed when what it runs can be used
	ended    <-chan int      // gets its exit code
	stop     func()          // has it end in order; called once at most

	now serviceReport
}

// run returns when what the service runs has ended, with what the manager is told of that: its exit
// code, or 0 if it was to end. A manager starts anew what ends otherwise.
func (h *hosted[R]) run() int {
	h.enter(serviceStarting)
	started := time.NewTimer(startTime)
	defer started.Stop()
	words := time.NewTicker(sayEvery)
	defer words.Stop()
	ready := h.ready
	for {
		select {
		case code := <-h.ended:
			if h.now.state == serviceStopping {
				return exitDone
			}
			return code
		case <-ready:
			ready = nil
			h.runs(words)
		case <-started.C:
			h.runs(words)
		case <-words.C:
			h.now.step++
			h.report(h.now)
		case r := <-h.requests:
			h.obey(h.order(r), words)
		}
	}
}

// enter is the step into another state.
func (h *hosted[R]) enter(state serviceState) {
	h.now = serviceReport{state: state}
	if state != serviceRunning {
		h.now.step, h.now.within = 1, sayWithin
	}
	h.report(h.now)
}

// runs is called when the service need not be waited for any more.
func (h *hosted[R]) runs(words *time.Ticker) {
	if h.now.state == serviceStarting {
		h.enter(serviceRunning)
		words.Stop()
	}
}

func (h *hosted[R]) obey(order serviceOrder, words *time.Ticker) {
	switch {
	case order == orderReport:
		h.report(h.now)
	case order == orderStop && h.now.state != serviceStopping:
		h.enter(serviceStopping)
		words.Reset(sayEvery)
		h.stop()
	}
}

// firstLine closes ready at the first write of a role's stdout, which says that it can be used, and
// passes all on. It is safe for concurrent use.
type firstLine struct {
	to    io.Writer
	ready chan struct{}
	once  sync.Once
}

// Write implements io.Writer.
func (f *firstLine) Write(p []byte) (int, error) {
	f.once.Do(func() { close(f.ready) })
	return f.to.Write(p)
}

// eventLog is the log of the system. It is safe for concurrent use.
type eventLog interface {
	Info(number uint32, text string) error
	Warning(number uint32, text string) error
	Error(number uint32, text string) error
}

// eventNumber is that of all events: what there is to tell is in their text.
const eventNumber = 1

// eventLines are the lines of a log in the event log, one event each. What cannot be written there
// is nowhere.
type eventLines struct{ log eventLog }

// Write implements io.Writer, of a line.
func (e eventLines) Write(p []byte) (int, error) {
	text := string(bytes.TrimRight(p, "\r\n"))
	write := e.log.Info
	switch {
	case hasLevel(p, "ERROR") || bytes.HasPrefix(p, []byte("sp: ")) && !isHint(p):
		write = e.log.Error
	case hasLevel(p, "WARN"):
		write = e.log.Warning
	}
	_ = write(eventNumber, text)
	return len(p), nil
}

func isHint(line []byte) bool { return bytes.HasPrefix(line, []byte("sp: hint: ")) }

// hasLevel tells whether a line of a log, text or JSON, is of a level. What others have said stands
// behind it, or in quotes.
func hasLevel(line []byte, level string) bool {
	if rest, ok := bytes.CutPrefix(line, []byte("time=")); ok {
		_, rest, _ = bytes.Cut(rest, []byte(" level="))
		return bytes.HasPrefix(rest, []byte(level+" "))
	}
	rest, ok := bytes.CutPrefix(line, []byte(`{"time":"`))
	_, rest, _ = bytes.Cut(rest, []byte(`","level":"`))
	return ok && bytes.HasPrefix(rest, []byte(level+`"`))
}
