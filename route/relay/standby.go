package relay

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/route"
)

const spareRetry = time.Second // after a spare link could not be made, or has ended without use

// spares keeps links open to the relay that wait to be used: as many as are wanted.
type spares struct {
	registrar *Client
	id        [ticketIDSize]byte
	key       [ticketKeySize]byte
	number    atomic.Uint64

	superseded atomic.Bool

	mu      sync.Mutex
	want    int
	waiting int // made or being made, and not used
	owed    int // made in addition, since somebody waits for them

	wake chan struct{} // tells keep that there may be something to do
}

func newSpares(r *Client, ticket []byte) *spares {
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
	p.poke()
}

func (p *spares) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// keep makes spare links whenever there are too few, until ctx ends, and has serve serve those that are used.
func (p *spares) keep(ctx context.Context, serve func(*route.Stream, *route.Request) bool) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for {
		p.mu.Lock()
		missing := max(min(max(p.want-p.waiting, p.owed), maxWaiting-p.waiting), 0)
		p.waiting += missing
		p.owed = 0
		p.mu.Unlock()
		for range missing {
			tasks.Go(func() { p.one(ctx, serve) })
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
	}
}

// shrink has one spare link less kept.
func (p *spares) shrink() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want = max(p.want-1, minSpares)
}

// one makes one spare link, and has it served when it is used. It counts as waiting until then, or until another may be
// made in its place.
func (p *spares) one(ctx context.Context, serve func(*route.Stream, *route.Request) bool) {
	used := sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.waiting--
		p.poke()
	})
	defer used()
	s, q, err := p.await(ctx)
	if err != nil {
		p.registrar.Serve.Logger().Debug("no spare link", "relay", route.Format(p.registrar.Relay), "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(spareRetry):
		}
		return
	}
	used()
	if !serve(s, q) {
		_ = s.Close()
	}
}

// await makes a spare link, and returns when it is used.
func (p *spares) await(ctx context.Context) (*route.Stream, *route.Request, error) {
	s, err := p.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	q, err := p.registrar.Serve.ReadRequest(s)
	switch {
	case !stop():
		err = ctx.Err()
	case err == nil:
		return s, q, nil
	default: // most likely the relay has closed it: there are enough
		p.shrink()
	}
	_ = s.Close()
	return nil, nil, err
}

// dial makes a link to the relay and parks it there.
func (p *spares) dial(ctx context.Context) (*route.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, route.DefaultConnectTimeout)
	defer cancel()
	payload := appendSparePayload(nil, p.id, p.key, p.number.Add(1))
	return p.registrar.Dial.OpenAndAwait(ctx, p.registrar.spareRoute(), 0, payload)
}
