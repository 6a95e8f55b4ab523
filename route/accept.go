package route

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/route/transport"
)

// What links are refused for.
const (
	forTargets  = "what descriptors are left is for targets"
	tooManyMute = "too many are unauthenticated"
)

// acceptPause is after a listener could not accept.
const acceptPause = 100 * time.Millisecond

// Listen listens at a for links, which Serve takes. The error says where.
func (n *Node) Listen(ctx context.Context, a transport.Address) (net.Listener, error) {
	return n.transports.Listen(ctx, a)
}

// Serve accepts links on l until ctx or the node ends, and closes l. The links themselves live as
// long as the node. A connection that is no link, for want of half-close, is closed.
func (n *Node) Serve(ctx context.Context, l net.Listener) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	stopNode := context.AfterFunc(n.life.ctx, func() { _ = l.Close() })
	defer stopNode()
	defer l.Close()
	defer n.life.keep()()
	Accept(ctx, l, n.logger, func(c net.Conn) { n.accept(ctx, c) })
}

// accept serves a connection that has come in from the network. What it carries is taken in until
// ctx ends.
func (n *Node) accept(ctx context.Context, c net.Conn) {
	linksAccepted.Inc()
	link, err := transport.ToLink(c)
	if err != nil {
		if n.linkRefusals.Due(time.Now()) {
			n.logger.Warn("refusing links", "peer", c.RemoteAddr(), "error", err)
		}
		_ = c.Close()
		return
	}
	counted, err := n.countLink()
	if err != nil {
		_ = netio.Reset(link)
		return
	}
	var served bool
	if on, ok := link.(transport.Carrying); ok {
		served = n.serveCarrier(ctx, on, counted)
	} else {
		served = n.serveAccepted(link, nil, counted)
	}
	if !served {
		counted()
		_ = netio.Reset(link)
	}
}

// serveAccepted serves a link that has come in, on the carrier that has a slot or on none, and
// calls ended then. It reports false, and has done nothing, if there is no room.
func (n *Node) serveAccepted(link Conn, carrier *admission.Slot, ended func()) bool {
	slot, err := n.enter(link)
	return err == nil && n.Go(func() {
		stays := n.life.stay()
		n.serveLink(link, slot, carrier, func() {
			ended()
			stays()
		})
	})
}

// serveCarrier serves the links that come on a carrier, until it ends; new ones until ctx does. It
// calls ended then. It reports false, and has done nothing, if there is no room.
func (n *Node) serveCarrier(ctx context.Context, c transport.Carrying, ended func()) bool {
	slot, err := n.enter(c)
	return err == nil && n.Go(func() {
		defer ended()
		n.carry(ctx, c, slot)
	})
}

// carry serves the links that come on a carrier. It counts as an unauthenticated link until one of
// them has been authenticated, or counts for something else; so does each of them.
func (n *Node) carry(ctx context.Context, c transport.Carrying, slot *admission.Slot) {
	defer func() { slot.End(time.Now()) }()
	n.links.watch(c)
	defer n.links.unwatch(c)
	err := c.Carry(ctx, n.Go, openingTimeout, func(link Conn) {
		linksAccepted.Inc()
		if !n.serveAccepted(link, slot, func() {}) {
			_ = netio.Reset(link)
		}
	})
	if err != nil {
		n.logger.Debug("no links came", "peer", c.RemoteAddr(), "error", err)
	}
}

// countLink counts the descriptor of a link that was accepted, until end is called, once.
func (n *Node) countLink() (end func(), err error) {
	end, err = n.admission.Link()
	if err != nil {
		n.refusing.note(forTargets)
	}
	if err != nil && n.linkRefusals.Due(time.Now()) {
		n.logger.Warn("refusing links: " + forTargets)
	}
	return end, err
}

// CountStandbyLink counts the descriptor of a link that this side makes for those who may come by a
// relay, until end is called, once. It fails if those that are left are for others.
func (n *Node) CountStandbyLink() (end func(), err error) { return n.admission.StandbyLink() }

// enter gives a link that has not said what it wants yet a slot, and cuts another one for it if
// need be.
func (n *Node) enter(link Conn) (*admission.Slot, error) {
	now := time.Now()
	slot, displaced, err := n.admission.Enter(link, n.source(link.RemoteAddr()), now)
	n.displace(displaced)
	if err != nil {
		n.refusing.note("links: " + tooManyMute)
	}
	if err != nil && n.linkRefusals.Due(now) {
		n.logger.Warn("refusing links: "+tooManyMute,
			"peer", link.RemoteAddr(), "error", err)
	}
	return slot, err
}

// Accept hands the connections that come in on l to handle until l is closed, which who ends ctx
// must see to; one that says io.EOF and no more has ended as well. That it cannot accept for a
// while, as when descriptors are short, it waits out, and logs now and then.
func Accept(ctx context.Context, l net.Listener, logger *slog.Logger, handle func(net.Conn)) {
	var failing logthrottle.Throttle
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			handle(c)
		case errors.Is(err, net.ErrClosed), err == io.EOF, ctx.Err() != nil:
			return
		default:
			if failing.Due(time.Now()) {
				logger.Warn("cannot accept connections, and goes on trying", "error", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
		}
	}
}
