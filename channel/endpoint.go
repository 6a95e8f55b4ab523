package channel

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity"
)

// Endpoint is one node's side of all its channels. It is safe for concurrent use.
type Endpoint struct {
	config Config
	static *ecdh.PrivateKey // in memory only, new in each process
	busy   chan struct{}    // a slot for each handshake that may compute at once
	tasks  sync.WaitGroup   // sessions, and flows that wait for links
	ctx    context.Context  // ends with Close
	cancel context.CancelFunc
	flows  flowTable
	past   past

	watches atomic.Bool // what is kept and not read is looked after
	unfound atomic.Bool // Unfound has been called

	mu       sync.RWMutex // guards what follows; taken after any lock of a session, never before
	epochs   map[sessionID]acceptable
	sessions map[*Session]struct{}
	asked    map[identity.Identifier]int // sessions that each far end has asked for
	reviews  bool                        // somebody looks whether their far ends are trusted
	full     bool                        // AdmitNone has been called
	closed   bool
	left     []*Flow // that had no link then
}

// acceptable is where a flow with a session's number belongs.
type acceptable struct {
	session *Session
	epoch   *epoch
}

// New returns an endpoint. Close ends it.
func New(config Config) (*Endpoint, error) {
	if config.Identity == nil || config.Trust == nil {
		return nil, errors.New("channel: no identity or no trust")
	}
	static, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Endpoint{
		config: config, static: static, ctx: ctx, cancel: cancel,
		busy:     make(chan struct{}, 2*runtime.GOMAXPROCS(0)),
		epochs:   make(map[sessionID]acceptable),
		sessions: make(map[*Session]struct{}),
		asked:    make(map[identity.Identifier]int),
	}, nil
}

// GoAway tells the far ends of all sessions that this node goes away: new flows should go
// elsewhere. A session is told once.
func (e *Endpoint) GoAway() { e.each((*Session).sayGoAway) }

// GoAwayFunc is GoAway for the sessions that which selects, and returns how many these are.
func (e *Endpoint) GoAwayFunc(which func(*Session) bool) (selected int) {
	untold := func(s *Session) bool {
		if !which(s) {
			return false
		}
		selected++
		return !s.saidGoAway.Load()
	}
	e.eachOf(untold, (*Session).sayGoAway)
	return selected
}

// AwaitLeave returns when all initiators that have been told of going away have ended their
// sessions, as they do when no flow is open, or when ctx ends. What they sent before they were told
// has come by then, and been answered.
func (e *Endpoint) AwaitLeave(ctx context.Context) {
	for _, s := range e.Sessions() {
		if s.role == identity.Initiator {
			continue
		}
		select {
		case <-s.Done():
		case <-ctx.Done():
			return
		}
	}
}

// AdmitNone refuses whoever asks for a session from now on, as Close does. The sessions that there
// are go on.
func (e *Endpoint) AdmitNone() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.full = true
}

// Renew has both sides of all sessions prove themselves anew, with the keys and credentials that
// they have now. It waits for nothing. A session that is renewed more often than every few seconds
// waits.
func (e *Endpoint) Renew() { e.each(func(s *Session) { s.keys.renew() }) }

// Close ends all sessions, and waits for their work. New ones are refused. Calls of Serve and
// Initiate end soon after; whoever made them waits for them.
func (e *Endpoint) Close() error {
	flows, _ := e.flows.all()
	waiting := slices.DeleteFunc(flows, func(f *Flow) bool { return !f.waits() })
	e.mu.Lock()
	e.closed, e.left = true, waiting
	e.mu.Unlock()
	e.cancel() // what waits for a link does not any more, and so holds up no session's end
	e.each((*Session).quit)
	e.tasks.Wait()
	return nil
}

// run runs f on a goroutine that Close waits for. It reports false if the endpoint has been closed.
func (e *Endpoint) run(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.tasks.Go(f)
	return true
}

// CloseFunc ends the sessions that which selects. It waits until their links are closed
// and their far ends have been told, and not for the rest of their work.
func (e *Endpoint) CloseFunc(which func(*Session) bool) { e.eachOf(which, (*Session).quit) }

// each calls f for all sessions, at once: a far end that does not listen holds up nobody else's.
func (e *Endpoint) each(f func(*Session)) { e.eachOf(func(*Session) bool { return true }, f) }

// eachOf is each for some sessions.
func (e *Endpoint) eachOf(which func(*Session) bool, f func(*Session)) {
	var tasks sync.WaitGroup
	for _, s := range e.Sessions() {
		if which(s) {
			tasks.Go(func() { f(s) })
		}
	}
	tasks.Wait()
}

// errTooMany says that a far end is at a limit of this side's.
var errTooMany = errors.New("too many sessions")

// admit takes s among the sessions that end with e, or says why not. leave is its opposite.
func (e *Endpoint) admit(s *Session) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.full && s.role == identity.Responder {
		return ErrClosed
	}
	if s.role == identity.Responder {
		if most := e.config.sessionsPerIdentity(); e.asked[s.id] >= most {
			return fmt.Errorf("%w: it has %d sessions", errTooMany, most)
		}
		e.asked[s.id]++
		first := s.keys.current // nobody else has s yet
		e.epochs[first.id] = acceptable{s, first}
	}
	e.sessions[s] = struct{}{}
	sessionsNow.Inc()
	if !e.reviews {
		e.reviews = true
		e.tasks.Go(e.reviewTrust)
	}
	e.tasks.Add(1)
	return nil
}

// leave takes s, which has ended and does no work any more, out of the sessions.
func (e *Endpoint) leave(s *Session) {
	e.mu.Lock()
	delete(e.sessions, s)
	sessionsNow.Dec()
	if s.role == identity.Responder {
		if e.asked[s.id]--; e.asked[s.id] == 0 {
			delete(e.asked, s.id)
		}
	}
	e.mu.Unlock()
	s.life.finish()
	e.tasks.Done()
}

// Sessions returns those that are open.
func (e *Endpoint) Sessions() []*Session {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.Collect(maps.Keys(e.sessions))
}

// keep has flows of an epoch accepted.
func (e *Endpoint) keep(s *Session, epoch *epoch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.epochs[epoch.id] = acceptable{s, epoch}
}

// drop forgets the secret of an epoch of s: no flow of it is accepted any more.
func (e *Endpoint) drop(s *Session, epoch *epoch) {
	e.past.add(s, epoch)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.epochs, epoch.id)
	epoch.secret.Forget()
}

// reviewTrust decides again and again whether the far ends of all sessions are trusted: when
// decisions may have changed, and from time to time. It returns when there is no session. A
// session decides itself when it begins, when a decision ends, and when the far end has proved
// itself anew.
func (e *Endpoint) reviewTrust() {
	timer := time.NewTimer(reviewInterval)
	defer timer.Stop()
	for {
		changed := e.config.Trust.Changed()
		sessions, some := e.toReview()
		if !some {
			return
		}
		for _, s := range sessions {
			s.review()
		}
		timer.Reset(reviewInterval)
		select {
		case <-e.ctx.Done():
			return
		case <-changed:
		case <-timer.C:
		}
	}
}

func (e *Endpoint) toReview() (all []*Session, some bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reviews = len(e.sessions) > 0
	return slices.Collect(maps.Keys(e.sessions)), e.reviews
}
