package route

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/pause"
	"github.com/secureportal/sp/route/direct"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

const (
	// meetWindow is for how long both sides dial: the kernel sends a second SYN after a second.
	meetWindow = 1500 * time.Millisecond
	// A connection that is refused is tried again after dialAgain, ever more rarely, dialTries times
	// at most: the other side may not dial yet, and its NAT say so.
	dialAgain = 30 * time.Millisecond
	dialTries = 6
	// maxStrangers is how many may come to a port, while it is listened at, whom nobody expects.
	maxStrangers = 16
	// observedTimeout is for a relay to say at which address it sees this side.
	observedTimeout = 5 * time.Second
	// maxObserved is the longest answer to that.
	maxObserved = 1 + 1 + 16 + 2
)

// seenPort is a port of this machine's that a relay sees, and what it says of that.
type seenPort struct {
	side direct.Side
	port netio.Port
	link Conn // to the relay: as long as it is open, NATs keep what they have made of the port
}

func (s *seenPort) close() { _ = s.link.Close() }

// sayTo tells the other side where this one is.
func (s *seenPort) sayTo(stream *Stream) error {
	return sayFrame(stream, direct.Frame{
		Kind: direct.Addresses, Addresses: []netip.AddrPort{s.side.Seen},
	})
}

func sayFrame(s *Stream, f direct.Frame) error {
	_, err := s.Write(direct.Append(nil, f))
	return err
}

// hearFrame reads a frame, which is to be of a kind.
func hearFrame(s *Stream, kind direct.Kind) (f direct.Frame, err error) {
	f, err = direct.Read(s)
	if err == nil && f.Kind != kind {
		err = direct.ErrMalformed
	}
	return f, err
}

// observe asks a relay from which address a new port of this machine's is seen. The caller closes
// what it returns.
func (n *Node) observe(ctx context.Context, relay Route) (*seenPort, error) {
	ctx, cancel := context.WithTimeout(ctx, observedTimeout)
	defer cancel()
	if len(relay) != 1 {
		return nil, transport.ErrNotDirect
	}
	link, port, err := n.transports.DialShared(ctx, relay[0], n.config.DirectPorts)
	if err != nil {
		return nil, asUnoffered(err)
	}
	at, err := n.askObserved(ctx, link)
	here := &seenPort{port: port, link: link}
	if err == nil {
		relayAt, _ := addrPortOf(link.RemoteAddr())
		here.side = direct.Side{
			Relay: relayAt.Addr(), Seen: at, Own: ownNetworks(), Withheld: transport.IsWithheld,
		}
		err = here.side.CheckSeen()
	}
	if err != nil {
		_ = link.Close()
		return nil, asUnoffered(err)
	}
	return here, nil
}

// askObserved asks on a link, which stays open.
func (n *Node) askObserved(ctx context.Context, link Conn) (at netip.AddrPort, err error) {
	to := Route{wire.Address{Kind: wire.Service, Name: ObservedName}}
	out, err := wire.AppendMessage(nil, wire.Message{Onward: to, Return: Route{n.labels.origin()}})
	if err != nil {
		return at, err
	}
	s := opened(link, &answerer{route: to}, out)
	stop := context.AfterFunc(ctx, func() { _ = link.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := s.Await(ctx); err != nil {
		return at, err
	}
	if err := context.Cause(ctx); err != nil { // it has taken the deadline back, perhaps
		return at, err
	}
	b, err := readAll(s, maxObserved)
	if err != nil {
		return at, err
	}
	all, err := direct.ParseAddresses(b)
	if err == nil && len(all) != 1 {
		err = direct.ErrMalformed
	}
	if err != nil {
		return at, err
	}
	return all[0], nil
}

// ownNetworks returns those that this machine's interfaces are in.
func ownNetworks() (all []netip.Prefix) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p)
		}
	}
	return all
}

func addrPortOf(a net.Addr) (netip.AddrPort, bool) {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	at := t.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), true
}

// meet dials all of some addresses from the port, again and again, until ctx ends, and lets the
// connections be had that come of it. If it listens, those count as well that come in from one of
// these hosts. The channel is closed when all is over; who reads it reads all.
func (s *seenPort) meet(ctx context.Context, to []netip.AddrPort, listen bool) <-chan net.Conn {
	made := make(chan net.Conn)
	var tasks sync.WaitGroup
	for _, at := range to {
		tasks.Go(func() {
			if c := s.dial(ctx, at); c != nil {
				give(ctx, made, c)
			}
		})
	}
	if listen {
		tasks.Go(func() { s.accept(ctx, to, made) })
	}
	go func() {
		tasks.Wait()
		close(made)
	}()
	return made
}

// give hands a connection over, unless nobody wants one any more.
func give(ctx context.Context, made chan<- net.Conn, c net.Conn) {
	select {
	case made <- c:
	case <-ctx.Done():
		turnAway(c)
	}
}

// turnAway resets a connection of a port's.
func turnAway(c net.Conn) {
	if l, err := transport.ToLink(c); err == nil {
		c = l
	}
	_ = netio.Reset(c)
}

// dial connects to one address, or returns nil.
func (s *seenPort) dial(ctx context.Context, at netip.AddrPort) net.Conn {
	wait := dialAgain
	for range dialTries {
		c, err := s.port.Dial(ctx, at)
		if err == nil {
			return c
		}
		if !pause.For(ctx, wait) {
			return nil
		}
		wait *= 2
	}
	return nil
}

// accept takes in what comes from one of some hosts. Whoever else comes is reset, and too many of
// those end it.
func (s *seenPort) accept(ctx context.Context, from []netip.AddrPort, made chan<- net.Conn) {
	l, err := s.port.Listen(ctx)
	if err != nil {
		return // dialing alone may do
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for strangers := 0; strangers < maxStrangers; {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if isFrom(c, from) {
			give(ctx, made, c)
			continue
		}
		strangers++
		turnAway(c)
	}
}

func isFrom(c net.Conn, hosts []netip.AddrPort) bool {
	at, ok := addrPortOf(c.RemoteAddr())
	for _, h := range hosts {
		if ok && h.Addr().Unmap() == at.Addr() {
			return true
		}
	}
	return false
}

var errLongAnswer = errors.New("the answer is too long")

// readAll reads what comes until the end, max bytes at most.
func readAll(s *Stream, most int) ([]byte, error) {
	b := make([]byte, 0, most+1)
	for {
		n, err := s.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > most:
			return nil, errLongAnswer
		case err != nil && len(b) > 0 && errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return nil, err
		}
	}
}
