package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/wire"
)

// tlsProtocol is what is offered and taken inside of TLS (ALPN), also where it is a lie: what looks
// like a browser gets through. HTTP/2 is not offered, for a WebSocket does not begin in it.
const tlsProtocol = "http/1.1"

// resumedSessions is how many TLS sessions are remembered, to begin links with less to compute.
const resumedSessions = 64

// ErrNoCertificate says that nobody can listen over TLS without a certificate.
var ErrNoCertificate = errors.New("TLS takes a certificate and its key; behind a proxy that has " +
	"those it is ws://")

// TLSConfig is what a node shows and believes in TLS. TLS is a carrier: what it protects is whom
// somebody on the way sees talking, and no more. The zero value has no certificate.
type TLSConfig struct {
	// Certificate returns what to show to somebody who comes in. Nil lets nobody listen.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	// Challenges are protocols, beside that of links, by which an authority asks for a certificate
	// of its own, and for nothing more (RFC 8737).
	Challenges []string

	// Roots are whom the certificates of others must be from. Nil means the system's: whatever else
	// is wrong with a certificate is logged then, and harms nothing.
	Roots *x509.CertPool

	// Seen is told whose certificate was shown, and why it is not believed, if it is not. Nil is
	// told nothing.
	Seen func(host, issuer string, err error)

	sessions tls.ClientSessionCache
	accepts  *tls.Config // made once, for what it encrypts its tickets with
}

var errUnknownIssuer = errors.New("it is signed by nobody who is believed here")

// client returns the configuration to dial host with.
func (c TLSConfig) client(host string) *tls.Config {
	return &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS12, NextProtos: []string{tlsProtocol},
		ClientSessionCache: c.sessions,
		// VerifyConnection decides.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { return c.verify(host, s) },
	}
}

// verify looks at a certificate that host has shown. Where nobody has said who is to be believed,
// one that is not is no reason to go without a link: whoever put himself in between sees what he
// would see of TCP.
func (c TLSConfig) verify(host string, s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("no certificate was shown")
	}
	between := x509.NewCertPool()
	for _, one := range s.PeerCertificates[1:] {
		between.AddCert(one)
	}
	first := s.PeerCertificates[0]
	_, err := first.Verify(x509.VerifyOptions{
		DNSName: host, Roots: c.Roots, Intermediates: between,
	})
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		err = errUnknownIssuer
	}
	if c.Seen != nil {
		c.Seen(host, first.Issuer.String(), err)
	}
	if err != nil && c.Roots != nil {
		return fmt.Errorf("its certificate, from %s: %w", Printable(first.Issuer.String()), err)
	}
	return nil
}

// server returns the configuration to listen with. Nothing has been computed for somebody when
// admit is asked whether it is to be.
func (c TLSConfig) server(admit func(peer net.Addr) error) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: append([]string{tlsProtocol}, c.Challenges...),
		GetCertificate: c.Certificate,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if admit == nil {
				return nil, nil
			}
			return nil, admit(hello.Conn.RemoteAddr())
		},
	}
}

// tlsTransport makes connections over TLS. They have half-close and reset, and no splice.
type tlsTransport struct{ config Config }

func newTLS(c Config) Transport { return tlsTransport{c} }

// Dial implements Transport.
func (t tlsTransport) Dial(ctx context.Context, a Address) (Link, error) {
	l, err := dialTLS(ctx, t.config, a)
	if err != nil {
		return nil, err // and not a Link that is none
	}
	return l, nil
}

// dialTLS makes the connection over TLS that a is, or is over.
func dialTLS(ctx context.Context, config Config, a Address) (*tlsLink, error) {
	ctx, cancel := context.WithTimeout(ctx, config.sooner())
	defer cancel()
	socket, err := dialSocket(ctx, config, a)
	if err != nil {
		return nil, err
	}
	name, ip := a.Host()
	if name == "" {
		name = ip.String()
	}
	raw := &tlsSocket{Conn: socket}
	l := newTLSLink(raw, tls.Client(raw, config.TLS.client(name)))
	l.remote.at = dialedAs(a, socket.RemoteAddr())
	if err := l.Conn.HandshakeContext(ctx); err != nil {
		_ = socket.Close()
		return nil, fmt.Errorf("TLS: %w", handshakeError(err))
	}
	l.begun = true
	return l, nil
}

