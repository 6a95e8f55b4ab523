package channel

import "sync"

// signal is how one part of a session tells the goroutine of another one that something has
// changed. It says that something has, not how often: whoever is told looks for itself. Telling
// never waits. One goroutine at a time receives from it.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) tell() {
	select {
	case s <- struct{}{}:
	default: // told already, and not yet heard
	}
}

// event is something that happens once. Any number of goroutines wait for it.
type event struct {
	mu   sync.Mutex
	over bool
	c    chan struct{} // closed by happen; nil while nobody has waited
}

func (e *event) happen() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.c != nil && !e.over {
		close(e.c)
	}
	e.over = true
}

// await returns a channel that is closed when it happens.
func (e *event) await() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.c == nil {
		e.c = make(chan struct{})
		if e.over {
			close(e.c)
		}
	}
	return e.c
}

func (e *event) happened() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.over
}
