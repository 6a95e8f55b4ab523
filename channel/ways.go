package channel

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/identity/trust"
)

// Way makes a session, or returns one that is there already, that may lead to the far end of
// another one, which it never returns. It is called again when it has failed, and when what it has
// returned has ended.
type Way func(ctx context.Context, instead *Session) (*Session, error)

// ResumeBy says by which ways flows of the session may go on elsewhere when its links are lost, or
// the session is going away. The initiator calls it, before it opens the first. Without it they go
// on in the session itself.
func (s *Session) ResumeBy(ways func() []Way) { s.ways.Store(&ways) }

// found has flows resumed in a session that has been found.
func (u *suspension) found(next *Session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.next = next
	for f, w := range u.waiting {
		if !w.again.IsZero() {
			w.again = time.Time{}
			u.ready = append(u.ready, f)
		}
	}
}

// seek looks for another session on all ways. If there is none at all, nothing waits for it.
func (u *suspension) seek(ctx context.Context, tasks *sync.WaitGroup) {
	if u.seeks {
		return
	}
	u.seeks = true
	var ways []Way
	if f := u.session.ways.Load(); f != nil {
		ways = (*f)()
	}
	var left sync.WaitGroup
	for _, way := range ways {
		left.Add(1)
		tasks.Go(func() {
			defer left.Done()
			u.seekBy(ctx, way)
		})
	}
	tasks.Go(func() {
		left.Wait()
		if ctx.Err() == nil {
			u.noWay()
		}
	})
}

// noWay ends what has no link, once no way is left. What still has one goes on with it.
func (u *suspension) noWay() {
	u.mu.Lock()
	all := slices.Collect(maps.Keys(u.waiting))
	u.mu.Unlock()
	for _, f := range all {
		if f.isAbsent() || !f.isOpen() {
			u.fail(f, cmp.Or(u.session.Err(), errNoWay))
		} else {
			u.remove(f, false)
		}
	}
}

// seekBy brings sessions that a way leads to, as long as they may be with the same far end. It
// returns when the way leads elsewhere for good.
func (u *suspension) seekBy(ctx context.Context, way Way) {
	pause := resumeRetry
	for ctx.Err() == nil {
		s, err := way(ctx, u.session)
		switch {
		case errors.Is(err, trust.ErrNotTrusted), errors.Is(err, ErrWrongName):
			return
		case err == nil && !s.continues(u.session):
			return
		case err == nil:
			select {
			case u.ways <- s:
			case <-ctx.Done():
				return
			}
			select {
			case <-s.Done():
			case <-ctx.Done():
			}
			pause = resumeRetry
			continue
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, resumeRetryMax)
	}
}

// continues tells whether s is with the same process as before, which it takes for the same.
func (s *Session) continues(before *Session) bool {
	return s != before && s.survive > 0 && s.id == before.id && s.process == before.process &&
		s.Name() == before.Name() && s.trust.as == before.trust.as
}
