package channel

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/noise"
)

// Endpoint is one node's side of all its channels. It is safe for concurrent use.
type Endpoint struct {
	config Config
	static *ecdh.PrivateKey // in memory only, new in each process
	busy   chan struct{}    // a place for each handshake that may compute at once

	mu       sync.RWMutex
	epochs   map[sessionID]acceptable
	sessions map[*Session]struct{}
	closed   bool
}

// acceptable is where a flow with a session's number belongs.
type acceptable struct {
	session *Session
	epoch   *epoch
}

// Handler serves one flow. A flow that is still open when it returns is reset.
type Handler func(ctx context.Context, f *Flow)

// New returns an endpoint. Close ends it.
func New(config Config) (*Endpoint, error) {
	if config.Identity == nil || config.Trust == nil {
		return nil, errors.New("channel: no identity or no trust")
	}
	static, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return &Endpoint{
		config: config, static: static,
		busy:     make(chan struct{}, 2*runtime.GOMAXPROCS(0)),
		epochs:   make(map[sessionID]acceptable),
		sessions: make(map[*Session]struct{}),
	}, nil
}

// Announce tells the far ends of all sessions that this node is going away: new flows should go elsewhere.
func (e *Endpoint) Announce() {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var tasks sync.WaitGroup
	for s := range e.sessions {
		tasks.Go(func() { _ = s.Announce() })
	}
	tasks.Wait()
}

// Close ends all sessions, and waits for them. New ones are refused.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.closed = true
	sessions := e.sessions
	e.sessions = nil
	e.mu.Unlock()
	for s := range sessions {
		_ = s.Close()
	}
	return nil
}

// Initiate makes a session with the far end that dial's connections lead to. name is what the initiator believes it
// reaches; the far end refuses a name that is not its own. dial is called for the control link, and later for a link
// whenever no idle one is there for a new flow; it may return before the connection is known to work.
//
// An error wraps identity.ErrNotTrusted if either side does not trust the other: ErrRefusedByPeer if it is the far end
// that does not.
func (e *Endpoint) Initiate(ctx context.Context, name string, dial func(ctx context.Context) (Conn, error)) (*Session, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	unguard := guard(ctx, conn, e.config.handshakeTimeout())
	s, err := e.initiate(newChain(conn), name)
	if err = unguard(err); err != nil {
		_ = conn.Close()
		return nil, handshakeError(err)
	}
	s.dial = dial
	if !e.add(s) {
		_ = conn.Close()
		return nil, ErrClosed
	}
	return s, nil
}

// initiate is the initiator's handshake, a step a line.
func (e *Endpoint) initiate(c *chain, name string) (*Session, error) {
	suite := e.config.suites()[0]
	h, err := newHandshake(&e.config, e.static, identity.Initiator, suite, sessionID{})
	if err != nil {
		return nil, err
	}
	if err := send(c, appendHandshakeHello(nil, suite), h.writeBare); err != nil {
		return nil, err
	}
	message, err := c.in.frame()
	if err != nil {
		return nil, err
	}
	if err := h.readProof(message); err != nil {
		return nil, err
	}
	if err := send(c, nil, func(dst []byte) ([]byte, error) { return h.writeProof(dst, name) }); err != nil {
		return nil, err
	}
	h.name = name
	s, err := newSession(h, e.static, suite, c)
	if err != nil {
		return nil, err
	}
	return s, s.awaitReady()
}

// send writes prefix and a frame with what write appends.
func send(c *chain, prefix []byte, write func([]byte) ([]byte, error)) error {
	b, err := appendFrame(prefix, write)
	if err != nil {
		return err
	}
	_, err = c.conn.Write(b)
	return err
}

// awaitReady waits for the responder's word that it trusts the initiator.
func (s *Session) awaitReady() error {
	t, data, err := s.control.read()
	switch {
	case err != nil:
		return err
	case t == typeReady:
		return nil
	case t == typeAbort && len(data) == 1:
		return abortReason(data[0]).err()
	}
	return fmt.Errorf("%w: record of type %d in place of ready", ErrProtocol, t)
}

// add starts s among the sessions that end with e.
func (e *Endpoint) add(s *Session) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.sessions[s] = struct{}{}
	s.start()
	s.tasks.Go(func() {
		<-s.done
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.sessions, s)
	})
	return true
}

// Serve answers the hellos on conn, which leads to an initiator: it runs a session until that ends, or flows one after
// the other with handle. accept decides on the name that the initiator believes it has reached. Serve returns when the
// link is at its end, and closes it; the error says why it ended unless that was in order.
func (e *Endpoint) Serve(ctx context.Context, conn Conn, accept func(name string) error, handle Handler) error {
	c := newChain(conn)
	defer c.in.drop()
	defer conn.Close()
	unguard := guard(ctx, conn, e.config.handshakeTimeout())
	kind, err := c.in.need(1)
	if err != nil {
		return unguard(handshakeError(err))
	}
	switch kind[0] {
	case helloHandshake:
		s, err := e.respond(ctx, c, accept)
		if err = unguard(err); err != nil {
			return handshakeError(err)
		}
		return e.run(ctx, s)
	case helloFlow:
		return e.serveFlows(ctx, c, handle, unguard)
	}
	return unguard(errNoHello)
}

// run runs a session that the far end has asked for, until it ends.
func (e *Endpoint) run(ctx context.Context, s *Session) error {
	if !e.add(s) {
		e.drop(s.epoch)
		return ErrClosed
	}
	select {
	case <-s.done:
		s.tasks.Wait()
	case <-ctx.Done():
		_ = s.Close()
	}
	return s.Err()
}

