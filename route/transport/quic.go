package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
)

const (
	// quicProtocol is what both sides say that they speak in QUIC (ALPN).
	quicProtocol = "sp/1"

	// quicLinks is how many links are on one QUIC connection at a time. There is another one for
	// more.
	quicLinks = 256

	// quicFirstWindow is how many bytes may come on a link before it is read, and quicMaxWindow what
	// becomes of that while it is read as fast as it comes: a line of 1 Gbit/s and 30 ms holds so
	// much.
	quicFirstWindow = 64 << 10
	quicMaxWindow   = 4 << 20

	// quicWindow is the same for a connection. There is as much for each link as it has at first, so
	// that those that nobody reads hold up no others, and for a few that were fast before.
	quicWindow = quicLinks*quicFirstWindow + 12*quicMaxWindow

	// quicDead is for how long nothing may come from the other side until it is given up, and
	// quicKeepAlive after which time without anything who has dialed asks for something: what is on
	// the way forgets about UDP after 30 seconds, and more.
	quicDead      = 30 * time.Second
	quicKeepAlive = 15 * time.Second

	// quicFarewell is how long who ends a connection waits for the other side to have read what has
	// come, and quicSign for a sign that it is there at all.
	quicFarewell = 10 * time.Second
	quicSign     = time.Second
)

// quicTransport makes links on QUIC connections: a stream each.
type quicTransport struct {
	config        Config // set once, as are the next two
	lately, taken time.Duration
	connections   *sharing
}

func newQUIC(c Config) Transport {
	return &quicTransport{
		config: c, lately: heardLately, taken: takenWithin, connections: newSharing(),
	}
}

// Source implements Transport.
func (*quicTransport) Source(peer net.Addr) admission.Source {
	if a, ok := peer.(urlAddr); ok {
		return sourceOfUDP(a.Addr)
	}
	return admission.Source{}
}

func sourceOfUDP(peer net.Addr) admission.Source {
	u, ok := peer.(*net.UDPAddr)
	if !ok {
		return admission.Source{}
	}
	return admission.FromIP(u.AddrPort().Addr())
}

// Close implements Transport.
func (q *quicTransport) Close() error {
	q.connections.close()
	return nil
}

// ErrNoProxy says that an address is reached directly or not at all.
var ErrNoProxy = errors.New("QUIC goes over UDP, which no proxy carries: wss:// goes by one, and " +
	"what NO_PROXY lists by none")

// Dial implements Transport: a link is made on the connection that is there, or on a new one.
func (q *quicTransport) Dial(ctx context.Context, a Address) (Link, error) {
	if q.config.Proxy != nil && q.config.Proxy(a) != nil {
		return nil, ErrNoProxy
	}
	ctx, cancel := context.WithTimeout(ctx, q.config.sooner())
	defer cancel()
	return q.connections.dial(ctx, a, q.connect)
}

// connect makes a connection to whoever listens at a.
func (q *quicTransport) connect(ctx context.Context, a Address) (shared, error) {
	check := checkReach(q.config, a)
	made, err := netio.Race(ctx, Format(beneath(a)), func(
		ctx context.Context, at netip.AddrPort,
	) (net.Conn, error) {
		if check != nil {
			if err := check(at); err != nil {
				return nil, err
			}
		}
		return q.connectTo(ctx, a, at)
	})
	if err != nil {
		return nil, quicDialError(err)
	}
	c := made.(quicFresh)
	if !q.connections.begin(c.quicConn, c.await) {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	return c.quicConn, nil
}

// connectTo makes a connection to one address, on a socket of its own.
func (q *quicTransport) connectTo(
	ctx context.Context, a Address, at netip.AddrPort,
) (net.Conn, error) {
	udp, err := q.config.From.OpenUDP(ctx, at.Addr())
	if err != nil {
		return nil, err
	}
	socket := newQUICSocket(udp, true)
	by := &quic.Transport{Conn: socket}
	inner, err := by.Dial(ctx, net.UDPAddrFromAddrPort(at), quicClient(), &quic.Config{
		HandshakeIdleTimeout: q.config.sooner(),
		MaxIdleTimeout:       quicDead, KeepAlivePeriod: quicKeepAlive,
		MaxIncomingStreams: 1, MaxIncomingUniStreams: -1,
		InitialStreamReceiveWindow: quicFirstWindow, MaxStreamReceiveWindow: quicMaxWindow,
		InitialConnectionReceiveWindow: quicWindow, MaxConnectionReceiveWindow: quicWindow,
		EnableStreamResetPartialDelivery: true,
	})
	if err != nil {
		_ = by.Close()
		_ = socket.Close()
		return nil, err
	}
	socket.open.Store(true)
	c := newQUICConn(inner, dialerIdle)
	c.of, c.socket, c.most = q, socket, quicLinks
	c.remote.at = dialedAs(a, inner.RemoteAddr())
	c.release = func() {
		_ = by.Close()
		_ = socket.Close()
	}
	c.begin(c.idle)
	return quicFresh{c}, nil
}

// quicClient is what to dial with. What is shown as a certificate says nothing: whom a node talks
// to, the secure channel says.
func quicClient() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{quicProtocol},
		CurvePreferences: quicCurves, InsecureSkipVerify: true, SessionTicketsDisabled: true,
	}
}

// quicCurves keep the first message of a handshake in one datagram. The secure channel inside has
// a secret that outlasts them.
var quicCurves = []tls.CurveID{tls.X25519, tls.CurveP256}

// noSuchProtocol is what TLS says in QUIC to who speaks something else (RFC 7301, RFC 9001).
const noSuchProtocol = quic.TransportErrorCode(0x100 + 120)

// quicDialError says what is wrong in words of what the user has to do with.
func quicDialError(err error) error {
	var silent *quic.HandshakeTimeoutError
	var idle *quic.IdleTimeoutError
	var said *quic.TransportError
	var versions *quic.VersionNegotiationError
	switch {
	case errors.As(err, &silent), errors.As(err, &idle), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("nobody answers over UDP: %w", context.DeadlineExceeded)
	case errors.As(err, &said) && said.ErrorCode == noSuchProtocol, errors.As(err, &versions):
		return errors.New("what listens there speaks QUIC, and not sp")
	case errors.As(err, &said) && said.ErrorCode == quic.ConnectionRefused:
		return errors.New("the node there takes no more connections just now")
	}
	if number := syscall.Errno(0); errors.As(err, &number) {
		return number // and not by which system call somebody was told
	}
	return err
}