// handshakeError says what is wrong in words of what the user has to do with.
func handshakeError(err error) error {
	err = withoutOperation(err)
	var foreign tls.RecordHeaderError
	if errors.As(err, &foreign) || errors.Is(err, errUnannounced) {
		return errors.New("what listens there speaks none")
	}
	return err
}

// dialedAs is a with which of its host's addresses somebody is at.
func dialedAs(a Address, peer net.Addr) Address {
	if !a.IsNamed() {
		return a
	}
	switch at := peer.(type) {
	case *net.TCPAddr:
		a.IP = plain(at.AddrPort().Addr())
	case *net.UDPAddr:
		a.IP = plain(at.AddrPort().Addr())
	}
	return a
}

// withoutOperation takes the words of package net off an error.
func withoutOperation(err error) error {
	if operation := (*net.OpError)(nil); errors.As(err, &operation) {
		return operation.Err
	}
	return err
}

// Listen implements Transport.
func (t tlsTransport) Listen(ctx context.Context, a Address) (Listener, error) {
	return listenURL(ctx, t.config, a, func(socket Link) Link { return acceptTLS(t.config, socket) })
}

// acceptTLS returns the link that a connection is to be. Its handshake is part of its first Read or
// Write, so that it takes a slot, a time and a goroutine as any link does before it says something.
func acceptTLS(config Config, socket Link) *tlsLink {
	raw := &tlsSocket{Conn: socket}
	return newTLSLink(raw, tls.Server(raw, config.TLS.accepts))
}

// Source implements Transport.
func (tlsTransport) Source(peer net.Addr) admission.Source { return sourceBeneath(peer) }

// sourceBeneath is where the socket beneath a connection leads: behind a proxy, the proxy is it.
func sourceBeneath(peer net.Addr) admission.Source {
	a, ok := peer.(urlAddr)
	if !ok {
		return admission.Source{}
	}
	return tcp{}.Source(a.Addr)
}

// Close implements Transport. Connections have nothing in common.
func (tlsTransport) Close() error { return nil }

// listenURL listens at the socket that a is over, and makes links of what comes with accept.
func listenURL(
	ctx context.Context, config Config, a Address, accept func(Link) Link,
) (Listener, error) {
	if a.Kind != wire.WS && config.TLS.Certificate == nil {
		return nil, ErrNoCertificate
	}
	under := beneath(a)
	if name, _ := a.Host(); name == "" && under.Name == "" && !under.IP.IsValid() {
		under = Address{Kind: wire.DNS, Port: a.Port} // everywhere
	}
	l, err := listenSocket(ctx, config, under, false)
	if err != nil {
		return nil, err
	}
	at := a
	if bound, ok := ListensAt(l); ok {
		at.Port = bound.Port
	}
	return &urlListener{sockets: sockets{l}, at: at, accept: accept}, nil
}

// urlListener is a listener for connections over others.
type urlListener struct {
	sockets
	at     Address
	accept func(Link) Link
}

// Accept implements Listener.
func (l *urlListener) Accept() (Link, error) {
	socket, err := l.sockets.Accept()
	if err != nil {
		return nil, err
	}
	return l.accept(socket), nil
}

// Addr implements Listener.
func (l *urlListener) Addr() net.Addr {
	return urlAddr{Addr: l.sockets.Addr(), scheme: urlScheme(l.at.Kind), at: l.at}
}

// tlsSocket is what a TLS connection is made on. An end that nobody has announced in TLS is a cut.
type tlsSocket struct {
	netio.Conn
	atOnce bool // Read does not wait; owned by who reads
}

// errUnannounced is what netio.IsReset knows.
var errUnannounced = fmt.Errorf("the end of TLS was not announced: %w", syscall.ECONNRESET)

// Read implements net.Conn.
func (s *tlsSocket) Read(p []byte) (int, error) {
	if s.atOnce && netio.Quiet(s.Conn) {
		return 0, waitError{}
	}
	n, err := s.Conn.Read(p)
	if err == io.EOF {
		err = errUnannounced
	}
	return n, err
}

// waitError says that nothing has come yet, and has TLS go on where it was when there is more.
type waitError struct{}

func (waitError) Error() string   { return "nothing has come yet" }
func (waitError) Timeout() bool   { return true }
func (waitError) Temporary() bool { return true }

// tlsLink is a link over TLS.
type tlsLink struct {
	*tls.Conn
	raw           *tlsSocket
	local, remote urlAddr

	reading sync.Mutex // held while somebody reads, and guards what follows
	ahead   [1]byte
	has     int  // bytes in ahead
	begun   bool // the handshake has been done

	mu       sync.Mutex // guards what follows
	ended    bool       // CloseWrite has been called
	awaiting bool       // AwaitReset has been
}

