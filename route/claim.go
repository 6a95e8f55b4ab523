package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
)

// claim is a name that a relay has given to an outlet, on the outlet's side.
type claim struct {
	registrar *Registrar
	stream    *Stream // to the relay's register service
	spares    *spares

	mu    sync.Mutex
	links map[net.Conn]struct{} // that the relay has forwarded and that are being served
}

// claim makes the claim.
func (r *Registrar) claim(ctx context.Context) (*claim, error) {
	s, err := r.Dial.OpenAndAwait(ctx, r.registerRoute(), 0, appendClaim(nil, r.kind(), r.Name))
	if err != nil {
		return nil, err
	}
	ticket, err := readTicket(s)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return &claim{registrar: r, stream: s, spares: newSpares(r, ticket), links: make(map[net.Conn]struct{})}, nil
}

// readTicket reads the ticket for spare links that comes with the relay's consent.
func readTicket(s *Stream) ([]byte, error) {
	ticket := make([]byte, ticketSize)
	_ = s.SetReadDeadline(time.Now().Add(openingTimeout))
	if _, err := io.ReadFull(s, ticket); err != nil {
		return nil, err
	}
	return ticket, s.SetReadDeadline(time.Time{})
}

// left returns a channel that is closed when the relay has said that it is going away.
func (c *claim) left() <-chan struct{} {
	if s := c.stream.session(); s != nil {
		return s.GoingAway()
	}
	return nil
}

// serve serves what the relay forwards until the claim is lost or ctx ends, and says why it was lost.
func (c *claim) serve(ctx context.Context) error {
	defer c.stream.Close()
	mux, err := newMux(yamux.Server, c.stream, c.registrar.Dial.run, 0)
	if err != nil {
		return err
	}
	defer mux.Close()
	if err := c.registrar.Serve.beginClaim(); err != nil {
		return err
	}
	defer c.registrar.Serve.endClaim()
	keeping, stopKeeping := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stopKeeping()
	tasks.Go(func() { c.part(ctx, mux) })
	if !c.registrar.NoSpares {
		tasks.Go(func() { c.spares.keep(keeping, c.serveSpare) })
	}
	return c.serveMux(mux)
}

// part ends the mux when ctx ends, or gently when the node has served all that it had to: the sessions in it end in good
// order, and what is on its way to the relay arrives, which takes it in whether or not it can pass it on.
func (c *claim) part(ctx context.Context, mux *mux) {
	select {
	case <-c.registrar.Serve.inactive:
		_ = c.stream.SetWriteDeadline(time.Now().Add(partTimeout))
		c.registrar.Serve.endpoint.CloseFunc(c.carries)
		if mux.finish() == nil {
			select {
			case <-mux.CloseChan():
			case <-ctx.Done():
			case <-time.After(partTimeout):
			}
		}
	case <-ctx.Done():
	case <-mux.CloseChan():
	}
	_ = mux.Close()
}

// partTimeout is for a relay to end a claim when its outlet has.
const partTimeout = 5 * time.Second

// serveMux serves the links that the relay opens in the mux: the first tells of missing spare links.
func (c *claim) serveMux(mux *mux) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer mux.Close()
	for first := true; ; first = false {
		link, err := mux.AcceptStream()
		if err != nil {
			_ = mux.Close()
			tasks.Wait()
			return lost(err, cmp.Or(mux.Err(), c.stream.Err()), c.spares.superseded.Load())
		}
		if first {
			tasks.Go(func() { c.spares.hear(link) })
			continue
		}
		c.serveLink(mux.link(link))
	}
}

// serveLink serves a link in the mux.
func (c *claim) serveLink(link netio.Conn) {
	node := c.registrar.Serve
	served := node.run(func() {
		defer c.carry(link)()
		node.serveLink(link, nil)
	})
	if !served {
		_ = link.Close()
	}
}

// serveSpare serves a spare link that is used for q. It reports false if the node has been closed.
func (c *claim) serveSpare(link *Stream, q *Request) bool {
	node := c.registrar.Serve
	return node.run(func() {
		defer c.carry(link)()
		node.serveRead(link, q)
	})
}

// carry takes a link among those that the relay has forwarded, until the returned function is called.
func (c *claim) carry(link net.Conn) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.links[link] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.links, link)
	}
}

// Sessions that were being made when the relay said that it was going away are looked for, once in an interval and as
// many times as a handshake may take, and some more.
const (
	announceInterval = time.Second
	announceRounds   = 10
)

// announce tells those who come by the relay that they should go elsewhere, while ctx lasts.
func (c *claim) announce(ctx context.Context) {
	again := time.NewTicker(announceInterval)
	defer again.Stop()
	for range announceRounds {
		c.registrar.Serve.endpoint.GoAwayFunc(c.carries)
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// carries tells whether a session comes by the relay, in however many others.
func (c *claim) carries(s *channel.Session) bool {
	for conn := net.Conn(s.Link()); ; {
		c.mu.Lock()
		_, ours := c.links[conn]
		c.mu.Unlock()
		if ours {
			return true
		}
		switch outer := conn.(type) {
		case *Stream:
			conn = outer.conn
		case *channel.Flow:
			conn = outer.Session().Link()
		default:
			return false
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
