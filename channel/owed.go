package channel

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/secureportal/sp/identity"
)

// A side that ends in good order may owe something to far ends that it has lost: what was said last
// in flows that have ended since.

// AwaitOwed returns when the far ends have all that was said in flows that have ended here and have
// lost a link, or when ctx has ended, and how many flows are left then.
func (e *Endpoint) AwaitOwed(ctx context.Context) (left int) {
	for {
		all, less := e.flows.all()
		left = len(slices.DeleteFunc(all, func(f *Flow) bool { return !f.owes() }))
		if left == 0 {
			return 0
		}
		select {
		case <-less:
		case <-time.After(lingeringLeaving): // for some, that is over
		case <-ctx.Done():
			return left
		}
	}
}

// owes tells whether the flow has ended on this side, and has lost a link, and has not brought all
// to the far end since. What is on its way on another link arrives by itself, be it acknowledged or
// not: the far end may have closed the flow as well.
func (f *Flow) owes() bool {
	if !f.lasts() || f.isOpen() {
		return false
	}
	return f.isAbsent() || f.Session().Err() != nil || f.lasting.kept.isSending() ||
		time.Since(f.lasting.goneOn()) < lingeringLeaving
}

// waits tells whether the flow has no link, and is to have one.
func (f *Flow) waits() bool { return f.lasts() && (f.isAbsent() || !f.isOpen()) }

// Unfound says that no initiator will find a way to this side any more: flows that have lost their
// session end now, and not only when their time is over.
func (e *Endpoint) Unfound() { e.unfound.Store(true) }

// errUnfound says that a flow waits for somebody who cannot come.
var errUnfound = fmt.Errorf("%w: its link was lost, and this side, which is shutting down, "+
	"cannot be reached any more", ErrCut)

// isUnfound tells whether nobody can go on with the flows that wait.
func (u *suspension) isUnfound() bool {
	s := u.session
	if !s.endpoint.unfound.Load() || s.role != identity.Responder || s.Err() == nil {
		return false
	}
	return !slices.ContainsFunc(s.endpoint.Sessions(), func(other *Session) bool {
		return other.Err() == nil && s.mayGoOnAs(other)
	})
}

// mayGoOnAs tells whether flows of a session may go on in another one: see continues, for both
// sides.
func (s *Session) mayGoOnAs(other *Session) bool {
	return other != s && s.isLike(other) && s.process == other.process
}

// leftMost is how many flows the far end is told of when this side is closed.
const leftMost = 4096

// leftIn returns the flows of other sessions that end with the endpoint, and that the far end of s
// might go on with there. Who has no other way to it is told by this one: else he would wait for
// somebody who is gone.
func (e *Endpoint) leftIn(s *Session) (ids []flowID) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, f := range e.left {
		if f.Session().mayGoOnAs(s) {
			ids = append(ids, f.lasting.id)
		}
		if len(ids) == leftMost {
			break
		}
	}
	return ids
}
