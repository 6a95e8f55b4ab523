package relay

import (
	"context"
	"sync"
	"time"
)

// leaving is whether a client is to give its name up, and how far that is. It has a lock of its
// own. Its life:
//
//	         ┌── Stay ───┐
//	         ▼           │
//	    wanted ──Leave─► on its way ──► over
//	         └──Leave, or lost, and not registered ──► over
//
//	on its way  whoever comes by the relay is told to go elsewhere
//	over        Run ends, once what is open has
type leaving struct {
	mu         sync.Mutex
	registered bool // the name is held
	onItsWay   bool
	over       bool
	abort      context.CancelFunc // ends attempts to claim the name; nil before Run
	changed    chan struct{}      // gets something when onItsWay changes
}

// begin is called by Run. The context that it returns ends when the name is not to be claimed any
// more.
func (l *leaving) begin(ctx context.Context) (claims context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	claims, l.abort = context.WithCancel(ctx)
	if l.over {
		l.abort()
	}
	return claims
}

// leave begins it, or ends all where there is nothing to leave.
func (l *leaving) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onItsWay = true
	if !l.registered {
		l.endLocked()
	}
	l.pokeLocked()
}

// stay takes leave back, and reports false if that is too late.
func (l *leaving) stay() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	l.onItsWay = false
	l.pokeLocked()
	return true
}

// hold takes note of whether the name is held now, and reports false if it is not to be.
func (l *leaving) hold(registered bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.registered = registered
	if !registered && l.onItsWay {
		l.endLocked()
	}
	return !l.over
}

// end ends all if it is on its way, and tells whether it is over.
func (l *leaving) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.onItsWay {
		l.endLocked()
	}
	return l.over
}

func (l *leaving) endLocked() {
	l.over = true
	if l.abort != nil {
		l.abort()
	}
}

func (l *leaving) isOnItsWay() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.onItsWay
}

func (l *leaving) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

// wake returns a channel that gets something when it has begun or been taken back.
func (l *leaving) wake() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wakeLocked()
}

func (l *leaving) wakeLocked() chan struct{} {
	if l.changed == nil {
		l.changed = make(chan struct{}, 1)
	}
	return l.changed
}

func (l *leaving) pokeLocked() {
	select {
	case l.wakeLocked() <- struct{}{}:
	default:
	}
}

// Leave has Run give the name up without haste: whoever comes by the relay is told to go elsewhere,
// what is open goes on or moves, and when nothing comes by it any more, Run returns. Where the name
// is not held, Run returns soon. Leave does not wait for that.
func (c *Client) Leave() { c.leaving.leave() }

// Stay takes Leave back, and reports false if that is too late: Run ends then.
func (c *Client) Stay() bool { return c.leaving.stay() }

// leaveBehind tells those who come by the relay that they should go elsewhere, as long as the name
// is to be given up. It returns when nobody does any more, and the client's life is over, or when
// until is done or the name is wanted again.
func (r *registration) leaveBehind(ctx context.Context, until <-chan struct{}) {
	leaving := &r.client.leaving
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // which GoesAway waits for
	r.client.Serve.Go(func() { r.relayed.GoesAway(ctx) })
	again := time.NewTimer(leaveInterval)
	defer again.Stop()
	empty := 0 // how often in a row nothing has come by the relay
	for round := 1; leaving.isOnItsWay(); round++ {
		empty++
		if r.client.Serve.GoAway(r.carries) > 0 || r.relayed.Passes() {
			empty = 0
		}
		if empty > leaveEmpty && leaving.end() {
			return
		}
		if again.Reset(leaveInterval); round > leaveRounds {
			again.Reset(goAwayInterval)
		}
		select {
		case <-again.C:
		case <-leaving.wake():
		case <-until:
			return
		}
	}
}
