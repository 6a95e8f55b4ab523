package channel

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// sessionState is where a session is in its life. Each arrow is one method of life.
//
//	        goAway
//	open ───────────▶ going away    the far end has said that it goes away
//	  │                   │
//	  ├───────────────────┘
//	  │ end
//	  ├──────────▶ draining         in good order, and flows were still on its links
//	  │               │ drained     no flow is left, somebody closes it, or trust has ended
//	  │               ▼
//	  └──────────▶ closing          its links are closed, its goroutines end
//	                  │ finish
//	                  ▼
//	                over            nothing is left of it
//
// A session that is going away works as before, but new flows should go elsewhere. From end on
// there are no new flows, no keys, and a reason.
type sessionState int

const (
	sessionOpen sessionState = iota
	sessionGoingAway
	sessionDraining
	sessionClosing
	sessionOver
)

// life is a session's state. Its lock is taken before that of any other part, never after.
type life struct {
	ctx  context.Context // ends with end
	stop context.CancelFunc

	goingAway event // the far end has said that it goes away
	closed    event // somebody closes the session, so that it drains no longer
	closeSent event // the far end has been told of the end, or cannot be
	over      event // with the state of that name

	mu    sync.Mutex
	state sessionState
	err   error     // why the session has ended
	after []*func() // called when it has
}

func newLife() life {
	ctx, stop := context.WithCancel(context.Background())
	return life{ctx: ctx, stop: stop}
}

// goAway: open → going away.
func (l *life) goAway() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == sessionOpen {
		l.state = sessionGoingAway
	}
	l.goingAway.happen()
}

// end: open or going away → draining or closing, because of err. shut makes the session's parts
// take in nothing new. It is called with the lock held, tells whether flows are still on links, and
// may object to the end. Only the first call that nobody objects to does anything.
func (l *life) end(err error, shut func() (busy, ok bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state >= sessionDraining {
		return
	}
	busy, ok := shut()
	if !ok {
		return
	}
	l.state, l.err = sessionClosing, err
	if busy && errors.Is(err, ErrGoingAway) {
		l.state = sessionDraining
	}
	l.stop()
	for _, f := range l.after {
		go (*f)() // see afterEnd
	}
	l.after = nil
}

// afterEnd has f called when the session has ended, as context.AfterFunc does of ctx, but for less
// room. Who asks for it waits for what f does.
func (l *life) afterEnd(f func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state >= sessionDraining {
		go f()
		return func() bool { return false }
	}
	l.after = append(l.after, &f)
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		i := slices.Index(l.after, &f)
		if i >= 0 {
			l.after = slices.Delete(l.after, i, i+1)
		}
		return i >= 0
	}
}

// drained: draining → closing.
func (l *life) drained() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = sessionClosing
}

// finish: closing → over.
func (l *life) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = sessionOver
	l.over.happen()
}

func (l *life) is(state sessionState) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == state
}

// reason returns why the session has ended, or nil.
func (l *life) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
