package channel

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/secureportal/sp/identity/trust"
)

// Way is one by which flows of a session may go on elsewhere.
type Way struct {
	// To tells ways of a session apart: two with the same one are the same.
	To string

	// Make makes a session, or returns one that is there already, that may lead to the far end of
	// another one, which it never returns. It is called again when it has failed, and when what it has
	// returned has ended. ErrProcessGone says that whoever leads this way has seen the process end:
	// other ways are tried for a few seconds more.
	Make func(ctx context.Context, instead *Session) (*Session, error)
}

// ResumeBy says by which ways flows of the session may go on elsewhere when its links are lost, or
// the session is going away. It is asked again as long as flows wait: ways that come to be
// meanwhile are tried as well. The initiator calls it, before it opens the first. Without it they
// go on in the session itself.
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

// seek looks for another session on all ways that there are now, those left out on which that has
// been begun already. If there is none at all, nothing waits for it.
func (u *suspension) seek(ctx context.Context, tasks *sync.WaitGroup) {
	first := u.sought == nil
	if first {
		u.sought = make(map[string]bool)
	}
	if ways := u.session.ways.Load(); ways != nil {
		for _, way := range (*ways)() {
			if u.sought[way.To] {
				continue
			}
			u.sought[way.To] = true
			u.seekers++
			tasks.Go(func() {
				gone := u.seekBy(ctx, way)
				select {
				case u.stray <- gone:
				case <-ctx.Done():
				}
			})
		}
	}
	if first && u.seekers == 0 {
		u.noWay()
	}
}

// seekMore looks for another session on ways that have come to be since seek was called.
func (u *suspension) seekMore(ctx context.Context, tasks *sync.WaitGroup) {
	if u.sought != nil {
		u.seek(ctx, tasks)
	}
}

// strayed takes note that a way leads elsewhere for good, and whether that is because the process
// is said to be gone.
func (u *suspension) strayed(ctx context.Context, tasks *sync.WaitGroup, gone bool) {
	u.seekers--
	u.seek(ctx, tasks)
	if u.seekers == 0 {
		u.noWay()
	}
	if gone && u.gone.IsZero() {
		u.gone = time.Now()
	}
}

// goneGrace is for how long a process that is said to be gone is looked for by other ways.
const goneGrace = 5 * time.Second

// giveUpGone ends what has no link if the process has been said to be gone, and no other way has
// led to it since.
func (u *suspension) giveUpGone(now time.Time) {
	if u.gone.IsZero() || now.Sub(u.gone) < goneGrace {
		return
	}
	u.mu.Lock()
	found := u.targetLocked() != nil
	u.mu.Unlock()
	if found {
		u.gone = time.Time{}
		return
	}
	u.noWay()
}

// noWay ends what has no link, once no way is left.
func (u *suspension) noWay() { u.failAbsent(cmp.Or(u.session.Err(), errNoWay)) }

// failAbsent ends what has no link because of err, or is about to: the far end may say soon that it
// has not come. What still has one goes on with it.
func (u *suspension) failAbsent(err error) {
	u.mu.Lock()
	var all []*Flow
	for f, w := range u.waiting {
		if f.isAbsent() && u.mayBeTold(f, w, time.Now()) {
			w.stranded = true
			continue
		}
		all = append(all, f)
	}
	u.mu.Unlock()
	for _, f := range all {
		if f.isAbsent() || !f.isOpen() {
			u.fail(f, err)
		} else {
			u.remove(f, false)
		}
	}
}

// seekBy brings sessions that a way leads to, as long as they may be with the same far end. It
// returns when the far end says that there will be none, or another process has taken its place,
// and whether the process is said to be gone. Who else answers may be there for a moment only, and
// may say what he likes.
func (u *suspension) seekBy(ctx context.Context, way Way) (gone bool) {
	pause := resumeRetry
	for ctx.Err() == nil {
		s, err := way.Make(ctx, u.session)
		switch {
		case errors.Is(err, ErrProcessGone):
			return true
		case u.session.isDenied(err), err == nil && s.replaces(u.session):
			return false
		case err == nil && s.continues(u.session):
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
	return false
}

// isDenied tells whether err says that the far end of s will not go on with its flows in another
// session. It is the same identity that does not trust this side, be it another process by now; or
// the same process that does not go by the name any more.
func (s *Session) isDenied(err error) bool {
	d, ok := errors.AsType[*deniedError](err)
	return ok && d.peer == s.id && (d.process == s.process || errors.Is(err, trust.ErrNotTrusted))
}

// replaces tells whether s is with the same identity as before, and yet no flow can go on in it:
// another process has taken that one's place.
func (s *Session) replaces(before *Session) bool {
	return s.id == before.id && !s.continues(before)
}

// continues tells whether s is with the same process as before, which it takes for the same.
func (s *Session) continues(before *Session) bool {
	return s != before && s.survive > 0 && s.id == before.id && s.process == before.process &&
		s.Name() == before.Name() && s.trust.as == before.trust.as
}
