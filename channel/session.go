package channel

import (
	"context"
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/noise"
)

// Session is what two nodes have in common after a handshake. It lives as long as its control link answers pings, its
// peer is trusted, and nobody closes it; when it ends, so do all its flows. Its keys are replaced by a new handshake
// on the control link from time to time. It is safe for concurrent use.
type Session struct {
	// Set once.
	config *Config
	static *ecdh.PrivateKey
	role   identity.Role
	suite  noise.Suite
	name   string                                  // what the initiator believes it has reached
	dial   func(ctx context.Context) (Conn, error) // initiator only
	keep   func(*epoch)                            // responder only: makes an epoch's flows acceptable
	drop   func(*epoch)                            // responder only: the opposite

	control control
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	done    chan struct{} // closed when the session has ended
	renewed chan struct{} // tells tend that keys were replaced
	left    chan struct{} // closed when the far end has said that it is going away

	mu        sync.Mutex
	peer      *identity.Peer
	decision  identity.Decision
	epoch     *epoch
	old       []oldEpoch // responder only
	renewal   *renewal   // under way
	chains    map[*chain]struct{}
	idle      []*chain // initiator only; the most recently used last
	pings     map[uint64]chan struct{}
	pingCount uint64
	silent    int   // pings since the last answer
	err       error // why it ended
}

// oldEpoch is one whose flows may still be on their way.
type oldEpoch struct {
	*epoch
	until time.Time
}

// control is the session's own link, on which records of flow 0 pass.
type control struct {
	chain   *chain
	receive cipherHalf // owned by the reading goroutine

	mu   sync.Mutex // held while writing
	send cipherHalf
	out  output
}

func (c *control) write(t recordType, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeLocked(t, data)
}

func (c *control) writeLocked(t recordType, data []byte) error {
	copyIn(c.out.begin(nil, len(data)), data)
	defer c.out.Release()
	size, err := c.send.seal(c.out.buffer.Bytes, t, len(data))
	if err != nil {
		return err
	}
	_ = c.chain.conn.SetWriteDeadline(time.Now().Add(controlTimeout))
	_, err = c.chain.conn.Write(c.out.buffer.Bytes[:size])
	return err
}

// writeThenSwitch writes a record, and what follows it with new keys.
func (c *control) writeThenSwitch(t recordType, data []byte, next cipherHalf) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.writeLocked(t, data)
	c.send = next
	return err
}

// read returns the next record. The data is valid until the next call.
func (c *control) read() (recordType, []byte, error) {
	for {
		body, err := c.chain.in.record()
		if err != nil {
			return 0, nil, err
		}
		if body != nil {
			return c.receive.open(body)
		}
		if err := c.chain.in.fill(); err != nil {
			return 0, nil, linkError(err)
		}
	}
}

// newSession makes the session that a finished handshake on c is for.
func newSession(h *handshake, static *ecdh.PrivateKey, suite noise.Suite, c *chain) (*Session, error) {
	e, err := h.epoch()
	if err != nil {
		return nil, err
	}
	s := &Session{
		config: h.config, static: static, role: h.role, suite: suite, name: h.name, peer: h.peer,
		decision: h.decision, epoch: e,
		done: make(chan struct{}), renewed: make(chan struct{}, 1), left: make(chan struct{}),
		chains: make(map[*chain]struct{}), pings: make(map[uint64]chan struct{}),
	}
	s.control.chain = c
	s.control.send, s.control.receive = e.keys(h.role, 0)
	return s, nil
}

// start begins the session's own work.
func (s *Session) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.tasks.Go(func() { s.end(s.listen()) })
	s.tasks.Go(func() { s.end(s.tend(ctx)) })
}

// Peer returns the far end, as it proved itself in the last handshake.
func (s *Session) Peer() *identity.Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer
}

// Name returns what the initiator said it believes it has reached.
func (s *Session) Name() string { return s.name }

// Decision returns why the far end is trusted.
func (s *Session) Decision() identity.Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.decision
}

