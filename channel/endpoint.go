package channel

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/noise"
)

// Endpoint is one node's side of all its channels. It is safe for concurrent use.
type Endpoint struct {
	config Config
	static *ecdh.PrivateKey // in memory only, new in each process
	busy   chan struct{}    // a place for each handshake that may compute at once
	tasks  sync.WaitGroup   // sessions

	mu       sync.RWMutex // guards what follows; taken after a session's, never before
	epochs   map[sessionID]acceptable
	sessions map[*Session]struct{}
	asked    map[identity.Identifier]int // sessions that each far end has asked for
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
		asked:    make(map[identity.Identifier]int),
	}, nil
}

// Announce tells the far ends of all sessions that this node is going away: new flows should go elsewhere.
func (e *Endpoint) Announce() { e.AnnounceTo(func(*Session) bool { return true }) }

// AnnounceTo is Announce for some sessions.
func (e *Endpoint) AnnounceTo(whom func(*Session) bool) {
	e.eachOf(func(s *Session) bool { return !s.announced.Load() && whom(s) }, func(s *Session) { _ = s.Announce() })
}

// Renew is Session.Renew of all sessions.
func (e *Endpoint) Renew() { e.each((*Session).Renew) }

// Close ends all sessions, and waits for their work. New ones are refused. Calls of Serve and Initiate end soon after;
// whoever made them waits for them.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.each((*Session).quit)
	e.tasks.Wait()
	return nil
}

// Quit ends some sessions as Close does all, and does not wait for their work.
func (e *Endpoint) Quit(which func(*Session) bool) { e.eachOf(which, (*Session).quit) }

// each calls f for all sessions, at once: a far end that does not listen holds up nobody else's.
func (e *Endpoint) each(f func(*Session)) { e.eachOf(func(*Session) bool { return true }, f) }

// eachOf is each for some sessions.
func (e *Endpoint) eachOf(which func(*Session) bool, f func(*Session)) {
	e.mu.RLock()
	sessions := slices.Collect(maps.Keys(e.sessions))
	e.mu.RUnlock()
	var tasks sync.WaitGroup
	for _, s := range sessions {
		if which(s) {
			tasks.Go(func() { f(s) })
		}
	}
	tasks.Wait()
}

// admit takes s among the sessions that end with e, or says why not. leave is its opposite.
func (e *Endpoint) admit(s *Session) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	if s.role == identity.Responder {
		if most := e.config.sessionsPerIdentity(); e.asked[s.id] >= most {
			return fmt.Errorf("%w: it has %d sessions", errTooMany, most)
		}
		e.asked[s.id]++
		e.epochs[s.epoch.id] = acceptable{s, s.epoch}
	}
	e.sessions[s] = struct{}{}
	e.tasks.Add(1)
	return nil
}

// errTooMany says that a far end is at a limit of this side's.
var errTooMany = errors.New("too many sessions")

// leave takes s, which has ended and does no work any more, out of the sessions.
func (e *Endpoint) leave(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, s)
	if s.role == identity.Responder {
		if e.asked[s.id]--; e.asked[s.id] == 0 {
			delete(e.asked, s.id)
		}
	}
	close(s.over)
	e.tasks.Done()
}

// Initiate makes a session with the far end that dial's connections lead to. name is what the initiator believes it
// reaches; the far end refuses a name that is not its own. dial is called for the control link, and later for a link
// whenever no idle one is there for a new flow; it may return before the connection is known to work.
//
// An error wraps trust.ErrNotTrusted if either side does not trust the other (ErrRefusedByPeer if it is the far end
// that does not), and io.ErrUnexpectedEOF if the link ended.
func (e *Endpoint) Initiate(ctx context.Context, name string, dial func(ctx context.Context) (Conn, error)) (*Session, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	c := newChain(conn)
	unguard := guard(ctx, conn, e.config.handshakeTimeout())
	s, err := e.initiate(c, name)
	if err = unguard(err); err == nil {
		s.dial = dial
		err = e.admit(s)
	}
	if err != nil {
		if s != nil { // it has its keys, and nobody else does
			s.epoch.secret.Forget()
		}
		c.in.drop()
		_ = conn.Close()
		return nil, handshakeError(err)
	}
	go func() { // Close waits for it
		s.run()
		e.leave(s)
	}()
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

// Serve answers the hellos on conn, which leads to an initiator: it runs a session until that ends, or flows one after
// the other with handle. accept decides on the name that the initiator believes it has reached. proved is called when it
// is known that a peer with a session has made the link: again for each flow, and before handle. Serve returns when the
// link is at its end, and closes it; the error says why it ended unless that was in order. When ctx ends, so do handshakes
// and sessions, and flows with their sessions.
func (e *Endpoint) Serve(ctx context.Context, conn Conn, accept func(name string) error, proved func(), handle Handler) error {
	c := newChain(conn)
	defer conn.Close()
	unguard := guard(ctx, conn, e.config.handshakeTimeout())
	kind, err := c.in.need(1)
	switch {
	case err != nil:
		err = unguard(handshakeError(err))
	case kind[0] == helloHandshake:
		return e.serveSession(ctx, c, accept, proved, unguard)
	case kind[0] == helloFlow:
		return e.serveFlows(ctx, c, proved, handle, unguard)
	default:
		err = unguard(errNoHello)
	}
	c.in.drop()
	return err
}

// serveSession answers a handshake hello on c, whose kind has been read, and runs the session until it ends.
func (e *Endpoint) serveSession(
	ctx context.Context, c *chain, accept func(string) error, proved func(), unguard func(error) error,
) error {
	defer c.in.drop()
	if e.config.Admit != nil {
		if err := e.config.Admit(c.conn.RemoteAddr()); err != nil {
			return unguard(handshakeError(err))
		}
	}
	s, err := e.respond(ctx, c, accept)
	err = unguard(err)
	if s == nil {
		return handshakeError(err)
	}
	defer e.leave(s)
	proved()
	if err == nil {
		err = s.control.write(typeReady, nil)
	}
	if err != nil {
		s.end(err)
		return handshakeError(err)
	}
	defer context.AfterFunc(ctx, s.quit)()
	s.run()
	return s.Err()
}

// respond is the responder's handshake, a step a line. The session that it returns has been admitted.
func (e *Endpoint) respond(ctx context.Context, c *chain, accept func(name string) error) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, e.config.handshakeTimeout())
	defer cancel()
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
	var answer []byte
	if err := e.compute(ctx, func() error { answer, err = h.answer(message); return err }); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(answer); err != nil {
		return nil, err
	}
	if message, err = c.in.frame(); err != nil {
		return nil, err
	}
	refused := e.compute(ctx, func() error { return h.readProof(message) })
	if refused == nil {
		refused = accept(h.name)
	}
	if refused != nil && h.peer == nil {
		return nil, refused // nobody has proven to be anybody
	}
	return e.greet(h, suite, c, refused)
}

