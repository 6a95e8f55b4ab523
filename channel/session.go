package channel

import (
	"context"
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/noise"
)

// Session is what two nodes have in common after a handshake. It lives as long as its control link answers pings, its
// peer is trusted, and nobody closes it; when it ends, so do all its flows. Its keys are replaced by a new handshake
// on the control link from time to time. It is safe for concurrent use.
type Session struct {
	// Set once.
	config  *Config
	static  *ecdh.PrivateKey
	role    identity.Role
	suite   noise.Suite
	name    string                                  // what the initiator believes it has reached
	id      identity.Identifier                     // the peer's
	dial    func(ctx context.Context) (Conn, error) // initiator only
	keep    func(*epoch)                            // responder only: makes an epoch's flows acceptable
	drop    func(*epoch)                            // responder only: the opposite
	life    context.Context                         // ends with the session
	stop    context.CancelFunc                      // ends life
	over    chan struct{}                           // closed when the session has ended and all its work as well
	closed  chan struct{}                           // closed by Close
	closing sync.Once
	freed   chan struct{} // tells linger that a link has ended
	left    chan struct{} // closed by listen when the far end has said that it is going away
	resting atomic.Int32  // links without a flow, of the responder's
	renewed chan struct{} // tells tend that listen has replaced the keys
	wanted  chan struct{} // tells tend that somebody wants a new handshake
	proved  chan struct{} // tells watch that the far end has proved itself again

	control   control
	announced atomic.Bool // that this side is going away

	mu      sync.Mutex // guards what follows
	err     error      // why it ended
	lingers bool       // it has ended, and its links not yet: see linger

	peer     *identity.Peer // as it last proved itself
	decision trust.Decision
	decided  chan struct{} // closed, and made anew, whenever decision becomes another

	epoch   *epoch
	old     []oldEpoch // responder only
	renewal *renewal   // under way

	chains map[*chain]struct{} // all links but the control link
	idle   []*chain            // those without a flow, initiator only; the most recently used last
	opens  int                 // calls of Open
	ahead  ahead               // initiator only

	pingCount uint64
	silent    int // keepalives since the last answer
	pings     map[uint64]chan struct{}
}

// oldEpoch is one whose flows may still be on their way.
type oldEpoch struct {
	*epoch
	until  time.Time
	forget *time.Timer // then
}

// newSession makes the session that a finished handshake on c is for.
func newSession(h *handshake, static *ecdh.PrivateKey, suite noise.Suite, c *chain) (*Session, error) {
	e, err := h.epoch()
	if err != nil {
		return nil, err
	}
	s := &Session{
		config: h.config, static: static, role: h.role, suite: suite, name: h.name, id: h.peer.Identifier(),
		over: make(chan struct{}), closed: make(chan struct{}), left: make(chan struct{}),
		freed: make(chan struct{}, 1), renewed: make(chan struct{}, 1), wanted: make(chan struct{}, 1), proved: make(chan struct{}, 1),
		peer: h.peer, decision: h.decision, decided: make(chan struct{}), epoch: e,
		chains: make(map[*chain]struct{}), pings: make(map[uint64]chan struct{}),
	}
	s.ahead.changed = make(chan struct{}, 1)
	s.life, s.stop = context.WithCancel(context.Background())
	s.control.chain, s.control.turn = c, make(chan struct{}, 1)
	s.control.send, s.control.receive = e.keys(h.role, 0)
	return s, nil
}

// run does all of the session's own work, and returns when the session and the work have ended.
func (s *Session) run() {
	var tasks sync.WaitGroup
	tasks.Go(func() { s.end(s.tend()) })
	tasks.Go(func() { s.end(s.watch()) })
	if s.role == identity.Initiator {
		tasks.Go(s.makeAhead)
	}
	s.end(s.listen())
	tasks.Wait()
	s.linger()
}

// Peer returns the far end, as it proved itself in the last handshake.
func (s *Session) Peer() *identity.Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer
}

// Link returns the session's own link, for who wants to know which it is. It must not be used.
func (s *Session) Link() Conn { return s.control.chain.conn }

// Name returns what the initiator said it believes it has reached.
func (s *Session) Name() string { return s.name }

// Decision returns why the far end is trusted.
func (s *Session) Decision() trust.Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.decision
}

// Decided returns a channel that is closed when Decision returns something else than now: take it first.
func (s *Session) Decided() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.decided
}

// noteDecision takes note of a decision. It is called with mu locked.
func (s *Session) noteDecision(d trust.Decision) {
	before := s.decision
	s.decision = d
	if before.Anchor != d.Anchor || !before.Until.Equal(d.Until) || !maps.Equal(before.Attributes, d.Attributes) {
		close(s.decided)
		s.decided = make(chan struct{})
	}
}

// Done returns a channel that is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.life.Done() }

// Err returns why the session ended, or nil.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Leaving tells whether the far end has said that it is going away: new flows should go elsewhere. The initiator ends
// the session when the flows that it has have ended.
func (s *Session) Leaving() bool {
	select {
	case <-s.left:
		return true
	default:
		return false
	}
}

// Left returns a channel that is closed when the far end has said that it is going away: new flows should go elsewhere.
func (s *Session) Left() <-chan struct{} { return s.left }

// Announce tells the far end that this side is going away, if that has not been done.
func (s *Session) Announce() error {
	if s.announced.Swap(true) {
		return nil
	}
	return s.say(typeGoingAway, nil)
}

