package route

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/direct"
	"github.com/secureportal/sp/route/mux"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// Names of the services that direct ways are made with.
const (
	DirectName   = "direct"   // of an outlet's node: agrees on a moment to dial
	ObservedName = "observed" // of a relay: says at which address it sees who asks
)

// directAnswers is the side of direct ways that is asked for them. It has a lock of its own.
type directAnswers struct {
	node *Node // set once

	mu      sync.Mutex
	turns   direct.Turns[identity.Identifier]
	relays  []*leadingRelay // the newest last
	windows *mux.Budget
}

// leadingRelay is a relay that leads to this node, and the node that dials it.
type leadingRelay struct {
	dial  *Node
	route Route
}

// budget returns what bounds the windows of all direct connections of the node.
func (a *directAnswers) budget() *mux.Budget {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.windows == nil {
		a.windows = transport.NewDirectBudget()
	}
	return a.windows
}

// LedBy says that a relay leads to this node, which dial has dialed by a route, until end is
// called, once: it can be asked there at which address this machine is seen.
func (n *Node) LedBy(dial *Node, relay Route) (end func()) {
	one, a := &leadingRelay{dial, relay}, &n.directs.answers
	a.mu.Lock()
	defer a.mu.Unlock()
	a.relays = append(a.relays, one)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.relays = slices.DeleteFunc(a.relays, func(r *leadingRelay) bool { return r == one })
	}
}

func (a *directAnswers) led() []*leadingRelay {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.relays)
}

// begin takes a turn for somebody, until end is called.
func (a *directAnswers) begin(who identity.Identifier) (end func(), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.turns.Begin(who, time.Now()) {
		return nil, false
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.turns.End()
	}, true
}

// offer has the node take part where others look for a direct way to it.
func (a *directAnswers) offer() {
	a.node.Offer(DirectName, Service{Handler: a.answer, Waits: true})
}

// answer is the responder's part of directWay.attempt.
func (a *directAnswers) answer(ctx context.Context, q *Request) error {
	session := q.Session
	if session.Role() != identity.Responder || len(a.led()) == 0 {
		return Refuse(wire.NoService, noService+DirectName)
	}
	end, ok := a.begin(session.Peer().Identifier())
	if !ok {
		return RefuseForNow("a direct way has been looked for just now", nil)
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, directTimeout)
	defer cancel()
	s := q.Accept()
	defer context.AfterFunc(ctx, func() { _ = s.SetDeadline(time.Unix(1, 0)) })()
	if err := s.Flush(); err != nil {
		return err
	}
	err := a.meetInitiator(ctx, session, s)
	a.node.logger.Debug("a direct way was looked for by who has come over a relay",
		"identifier", session.Peer().Identifier(), "error", err)
	return nil
}

// meetInitiator returns when the initiator has what it wants, or gives up.
func (a *directAnswers) meetInitiator(
	ctx context.Context, session *channel.Session, s *Stream,
) error {
	f, err := hearFrame(s, direct.Addresses)
	if err != nil {
		return err
	}
	here, to, err := a.observeFor(ctx, f.Addresses)
	if err != nil {
		return err
	}
	defer here.close()
	if err := here.sayTo(s); err != nil {
		return err
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	meeting, cancel := context.WithCancel(ctx)
	defer cancel()
	for rounds := 0; ; {
		f, err := direct.Read(s)
		switch {
		case errors.Is(err, io.EOF):
			return s.CloseWrite()
		case err != nil:
			return err
		case f.Kind == direct.Ask:
			if err := sayFrame(s, direct.Frame{Kind: direct.Answer}); err != nil {
				return err
			}
		case f.Kind == direct.Now && rounds < directRounds:
			rounds++
			tasks.Go(func() { a.meetOnce(meeting, session, here, to) })
		default:
			return direct.ErrMalformed
		}
	}
}

// observeFor finds the relay by which this side can be seen at an address that goes together with
// those of the other side.
func (a *directAnswers) observeFor(
	ctx context.Context, said []netip.AddrPort,
) (*seenPort, []netip.AddrPort, error) {
	err := error(errNoDirect)
	for _, r := range a.led() {
		var here *seenPort
		if here, err = r.dial.observe(ctx, r.route); err != nil {
			continue
		}
		var to []netip.AddrPort
		if to, err = here.side.Choose(said); err == nil {
			return here, to, nil
		}
		here.close()
	}
	return nil, nil, err
}

// meetOnce dials for a while, and has whatever comes of it served as what comes in at a listener.
func (a *directAnswers) meetOnce(
	ctx context.Context, session *channel.Session, here *seenPort, to []netip.AddrPort,
) {
	ctx, cancel := context.WithTimeout(ctx, 2*meetWindow)
	defer cancel()
	for c := range here.meet(ctx, to, true) {
		a.accept(session, c)
	}
}

// accept serves a connection whose other end is said to be a session's initiator, until it
// ends, the session is over, or the node has nothing more to say: then it ends in order, and
// Shutdown waits for that. As to the limits, he is a stranger until a link of the session has come
// there.
func (a *directAnswers) accept(session *channel.Session, c net.Conn) {
	n := a.node
	carrying, err := transport.NewDirectCaller(c, a.budget())
	if err != nil {
		_ = c.Close()
		return
	}
	linksAccepted.Inc()
	counted, err := n.countLink()
	if err != nil {
		_ = netio.Reset(carrying)
		return
	}
	detach := n.directs.attach()
	ended := make(chan struct{})
	over := func() {
		close(ended)
		detach()
		counted()
	}
	if !n.serveCarrier(n.life.ctx, carrying, over) {
		over()
		_ = netio.Reset(carrying)
		return
	}
	n.Go(func() {
		select {
		case <-ended:
			return
		case <-session.Over():
		case <-n.Inactive():
		}
		carrying.Finish()
	})
}