// respond is the responder's handshake, a step a line.
func (e *Endpoint) respond(ctx context.Context, c *chain, accept func(name string) error) (*Session, error) {
	suite, err := e.readSuite(c)
	if err != nil {
		return nil, err
	}
	h, err := newHandshake(&e.config, e.static, identity.Responder, suite, sessionID{})
	if err != nil {
		return nil, err
	}
	message, err := c.in.frame()
	if err != nil {
		return nil, err
	}
	if err := e.compute(ctx, func() error { return h.readBare(message) }); err != nil {
		return nil, err
	}
	err = e.compute(ctx, func() error {
		return send(c, nil, func(dst []byte) ([]byte, error) { return h.writeProof(dst, "") })
	})
	if err != nil {
		return nil, err
	}
	if message, err = c.in.frame(); err != nil {
		return nil, err
	}
	trust := e.compute(ctx, func() error { return h.readProof(message) })
	if trust == nil {
		trust = accept(h.name)
	}
	if trust != nil && h.peer == nil {
		return nil, trust // nobody has proven to be anybody
	}
	return e.greet(h, suite, c, trust)
}

// greet tells the initiator whether it is trusted, and returns the session if so.
func (e *Endpoint) greet(h *handshake, suite noise.Suite, c *chain, trust error) (*Session, error) {
	s, err := newSession(h, e.static, suite, c)
	if err != nil {
		return nil, err
	}
	if trust != nil {
		reason := abortNotTrusted
		if !errors.Is(trust, identity.ErrNotTrusted) {
			reason = abortWrongName
		}
		_ = s.control.write(typeAbort, []byte{byte(reason)})
		return nil, fmt.Errorf("%s: %w", h.peer.Identifier(), trust)
	}
	s.keep = func(epoch *epoch) { e.keep(s, epoch) }
	s.drop = e.drop
	s.keep(s.epoch)
	if err := s.control.write(typeReady, nil); err != nil {
		e.drop(s.epoch)
		return nil, err
	}
	return s, nil
}

// compute runs f when one of the places for handshakes that compute is free.
func (e *Endpoint) compute(ctx context.Context, f func() error) error {
	select {
	case e.busy <- struct{}{}:
		defer func() { <-e.busy }()
		return f()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// readSuite reads the suite's name in a handshake hello.
func (e *Endpoint) readSuite(c *chain) (noise.Suite, error) {
	size, err := c.in.need(1)
	if err != nil {
		return noise.Suite{}, err
	}
	if size[0] > maxSuiteName {
		return noise.Suite{}, fmt.Errorf("%w: suite's name of %d bytes", ErrProtocol, size[0])
	}
	name, err := c.in.need(int(size[0]))
	if err != nil {
		return noise.Suite{}, err
	}
	for _, suite := range e.config.suites() {
		if suite.String() == string(name) {
			return suite, nil
		}
	}
	return noise.Suite{}, fmt.Errorf("suite %q is not accepted here", name)
}

func (e *Endpoint) keep(s *Session, epoch *epoch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.epochs[epoch.id] = acceptable{s, epoch}
}

// drop forgets an epoch's secret: no flow of it is accepted any more.
func (e *Endpoint) drop(epoch *epoch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.epochs, epoch.id)
	epoch.secret.Forget()
}

// serveFlows answers flow hellos on c, one after the other. The kind of the first has been read.
func (e *Endpoint) serveFlows(ctx context.Context, c *chain, handle Handler, unguard func(error) error) error {
	stop := context.AfterFunc(ctx, func() { _ = netio.Reset(c.conn) })
	defer stop()
	for {
		f, err := e.acceptFlow(c)
		if err = unguard(err); err != nil {
			return err
		}
		handle(ctx, f)
		_ = f.Reset()
		if !f.is(flowClean) {
			return f.Err()
		}
		err = c.next()
		f.session.forget(c)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return linkError(err)
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(e.config.handshakeTimeout()))
		unguard = func(err error) error {
			_ = c.conn.SetReadDeadline(time.Time{})
			return err
		}
	}
}

// next waits for the next flow's hello, for as long as the session lives, and reads its kind.
func (c *chain) next() error {
	kind, err := c.in.need(1)
	if err != nil {
		return err
	}
	if kind[0] != helloFlow {
		return errNoHello
	}
	return nil
}

// acceptFlow reads a flow's hello behind its kind, and its first record, which proves that the hello is no invention.
// Only then its number counts as used, and only a number used for the first time makes a flow that may send.
func (e *Endpoint) acceptFlow(c *chain) (*Flow, error) {
	hello, err := c.in.need(flowHelloSize - 1)
	if err != nil {
		return nil, linkError(err)
	}
	id, number := parseFlowHello(hello)
	f, used, err := e.flow(id, number)
	if err != nil {
		return nil, err
	}
	f.chain = c
	if !f.session.adopt(c) {
		return nil, ErrUnknownSession
	}
	if err := f.first(); err != nil {
		f.session.forget(c)
		return nil, err
	}
	if !used.use(number) {
		f.session.forget(c)
		return nil, ErrReplayed
	}
	return f, nil
}

// flow makes the flow that a hello names.
func (e *Endpoint) flow(id sessionID, number uint64) (*Flow, *window, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	a, ok := e.epochs[id]
	if !ok {
		return nil, nil, ErrUnknownSession
	}
	f := &Flow{session: a.session}
	f.sending.cipher, f.receiving.cipher = a.epoch.keys(identity.Responder, number)
	return f, a.epoch.used, nil
}

// first waits for the flow's first record and opens it.
func (f *Flow) first() error {
	r := &f.receiving
	r.Lock()
	defer r.Unlock()
	for {
		opened, err := f.openOne()
		if opened {
			return nil
		}
		if err == nil {
			err = f.chain.in.fill()
		}
		if err != nil {
			return linkError(err)
		}
	}
}
