package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/secureportal/sp/wire"
)

const (
	// quicHandshake is for the next message of a handshake to come. Twice that is for all of it.
	quicHandshake = 5 * time.Second

	// quicIDLength is how many bytes of a connection's packets say which one it is.
	quicIDLength = 8

	// quicNewcomer is for how long a connection that has come in may be reset without a farewell.
	quicNewcomer = 5 * time.Second
)

// quicEndpoint is a socket at which somebody listens, or has: connections that have come in go on
// there. All nodes of a process share what listens at one address, one after the other.
type quicEndpoint struct {
	key    string
	socket *quicSocket
	by     *quic.Transport
	calls  *strangers

	uses int // of listeners and connections, guarded by quicEndpoints
}

// quicEndpoints is all sockets of this process at which QUIC is listened for, by their addresses.
var quicEndpoints = struct {
	sync.Mutex
	open map[string]*quicEndpoint
}{open: make(map[string]*quicEndpoint)}

// openEndpoint returns the endpoint at an address, which has been counted for a listener.
func (q *quicTransport) openEndpoint(
	ctx context.Context, network, address string,
) (*quicEndpoint, error) {
	quicEndpoints.Lock()
	defer quicEndpoints.Unlock()
	key := network + " " + address
	if e := quicEndpoints.open[key]; e != nil {
		e.uses++
		return e, nil
	}
	p, err := new(net.ListenConfig).ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	socket := newQUICSocket(p.(*net.UDPConn), false)
	waiting := newStrangers()
	var reset *quic.StatelessResetKey
	if q.config.Secret != [32]byte{} {
		// One address is one who listens: what is sent elsewhere tells nothing of this one's.
		mac := hmac.New(sha256.New, q.config.Secret[:])
		mac.Write([]byte(socket.LocalAddr().String()))
		reset = (*quic.StatelessResetKey)(mac.Sum(nil))
	}
	e := &quicEndpoint{
		socket: socket, calls: waiting, uses: 1,
		by: &quic.Transport{
			Conn: socket, ConnectionIDLength: quicIDLength, StatelessResetKey: reset,
			VerifySourceAddress: waiting.mustProve, ConnContext: waiting.enter,
		},
	}
	host := address[:strings.LastIndexByte(address, ':')]
	e.key = network + " " + host + ":" + strconv.Itoa(int(e.port())) // which may have been any
	quicEndpoints.open[e.key] = e
	return e, nil
}

func (e *quicEndpoint) use() {
	quicEndpoints.Lock()
	defer quicEndpoints.Unlock()
	e.uses++
}

// leave gives the endpoint up, and closes it when nobody else uses it.
func (e *quicEndpoint) leave() {
	quicEndpoints.Lock()
	defer quicEndpoints.Unlock()
	if e.uses--; e.uses > 0 {
		return
	}
	delete(quicEndpoints.open, e.key)
	_ = e.by.Close()
	_ = e.socket.Close()
}

// port returns where it listens.
func (e *quicEndpoint) port() uint16 { return portOfUDP(e.socket.LocalAddr()) }

func portOfUDP(a net.Addr) uint16 {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return 0
	}
	return u.AddrPort().Port()
}

// Close implements io.Closer, for an endpoint that nobody has used.
func (e *quicEndpoint) Close() error {
	e.leave()
	return nil
}

var _ io.Closer = (*quicEndpoint)(nil)

