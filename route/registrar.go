package route

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/secureportal/sp/wire"
)

// Spare links that an outlet keeps open to a relay: their number follows the demand.
const (
	minSpares   = 4
	spareShrink = time.Minute // without a shortage, before one less is kept
	spareRetry  = time.Second // after a spare link could not be made
)

// Registrar keeps a claim of a name on a relay: it makes it, makes it again when it is lost, and serves what the relay
// forwards.
type Registrar struct {
	Relay Route  // to the relay's node, without a service
	Name  string // to claim there

	// Dial walks the route to the relay. Its trust decides which identity the relay must have.
	Dial *Node
	// Serve serves what comes back. Its trust decides who may come.
	Serve *Node

	// NoSpares leaves everything to the one connection that the claim is made on.
	NoSpares bool

	// Registered is called when the claim has been made, each time. Nil calls nothing.
	Registered func()
}

func (r *Registrar) to(a ...wire.Address) Route {
	return append(append(Route(nil), r.Relay...), a...)
}

func (r *Registrar) registerRoute() Route {
	return r.to(wire.Address{Kind: wire.Secure, Name: SecureName}, wire.Address{Kind: wire.Service, Name: RegisterName})
}

func (r *Registrar) spareRoute() Route {
	return r.to(wire.Address{Kind: wire.Service, Name: SpareName})
}

func (r *Registrar) kind() byte {
	if r.NoSpares {
		return muxOnly
	}
	return withSpares
}

// Check tells whether the relay's route and the name can be used.
func (r *Registrar) Check() error {
	if err := dialable(r.registerRoute()); err != nil {
		return err
	}
	return wire.Address{Kind: wire.Service, Name: ForwardPrefix + r.Name}.Validate()
}

// Run keeps the claim until ctx ends. Failures are logged when they begin or change, not each time.
func (r *Registrar) Run(ctx context.Context) error {
	release := r.Serve.Claim(ForwardPrefix + r.Name)
	defer release()
	var retry backoff
	var last string
	for {
		lived, err := r.register(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if text := err.Error(); text != last || lived > 0 {
			r.Serve.logger.Warn("not registered, and goes on trying", "relay", Format(r.Relay), "name", r.Name, "error", err)
			last = text
		}
		if errors.Is(err, errSuperseded) {
			lived = 0 // two that take the name from each other do so ever more rarely
		}
		if !retry.wait(ctx, lived, nil) {
			return nil
		}
	}
}

// Once makes the claim and gives it up again: it tells whether the claim can be made.
func (r *Registrar) Once(ctx context.Context) error {
	s, _, err := r.claim(ctx)
	if err != nil {
		return err
	}
	return s.Close()
}

// claim makes the claim, and returns the stream and the ticket for spare links.
func (r *Registrar) claim(ctx context.Context) (*Stream, []byte, error) {
	s, err := r.Dial.OpenWith(ctx, r.registerRoute(), 0, appendClaim(nil, r.kind(), r.Name))
	if err != nil {
		return nil, nil, err
	}
	if err := s.Await(ctx); err != nil {
		_ = s.Close()
		return nil, nil, err
	}
	ticket := make([]byte, ticketSize)
	_ = s.SetReadDeadline(time.Now().Add(openingTimeout))
	if _, err := io.ReadFull(s, ticket); err != nil {
		_ = s.Close()
		return nil, nil, err
	}
	return s, ticket, s.SetReadDeadline(time.Time{})
}

// register makes the claim and serves what comes, until it is lost. It returns how long it had it.
func (r *Registrar) register(ctx context.Context) (lived time.Duration, err error) {
	claiming, cancel := context.WithTimeout(ctx, DefaultConnectTimeout)
	defer cancel()
	s, ticket, err := r.claim(claiming)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	mux, err := yamux.Server(s, muxConfig())
	if err != nil {
		return 0, err
	}
	defer mux.Close()
	stop := context.AfterFunc(ctx, func() { _ = mux.Close() })
	defer stop()
	began := time.Now()
	r.Serve.logger.Info("registered", "relay", Format(r.Relay), "name", r.Name)
	if r.Registered != nil {
		r.Registered()
	}
	spares := newSpares(r, ticket)
	keeping, stopKeeping := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stopKeeping()
	if !r.NoSpares {
		tasks.Go(func() { spares.keep(keeping) })
	}
	err = r.serveMux(mux, s, spares)
	return time.Since(began), err
}

// serveMux serves the links that the relay opens in the mux: the first tells of missing spare links.
func (r *Registrar) serveMux(mux *yamux.Session, s *Stream, spares *spares) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer mux.Close()
	for first := true; ; first = false {
		link, err := mux.AcceptStream()
		if err != nil {
			_ = mux.Close()
			tasks.Wait()
			return lost(err, s.Err(), spares.superseded.Load())
		}
		if first {
			tasks.Go(func() { spares.hear(link) })
			continue
		}
		if !r.Serve.run(func() { r.Serve.serveLink(newMuxLink(link), func() {}) }) {
			_ = link.Close()
		}
	}
}

