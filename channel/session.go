package channel

import (
	"context"
	"crypto/ecdh"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/noise"
)

// Session is what two nodes have in common after a handshake. It lives as long as its pings are
// answered, its peer is trusted, and nobody closes it; its flows end with it. Its keys are replaced
// by a new handshake from time to time. It is safe for concurrent use.
//
// Close, Endpoint.Close and Endpoint.CloseFunc end it. So does the end of the context of
// Endpoint.Serve.
type Session struct {
	// Set once. run owns the goroutines, and each part below has a lock and a file of its own.
	config *Config
	role   identity.Role
	id     identity.Identifier                     // the peer's
	dial   func(ctx context.Context) (Conn, error) // initiator only

	endpoint  *Endpoint
	process   processKey    // the peer's
	instance  string        // of the peer, as responder, as it says itself
	survive   time.Duration // how long flows wait for another link; both sides want that
	ways      atomic.Pointer[func() []Way]
	reports   *reports // of flows that outlive their links
	tallies   tallies  // initiator only
	lingering lingering

	suspending struct {
		sync.Mutex
		now *suspension  // nil while no flow waits for a link
		all atomic.Int64 // how many do
	}

	life      life
	control   control // its own link
	keys      keys    // of its flows, and their renewal
	chores    chores  // what is done in time
	reviews   chores  // of trust: they wait for no other
	renewal   *renewalTimer
	heartbeat heartbeat      // whether the far end answers
	trust     trustReview    // whether the far end is trusted
	pool      linkPool       // all links but the control link
	prewarm   *prewarm       // links for flows to come; initiator only
	quiet     *quietLinks    // links that carry nothing
	hooks     endHooks       // what to call when it has ended
	tasks     sync.WaitGroup // what else than chores has goroutines, for some time

	began      time.Time
	route      atomic.Pointer[string] // SetRoute
	saidGoAway atomic.Bool            // this side has told the far end that it goes away
	retired    atomic.Bool            // this side opens no new flows
	leaving    atomic.Bool            // the far end has said that it goes away

	probes atomic.Uint64 // how many have begun: see Endpoint.Probe
	waking atomic.Bool   // one has begun because this side had stood still
}

// newSession makes the session that a finished handshake on l is for.
func newSession(
	h *handshake, static *ecdh.PrivateKey, suite noise.Suite, l *link,
) (*Session, error) {
	process := h.process() // before the handshake is forgotten
	e, err := h.epoch()
	if err != nil {
		return nil, err
	}
	s := &Session{
		config: h.config, role: h.role, id: h.peer.Identifier(), life: newLife(),
		process: process, instance: h.instance, began: time.Now(),
		survive: min(h.survive, h.config.survive()),
	}
	s.control = newControl(l, s.end)
	s.control.send, s.control.receive = e.keys(h.role, 0)
	s.chores.do, s.reviews.do = s.doChores, func(chore) { s.review() }
	on := func(c chore) *alarm { return &alarm{chores: &s.chores, due: c} }
	s.reports = newReports(on(choreReport))
	s.heartbeat = newHeartbeat(&s.control, h.role, h.config.KeepaliveInterval(), on(choreBeat))
	s.trust = newTrustReview(h.config.Trust, h.peer, h.as, h.decision, &s.reviews)
	s.keys = keys{
		config: h.config, static: static, role: h.role, suite: suite, name: h.name, id: s.id,
		control: &s.control, trust: &s.trust,
		chores: &s.chores, current: e,
	}
	s.renewal = &renewalTimer{alarm: on(choreRenew), keys: &s.keys}
	if h.role == identity.Initiator {
		s.prewarm = newPrewarm(h.config.Prewarm)
	}
	s.quiet = newQuietLinks(on(choreQuiet))
	s.pool = newLinkPool(h.role, &s.life.goingAway, s.prewarm, s.quiet)
	return s, nil
}

// run is the initiator's. It does all of the session's own work, and returns when the session and
// the work have ended.
func (s *Session) run() {
	ended := s.begin()
	s.tasks.Add(1)
	go s.listen(func(err error) {
		s.end(err)
		s.tasks.Done()
	})
	s.tasks.Go(func() { s.prewarm.run(s.Done(), &s.pool, s.openEmpty) })
	s.awaitEnd()
	s.sayEnd()
	s.windUp(ended)
}

// attend is run of the responder, who has the first word. At rest the session takes no goroutine
// but the one that waits on the control link, for a relay has a session for each name: it may
// return before the session has ended, and calls then after that.
func (s *Session) attend(then func()) {
	ended := s.begin()
	s.life.afterEnd(s.sayEnd)
	if s.Err() == nil {
		if err := s.control.write(typeReady, nil); err != nil {
			s.end(handshakeError(err))
		}
	}
	s.chores.begin()
	s.listen(func(err error) {
		s.end(err)
		<-s.life.closeSent.await()
		s.windUp(ended)
		then()
	})
}

// windUp is the end of begin.
func (s *Session) windUp(ended func()) {
	s.endChores()
	s.tasks.Wait()
	s.drain()
	ended()
}