// Listen implements Transport.
func (q *quicTransport) Listen(ctx context.Context, a Address) (Listener, error) {
	endpoints, at, err := q.openEndpoints(ctx, a)
	if err != nil {
		return nil, err
	}
	certificate, err := quicCertificate()
	if err != nil {
		for _, e := range endpoints {
			e.leave()
		}
		return nil, err
	}
	l := &quicListener{
		at: at, addr: endpoints[0].socket.LocalAddr(), closing: make(chan struct{}),
		accepted: make(chan *quicCaller),
	}
	for _, e := range endpoints {
		inner, failed := e.by.Listen(quicServer(certificate), quicServerConfig())
		if failed != nil { // somebody in this process listens there
			err = syscall.EADDRINUSE
			e.leave()
			continue
		}
		e.calls.admitBy(q.config.AdmitTLS)
		l.inner = append(l.inner, inner)
		l.tasks.Go(func() { l.run(e, inner) })
	}
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// openEndpoints opens the socket that somebody listens at, or both where that is localhost.
func (q *quicTransport) openEndpoints(
	ctx context.Context, a Address,
) (all []*quicEndpoint, at Address, err error) {
	under := beneath(a)
	if IsLocalhost(under) {
		var port uint16
		all, port, err = onLoopbacks(a.Port, func(at string) (*quicEndpoint, uint16, error) {
			e, err := q.openEndpoint(ctx, "udp", at)
			if err != nil {
				return nil, 0, err
			}
			return e, e.port(), nil
		})
		a.Port = port
		return all, a, err
	}
	network, address := "udp", Format(under)
	switch name, _ := a.Host(); {
	case under.Kind == wire.IP4:
		network = "udp4"
	case name == "" && !under.IP.IsValid():
		address = Format(Address{Kind: wire.DNS, Port: a.Port}) // everywhere
	}
	e, err := q.openEndpoint(ctx, network, address)
	if err != nil {
		return nil, a, err
	}
	a.Port = e.port()
	return []*quicEndpoint{e}, a, nil
}

// quicServer is what to listen with. There are no tickets, and so nothing that comes before the
// handshake is done (0-RTT): it could come twice.
func quicServer(c *tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{quicProtocol},
		CurvePreferences: quicCurves, Certificates: []tls.Certificate{*c},
		SessionTicketsDisabled: true,
	}
}

func quicServerConfig() *quic.Config {
	const more = 16 // for what is no link
	return &quic.Config{
		HandshakeIdleTimeout: quicHandshake, MaxIdleTimeout: quicDead,
		MaxIncomingStreams: quicLinks + more, MaxIncomingUniStreams: -1,
		InitialStreamReceiveWindow: quicFirstWindow, MaxStreamReceiveWindow: quicMaxWindow,
		InitialConnectionReceiveWindow: quicWindow, MaxConnectionReceiveWindow: quicWindow,
		EnableStreamResetPartialDelivery: true,
	}
}

// quicCertificate is what this process shows: it is made by itself, and says nothing, for links are
// believed nothing.
var quicCertificate = sync.OnceValues(func() (*tls.Certificate, error) {
	const lasts = 100 * 365 * 24 * time.Hour
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(0, 0).Add(lasts),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
})

// quicListener is a Listener for QUIC connections. It is safe for concurrent use.
type quicListener struct {
	at    Address
	addr  net.Addr
	inner []*quic.Listener

	accepted chan *quicCaller
	closing  chan struct{}
	once     sync.Once
	tasks    sync.WaitGroup
}

// run hands over who comes at one endpoint.
func (l *quicListener) run(e *quicEndpoint, inner *quic.Listener) {
	defer e.leave()
	for {
		c, err := inner.Accept(context.Background())
		if err != nil {
			return
		}
		stopWaiting(c)
		caller := &quicCaller{quicConn: newQUICConn(c, acceptorIdle), since: time.Now()}
		caller.release = e.leave
		e.use()
		select {
		case l.accepted <- caller:
		case <-l.closing:
			_ = caller.Close()
		}
	}
}

// Accept implements Listener.
func (l *quicListener) Accept() (Link, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closing:
		return nil, net.ErrClosed
	}
}

// Close implements Listener. It returns when nothing is accepted any more; connections go on.
func (l *quicListener) Close() error {
	l.once.Do(func() {
		close(l.closing)
		for _, one := range l.inner {
			_ = one.Close()
		}
	})
	l.tasks.Wait()
	return nil
}

// Addr implements Listener.
func (l *quicListener) Addr() net.Addr { return urlAddr{Addr: l.addr, scheme: "quic", at: l.at} }