var (
	_ netio.Conn         = (*tlsLink)(nil)
	_ netio.LazyReader   = (*tlsLink)(nil)
	_ netio.Quieter      = (*tlsLink)(nil)
	_ netio.Resetter     = (*tlsLink)(nil)
	_ netio.ResetAwaiter = (*tlsLink)(nil)
	_ netio.Unsenter     = (*tlsLink)(nil)
)

func newTLSLink(raw *tlsSocket, c *tls.Conn) *tlsLink {
	const scheme = "tls"
	return &tlsLink{
		Conn: c, raw: raw,
		local:  urlAddr{Addr: raw.LocalAddr(), scheme: scheme},
		remote: urlAddr{Addr: raw.RemoteAddr(), scheme: scheme},
	}
}

// LocalAddr implements net.Conn.
func (l *tlsLink) LocalAddr() net.Addr { return l.local }

// RemoteAddr implements net.Conn.
func (l *tlsLink) RemoteAddr() net.Addr { return l.remote }

// Read implements net.Conn.
func (l *tlsLink) Read(p []byte) (int, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.has > 0 && len(p) > 0 {
		p[0] = l.ahead[0]
		l.has = 0
		return 1, nil
	}
	n, err := l.Conn.Read(p)
	l.begun = l.begun || n > 0
	return n, err
}

// ReadLazy implements netio.LazyReader: it waits for one byte, and then takes what is there.
func (l *tlsLink) ReadLazy(room netio.Room) (int, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.has == 0 {
		n, err := l.Conn.Read(l.ahead[:])
		if n == 0 {
			return 0, orNoProgress(err)
		}
		l.has, l.begun = n, true
	}
	b := room.Acquire()[0]
	b[0], l.has = l.ahead[0], 0
	return 1 + l.readAtOnce(b[1:]), nil
}

// readAtOnce reads what has come already. An error is there again for the next one who reads.
func (l *tlsLink) readAtOnce(p []byte) (total int) {
	l.raw.atOnce = true
	defer func() { l.raw.atOnce = false }()
	for total < len(p) {
		n, err := l.Conn.Read(p[total:])
		total += n
		if err != nil || n == 0 {
			break
		}
	}
	return total
}

func orNoProgress(err error) error {
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// Quiet implements netio.Quieter. What TLS has to say for itself does not count.
func (l *tlsLink) Quiet() bool {
	if !l.reading.TryLock() {
		return netio.Quiet(l.raw.Conn)
	}
	defer l.reading.Unlock()
	if l.has > 0 || !l.begun {
		return l.has == 0 && netio.Quiet(l.raw.Conn)
	}
	l.raw.atOnce = true
	defer func() { l.raw.atOnce = false }()
	n, err := l.Conn.Read(l.ahead[:])
	l.has = n
	return n == 0 && errors.Is(err, waitError{})
}

// CloseWrite implements netio.Conn.
func (l *tlsLink) CloseWrite() error {
	err := l.Conn.CloseWrite()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.awaiting {
		_ = l.raw.SetReadDeadline(time.Unix(1, 0))
	}
	return err
}

// Reset implements netio.Resetter.
func (l *tlsLink) Reset() error { return netio.Reset(l.raw.Conn) }

// AwaitReset implements netio.ResetAwaiter: the socket may still say that it has failed.
func (l *tlsLink) AwaitReset() error {
	l.mu.Lock()
	l.awaiting = true
	ended := l.ended
	l.mu.Unlock()
	if ended {
		return nil
	}
	err := netio.AwaitReset(l.raw.Conn)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	return err
}

// Stuck tells netio whether what is sent arrives.
func (l *tlsLink) Stuck() (times int, sending bool) { return netio.Stuck(l.raw.Conn) }

// NoteSends has netio told when something is sent.
func (l *tlsLink) NoteSends(n *netio.Note) { netio.NoteSends(l.raw.Conn, n) }

// TakesMore tells netio whether a few bytes would be taken at once.
func (l *tlsLink) TakesMore() bool { return netio.TakesMore(l.raw.Conn) }

// Unsent tells netio how much of what has been written waits here.
func (l *tlsLink) Unsent() int { return netio.Unsent(l.raw.Conn) }

// Idle tells netio for how long nothing has been sent or received.
func (l *tlsLink) Idle() (since time.Duration, known bool) { return netio.Idle(l.raw.Conn) }