// Done returns a channel that is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session ended, or nil.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Left returns a channel that is closed when the far end has said that it is going away: new flows should go elsewhere.
func (s *Session) Left() <-chan struct{} { return s.left }

// Announce tells the far end that this side is going away.
func (s *Session) Announce() error { return s.control.write(typeGoingAway, nil) }

// Close ends the session and all its flows, and waits until its own work has ended.
func (s *Session) Close() error {
	s.end(ErrClosed)
	s.tasks.Wait()
	return nil
}

// end ends the session because of err; only the first call does.
func (s *Session) end(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = err
	chains := s.chains
	s.chains, s.idle = nil, nil
	epochs := append([]oldEpoch{{epoch: s.epoch}}, s.old...)
	if s.drop == nil {
		s.epoch.secret.Forget()
	}
	close(s.done)
	s.mu.Unlock()

	s.cancel()
	if s.drop != nil {
		for _, e := range epochs {
			s.drop(e.epoch)
		}
	}
	s.farewell(err)
	for c := range chains {
		_ = netio.Reset(c.conn)
	}
}

// farewell tells the far end why, where that helps it, and closes the control link.
func (s *Session) farewell(err error) {
	reason := abortGoingAway
	switch {
	case errors.Is(err, identity.ErrNotTrusted):
		reason = abortNotTrusted
	case errors.Is(err, ErrForged), errors.Is(err, ErrProtocol):
		reason = abortProtocol
	case errors.Is(err, ErrCut), errors.Is(err, ErrSilent):
		_ = netio.Reset(s.control.chain.conn)
		return
	}
	if s.control.mu.TryLock() {
		_ = s.control.writeLocked(typeAbort, []byte{byte(reason)})
		s.control.mu.Unlock()
	}
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
		if err != nil {
			return err
		}
	}
}

func (s *Session) handle(t recordType, data []byte) error {
	switch t {
	case typePing:
		if len(data) != 8 {
			return fmt.Errorf("%w: ping of %d bytes", ErrProtocol, len(data))
		}
		return s.control.write(typePong, data)
	case typePong:
		return s.answered(data)
	case typeHandshake:
		return s.renew(data)
	case typeReady:
		return s.renewalReady()
	case typeGoingAway:
		s.leave()
		return nil
	case typeAbort:
		if len(data) != 1 {
			return fmt.Errorf("%w: abort of %d bytes", ErrProtocol, len(data))
		}
		return abortReason(data[0]).err()
	}
	return fmt.Errorf("%w: record of type %d on the control link", ErrProtocol, t)
}

// leave takes note, once, that the far end is going away. Only the reading goroutine calls it.
func (s *Session) leave() {
	select {
	case <-s.left:
	default:
		close(s.left)
	}
}

// answered takes note of a pong.
func (s *Session) answered(data []byte) error {
	if len(data) != 8 {
		return fmt.Errorf("%w: pong of %d bytes", ErrProtocol, len(data))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	number := binary.BigEndian.Uint64(data)
	if waiter, ok := s.pings[number]; ok {
		delete(s.pings, number)
		close(waiter)
	}
	s.silent = 0
	return nil
}

// sendPing sends a ping and returns its number and a channel that is closed when it is answered.
func (s *Session) sendPing() (uint64, chan struct{}, error) {
	s.mu.Lock()
	s.pingCount++
	number := s.pingCount
	answered := make(chan struct{})
	s.pings[number] = answered
	s.mu.Unlock()
	return number, answered, s.control.write(typePing, binary.BigEndian.AppendUint64(nil, number))
}

// Ping measures a round trip of the whole way to the far end and back.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	number, answered, err := s.sendPing()
	if err != nil {
		return 0, linkError(err)
	}
	select {
	case <-answered:
		return time.Since(begin), nil
	case <-s.done:
		return 0, s.Err()
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pings, number)
		return 0, context.Cause(ctx)
	}
}