// Close ends the session and all its flows, and waits until its own work has ended.
func (s *Session) Close() error {
	s.quit()
	<-s.over
	return nil
}

// quit is Close without waiting.
func (s *Session) quit() {
	s.end(ErrClosed)
	s.closing.Do(func() { close(s.closed) })
}

// say sends a record on the control link. A failure ends the session: nothing more can be said. But the far end may have
// said why it is gone, so listen has a moment to find out.
func (s *Session) say(t recordType, data []byte) error {
	err := s.control.write(t, data)
	switch {
	case errors.Is(err, ErrCut):
		_ = s.control.chain.conn.SetReadDeadline(time.Now().Add(abortTimeout))
	case err != nil:
		s.end(err)
	}
	return err
}

// end ends the session because of err; only the first call does.
func (s *Session) end(err error) { s.endIf(err, func() bool { return true }) }

// endIf is end, unless something that it finds with mu locked speaks against it.
func (s *Session) endIf(err error, may func() bool) {
	s.mu.Lock()
	if s.err != nil || !may() {
		s.mu.Unlock()
		return
	}
	s.err = err
	s.forgetEpochs()
	s.stop()
	s.lingers = errors.Is(err, ErrGoingAway) && s.busy(true)
	lingers := s.lingers
	s.mu.Unlock()

	if lingers {
		s.farewell(err)
		return
	}
	ended := s.part()
	s.farewell(err)
	ended()
}

// forgetEpochs forgets all secrets. It is called with mu locked.
func (s *Session) forgetEpochs() {
	if s.role == identity.Initiator {
		s.epoch.secret.Forget()
		return
	}
	s.drop(s.epoch)
	for _, e := range s.old {
		e.forget.Stop()
		s.drop(e.epoch)
	}
	s.old = nil
}

// farewell tells the far end why, where that helps it, and closes the control link. Flows that were cut have been told
// on their own links; the others may have last bytes on the way, which the far end must not throw away.
func (s *Session) farewell(err error) {
	reason := abortGoingAway
	switch {
	case errors.Is(err, trust.ErrNotTrusted):
		reason = abortNotTrusted
	case errors.Is(err, ErrForged), errors.Is(err, ErrProtocol):
		reason = abortProtocol
	case errors.Is(err, ErrCut), errors.Is(err, ErrSilent):
		_ = netio.Reset(s.control.chain.conn)
		return
	}
	s.control.lastWord(typeAbort, byte(reason))
	_ = s.control.chain.conn.Close()
}

// listen handles what arrives on the control link.
func (s *Session) listen() error {
	defer s.control.chain.in.drop()
	for {
		t, data, err := s.control.read()
		if err == nil {
			err = s.handle(t, data)
		}
		if isTimeout(err) {
			err = ErrCut // see say
		}
		if err != nil {
			return err
		}
	}
}

func (s *Session) handle(t recordType, data []byte) error {
	if size, ok := controlSizes[t]; ok && len(data) != size {
		return fmt.Errorf("%w: record of type %d with %d bytes", ErrProtocol, t, len(data))
	}
	switch t {
	case typePing:
		_ = s.say(typePong, data)
		return nil
	case typePong:
		return s.answered(binary.BigEndian.Uint64(data))
	case typeHandshake:
		return s.handleRenewal(data)
	case typeReady:
		return s.renewalReady()
	case typeRenew:
		if s.role == identity.Responder {
			return fmt.Errorf("%w: the initiator asks for a handshake instead of beginning one", ErrProtocol)
		}
		s.Renew()
		return nil
	case typeGoingAway:
		s.noteGoingAway()
		s.endIfLeft()
		return nil
	case typeAbort:
		return abortReason(data[0]).err()
	}
	return fmt.Errorf("%w: record of type %d on the control link", ErrProtocol, t)
}

// noteGoingAway takes note, once, that the far end is going away. Only listen calls it.
func (s *Session) noteGoingAway() {
	if !s.Leaving() {
		close(s.left)
	}
}

// endIfLeft ends a session that nothing goes on in and nothing new should begin in: the far end, and what is between,
// need not wait for it. It is called whenever one of the two has come true.
func (s *Session) endIfLeft() {
	if s.role == identity.Responder || !s.Leaving() {
		return
	}
	s.endIf(ErrGoingAway, func() bool { return s.opens == 0 && len(s.chains) == len(s.idle) })
}

// answered takes note of a pong.
func (s *Session) answered(number uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if number == 0 || number > s.pingCount {
		return fmt.Errorf("%w: answer to a ping that was not sent", ErrProtocol)
	}
	if waiter, ok := s.pings[number]; ok {
		delete(s.pings, number)
		close(waiter)
	}
	s.silent = 0
	return nil
}

// sendPing sends a ping. answered, if it is not nil, is closed when the answer comes.
func (s *Session) sendPing(answered chan struct{}) (number uint64, err error) {
	s.mu.Lock()
	s.pingCount++
	number = s.pingCount
	if answered != nil {
		s.pings[number] = answered
	}
	s.mu.Unlock()
	return number, s.say(typePing, binary.BigEndian.AppendUint64(nil, number))
}

// Ping measures a round trip of the whole way to the far end and back.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	answered := make(chan struct{})
	number, err := s.sendPing(answered)
	if err != nil {
		return 0, s.Err()
	}
	select {
	case <-answered:
		return time.Since(begin), nil
	case <-s.Done():
		return 0, s.Err()
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pings, number)
		return 0, context.Cause(ctx)
	}
}