// begin has done in time what is to be. What it returns is to be called at the end.
func (s *Session) begin() (ended func()) {
	ended = func() {}
	if s.config.Began != nil {
		ended = s.config.Began(s)
	}
	s.heartbeat.timer.Reset(s.heartbeat.interval)
	s.renewal.restart()
	s.reviews.add(choreReview)
	s.reviews.begin()
	s.pool.activity.tell(&s.chores)
	if s.config.Activity != nil {
		s.config.Activity.tell(&s.chores)
	}
	if s.role == identity.Initiator {
		s.quiet.begin()
		s.chores.begin()
	}
	return ended
}

// endChores has nothing done any more.
func (s *Session) endChores() {
	s.heartbeat.timer.Stop()
	s.renewal.Stop()
	s.quiet.timer.Stop()
	s.reports.timer.Stop()
	if s.config.Activity != nil {
		s.config.Activity.forget(&s.chores)
	}
	s.chores.end()
	s.reviews.end()
	s.trust.reviewAt(time.Time{})
}

// doChores does what a session must do in time: pings, new keys, and looking after its links.
func (s *Session) doChores(due chore) {
	if err := s.work(due, time.Now()); err != nil {
		s.control.fail(err)
	}
}

func (s *Session) work(due chore, now time.Time) error {
	if due&choreRestart != 0 {
		s.renewal.restart()
	}
	if due&choreHasten != 0 {
		s.renewal.hasten()
	}
	if due&choreRenew != 0 && !s.renewal.putsOff(now, &s.pool) {
		if err := s.renewal.begin(now); err != nil {
			return err
		}
	}
	if due&choreQuiet != 0 {
		s.lookAfterQuiet(now)
	}
	if due&choreBeat != 0 {
		s.pool.tidy(now)
	}
	if due&(choreReport|choreBeat) != 0 {
		if err := s.report(); err != nil {
			return err
		}
		s.letGo(now)
	}
	if due&(choreBeat|choreMissed) != 0 {
		s.keepBackground(now)
		return s.beat(now)
	}
	return nil
}

// review decides whether the far end is trusted, and ends the session if it is not. Nothing it does
// waits for the far end.
func (s *Session) review() {
	if s.Err() != nil {
		return
	}
	until, err := s.trust.review()
	if err != nil {
		s.end(err)
		return
	}
	s.trust.reviewAt(until)
}

// beat does what is due of pings, and says when to do so again.
func (s *Session) beat(now time.Time) error {
	next, err := s.heartbeat.beat(now, s.rest)
	if err == nil {
		err = s.keys.overdue(now)
	}
	s.heartbeat.timer.Reset(next)
	return err
}

// WouldBeMissed says that somebody would miss the session although it has no flows, until end is
// called, once: meanwhile it is pinged as if it had some.
func (s *Session) WouldBeMissed() (end func()) {
	s.pool.activity.Begin()
	return s.pool.activity.End
}

// rest is how long the far end may say nothing before it is pinged. It pings itself at pace: who
// does so because somebody there would miss the session, is expected to go on.
func (s *Session) rest(pace time.Duration) time.Duration {
	rest := s.heartbeat.interval
	if a := s.config.Activity; a != nil && !a.now() && !s.pool.activity.now() {
		rest *= s.slowdown()
	}
	if s.role == identity.Initiator {
		return min(rest, s.quiet.way.Load().allows())
	}
	return min(rest, pace)
}

// slowdown is how much more rarely pings come while nobody would miss the session. The responder
// goes by what the initiator does.
func (s *Session) slowdown() time.Duration {
	if s.role == identity.Responder || netio.OwnsSocket(s.control.link.Conn) {
		return pingSlowest
	}
	return pingSlowdown
}

// awaitEnd is the initiator's, and returns when the session has ended. It ends the session when
// nothing goes on in it and nothing new should begin in it: then the far end, and what is between,
// need not wait for it.
func (s *Session) awaitEnd() {
	leaving := s.GoingAway()
	for {
		select {
		case <-s.Done():
			return
		case <-leaving:
			leaving = nil
			if s.survive > 0 {
				s.tasks.Go(s.handOver)
			}
		case <-s.pool.freed:
		}
		if s.life.goingAway.happened() {
			s.endIf(ErrGoingAway, s.shutUnused)
		}
	}
}

// shutUnused shuts the pool, but objects if there is a flow, be it one that waits for a link, or
// one that the far end may not have all of.
func (s *Session) shutUnused(p *linkPool, reason error) (busy, ok bool) {
	if s.suspending.all.Load() > 0 || s.lingering.holds(s) {
		return false, false
	}
	return p.shutUnused(reason)
}

// end ends the session because of err; only the first call does. run does what has to be done then.
func (s *Session) end(err error) { s.endIf(err, (*linkPool).shut) }

// endIf is end, unless shut objects to it.
func (s *Session) endIf(err error, shut func(p *linkPool, reason error) (busy, ok bool)) {
	s.life.end(err, func() (busy, ok bool) {
		if busy, ok = shut(&s.pool, err); ok {
			s.keys.forget(err)
		}
		return busy, ok
	})
}

