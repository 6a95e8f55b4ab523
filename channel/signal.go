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
	c    chan struct{} // closed by happen
	once sync.Once
}

func newEvent() event { return event{c: make(chan struct{})} }

func (e *event) happen() { e.once.Do(func() { close(e.c) }) }

func (e *event) happened() bool {
	select {
	case <-e.c:
		return true
	default:
		return false
	}
}