// errSuperseded says that the same identity has claimed the name anew.
var errSuperseded = errors.New("another process with this identity has claimed the name")

// lost says why a registration has ended.
func lost(err, reason error, superseded bool) error {
	switch {
	case superseded:
		err = errSuperseded
	case reason != nil:
		err = reason
	}
	return fmt.Errorf("registration lost: %w", err)
}

// spares keeps links open to the relay that wait to be used, and learns how many are wanted.
type spares struct {
	registrar *Registrar
	id        [ticketIDSize]byte
	key       [ticketKeySize]byte
	number    atomic.Uint64

	superseded atomic.Bool

	mu       sync.Mutex
	want     int
	waiting  int       // made or being made, and not used
	owed     int       // made in addition, since somebody waits for them
	shortage time.Time // the last

	wake chan struct{} // tells keep that there may be something to do
}

func newSpares(r *Registrar, ticket []byte) *spares {
	p := &spares{registrar: r, want: minSpares, wake: make(chan struct{}, 1)}
	copy(p.id[:], ticket)
	copy(p.key[:], ticket[ticketIDSize:])
	return p
}

// hear reads the relay's demands until they end.
func (p *spares) hear(demand io.Reader) {
	b := make([]byte, maxSpares)
	for {
		n, err := demand.Read(b)
		if bytes.IndexByte(b[:n], takenOver) >= 0 {
			p.superseded.Store(true)
		}
		if missing := bytes.Count(b[:n], []byte{needSpare}); missing > 0 {
			p.short(missing)
		}
		if err != nil {
			return
		}
	}
}

// short takes note that n spare links were wanted and not there: they are made at once, and more kept from now on.
func (p *spares) short(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owed = min(p.owed+n, maxSpares)
	p.want = min(max(p.want*2, n), maxSpares)
	p.shortage = time.Now()
	p.poke()
}

func (p *spares) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// keep makes spare links whenever there are too few, until ctx ends.
func (p *spares) keep(ctx context.Context) {
	shrink := time.NewTicker(spareShrink)
	defer shrink.Stop()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for {
		p.mu.Lock()
		missing := max(p.want-p.waiting, p.owed, 0)
		p.waiting += missing
		p.owed = 0
		p.mu.Unlock()
		for range missing {
			tasks.Go(func() { p.one(ctx) })
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-shrink.C:
			p.shrink()
		}
	}
}

func (p *spares) shrink() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.shortage) > spareShrink {
		p.want = max(p.want-1, minSpares)
	}
}

// one makes one spare link, and serves it when it is used. It counts as waiting until then.
func (p *spares) one(ctx context.Context) {
	used := sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.waiting--
		p.poke()
	})
	defer used()
	s, err := p.dial(ctx)
	if err != nil {
		p.registrar.Serve.logger.Debug("no spare link", "relay", Format(p.registrar.Relay), "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(spareRetry):
		}
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	q := &Request{node: p.registrar.Serve, conn: s}
	err = q.read()
	if stop() && err == nil {
		used()
		if p.registrar.Serve.run(func() { p.registrar.Serve.serveRead(s, q) }) {
			return
		}
	}
	_ = s.Close()
}

// dial makes a link to the relay and parks it there.
func (p *spares) dial(ctx context.Context) (*Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultConnectTimeout)
	defer cancel()
	payload := appendSparePayload(nil, p.id, p.key, p.number.Add(1))
	s, err := p.registrar.Dial.OpenWith(ctx, p.registrar.spareRoute(), 0, payload)
	if err != nil {
		return nil, err
	}
	if err := s.Await(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}