// answer reads message 1 and returns the frame with message 2.
func (h *handshake) answer(message []byte) ([]byte, error) {
	if err := h.readBare(message); err != nil {
		return nil, err
	}
	return appendFrame(nil, func(dst []byte) ([]byte, error) { return h.writeProof(dst, "") })
}

// greet admits a session with the peer that h has proven, or tells it why not.
func (e *Endpoint) greet(h *handshake, suite noise.Suite, c *chain, refused error) (*Session, error) {
	s, err := newSession(h, e.static, suite, c)
	if err != nil {
		return nil, err
	}
	s.keep = func(epoch *epoch) { e.keep(s, epoch) }
	s.drop = e.drop
	if refused == nil {
		refused = e.admit(s)
	}
	if refused != nil {
		s.control.lastWord(typeAbort, byte(refusal(refused)))
		s.epoch.secret.Forget()
		if errors.Is(refused, trust.ErrNotTrusted) {
			return nil, refused // which says who
		}
		return nil, fmt.Errorf("%s: %w", h.peer.Identifier(), refused)
	}
	return s, nil
}

// refusal returns what to tell a far end that does not get a session because of err.
func refusal(err error) abortReason {
	switch {
	case errors.Is(err, trust.ErrNotTrusted):
		return abortNotTrusted
	case errors.Is(err, errTooMany):
		return abortBusy
	case errors.Is(err, ErrClosed):
		return abortGoingAway
	}
	return abortWrongName
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
func (e *Endpoint) serveFlows(
	ctx context.Context, c *chain, proved func(), handle Handler, unguard func(error) error,
) error {
	for {
		f, err := e.acceptFlow(c)
		if err = unguard(err); err != nil {
			c.in.drop()
			return err
		}
		proved()
		handle(ctx, f)
		f.abort(abortReset, fmt.Errorf("flow: %w", net.ErrClosed))
		if !f.is(flowClean) {
			f.abandon()
			return f.Err()
		}
		err = f.session.rest(c)
		f.session.forget(c)
		if err != nil {
			c.in.drop()
			if err == io.EOF {
				return nil
			}
			return linkError(err)
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(e.config.handshakeTimeout()))
		unguard = func(err error) error {
			_ = c.conn.SetReadDeadline(time.Time{})
			return err
		}
	}
}

// abandon gives the link's buffer back, unless somebody whom the handler left behind still reads: then it is left to
// the garbage collector.
func (f *Flow) abandon() {
	r := &f.receiving
	if !r.TryLock() {
		return
	}
	defer r.Unlock()
	r.data = nil
	if r.err == nil {
		r.err = f.explain(ErrClosed)
	}
	f.chain.in.drop()
}

// errTooManyRest says that the initiator keeps more links without a flow than one that goes by the protocol's limit.
var errTooManyRest = fmt.Errorf("%w: more than %d links without a flow", ErrProtocol, restingMax)

// rest waits for the next flow on c: not for long if too many links do, but long enough for an initiator that does not
// need so many to close them itself.
func (s *Session) rest(c *chain) error {
	defer s.resting.Add(-1)
	if s.resting.Add(1) > restingMax {
		_ = c.conn.SetReadDeadline(time.Now().Add(s.config.handshakeTimeout()))
	}
	err := c.next()
	if isTimeout(err) && s.resting.Load() <= restingMax {
		_ = c.conn.SetReadDeadline(time.Time{})
		err = c.next()
	}
	if isTimeout(err) {
		return errTooManyRest
	}
	return err
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
	c.resting.Store(f.receiving.ended) // true for a flow of nothing
	c.unproved.Store(false)
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
		opened, err := f.openOne(maxFirstBody)
		if opened || err != nil {
			return err
		}
		if err := f.chain.in.fill(); err != nil {
			return linkError(err)
		}
	}
}