// sayEnd tells everybody concerned that the session has ended. A session that drains leaves its
// links to end by themselves.
func (s *Session) sayEnd() {
	defer s.life.closeSent.happen()
	if s.life.is(sessionDraining) {
		s.control.close(s.Err(), nil)
		return
	}
	hooks := s.takeHooks()
	s.pool.closeLinks()
	s.control.close(s.Err(), s.lastWords())
	hooks.call()
}

// lastWords is what the far end is to know before a session ends in order: which flows have come
// here, and which ones of other sessions are here no more.
func (s *Session) lastWords() (all []words) {
	if s.role == identity.Responder && s.survive > 0 {
		for _, t := range s.keys.close() {
			all = append(all, words{typeAcknowledge, t.append(nil)})
		}
	}
	for _, id := range s.endpoint.leftIn(s) {
		all = append(all, words{typeGone, appendFlowID(nil, id)})
	}
	return all
}

// Peer returns the far end, as it proved itself in the last handshake.
func (s *Session) Peer() *identity.Peer {
	peer, _ := s.trust.last()
	return peer
}

// IsFarEndOf tells whether s and other, in this process, are the two ends of one session.
func (s *Session) IsFarEndOf(other *Session) bool {
	return s.role != other.role && s.keys.now().id == other.keys.now().id
}

// Role is this side's part in the handshake.
func (s *Session) Role() identity.Role { return s.role }

// Name is what the initiator believes it has reached.
func (s *Session) Name() string { return s.keys.name }

// Began returns when the session has.
func (s *Session) Began() time.Time { return s.began }

// RoundTrip returns how long the far end took to answer when it was last asked, and false if it has
// not been.
func (s *Session) RoundTrip() (took time.Duration, known bool) { return s.heartbeat.roundTrip() }

// SetRoute says by which way this side has come to the far end, for Route.
func (s *Session) SetRoute(text string) { s.route.Store(&text) }

// Route returns the way by which this side has come to the far end, as who has made the session
// says, or "": the far end has come here.
func (s *Session) Route() string {
	if text := s.route.Load(); text != nil {
		return *text
	}
	return ""
}

// FarInstance returns which process the responder says that it is, to the initiator: one of several
// that the name leads to. All links of the session have to lead to that one. Empty is that it does
// not say; so it is for the responder.
func (s *Session) FarInstance() string { return s.instance }

// Link returns the session's own link, for those who want to know which it is. It must not be used.
func (s *Session) Link() Conn { return s.control.link.Conn }

// Decision returns why the far end is trusted.
func (s *Session) Decision() trust.Decision {
	_, decision := s.trust.last()
	return decision
}

// Decided returns a channel that is closed when Decision returns something else than now, or the
// far end presents other credentials. Take it before you ask for either.
func (s *Session) Decided() <-chan struct{} { return s.trust.changes() }

// Done returns a channel that is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.life.ctx.Done() }

// Context returns one that ends when the session has.
func (s *Session) Context() context.Context { return s.life.ctx }

// IsMissed tells whether there are flows that somebody would miss with the session, or have been
// just now.
func (s *Session) IsMissed() bool { return s.pool.activity.now() }

// Survives tells whether flows of the session outlive their links: both sides want that.
func (s *Session) Survives() bool { return s.survive > 0 }

// Over returns a channel that is closed when nothing is left of the session: Done is closed before,
// and flows of one that has ended in good order may still be on its links then.
func (s *Session) Over() <-chan struct{} { return s.life.over.await() }

// AfterEnd has f called, on a goroutine of its own, when the session has ended, unless stop is
// called before and reports true.
func (s *Session) AfterEnd(f func()) (stop func() bool) {
	return s.life.afterEnd(f)
}

// OnDecided has f called whenever Decided's channel is closed, until remove is called. f must not
// wait.
func (s *Session) OnDecided(f func()) (remove func()) { return s.trust.tellDecided(f) }

// Err returns why the session ended, or nil.
func (s *Session) Err() error { return s.life.reason() }

// GoingAway returns a channel that is closed when the far end has said that it goes away: new flows
// should go elsewhere. The initiator ends the session when the flows that it has have ended.
func (s *Session) GoingAway() <-chan struct{} { return s.life.goingAway.await() }

// sayGoAway tells the far end that this side goes away, if that has not been done.
func (s *Session) sayGoAway() {
	if !s.saidGoAway.Swap(true) {
		s.control.say(typeGoingAway, nil)
	}
}

// Ping measures a round trip of the whole way to the far end and back.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	took, err := s.heartbeat.ping(ctx, s.Done())
	if reason := s.Err(); err != nil && reason != nil {
		return 0, reason
	}
	return took, err
}

// Close ends the session and all its flows, and waits until its own work has ended.
func (s *Session) Close() error {
	s.quit()
	<-s.life.over.await()
	return nil
}

// quit is Close, but waits only until the links are closed and the far end has been told.
func (s *Session) quit() {
	s.end(ErrClosed)
	s.life.closed.happen()
	<-s.life.closeSent.await()
}
