package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/route/transport"
)

const (
	maxMessage    = 64 << 10               // bytes that a read has room for
	readPause     = 50 * time.Millisecond  // after a read that failed
	loopbackTries = 16                     // free ports of IPv4, until one is free in IPv6 as well
	sweepPause    = 100 * time.Millisecond // between two looks for flows that are over
)

// Listener makes a flow of each client that sends datagrams to its address: of each pair of an
// address that a client sends from and one of this machine's that it sends to. It is a net.Listener
// whose connections are *Conn, and safe for concurrent use.
type Listener struct {
	config  Config
	at      transport.Address
	sockets []*socket
	drops   *drops

	accepted chan *Conn    // that nobody has accepted yet
	opening  chan struct{} // has one for each that has been, and is not open yet
	over     chan struct{} // closed when nobody new is heard
	noMore   func()
	reading  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed bool
	taken  bool // AcceptNoMore has been called
	flows  map[key]*flow
	swept  time.Time
}

// key is what tells flows apart.
type key struct {
	socket        *socket
	client, local netip.AddrPort
}

// flow is a client's, or the place of one that was reset.
type flow struct {
	conn *Conn     // nil in that place,
	till time.Time // which is kept until then
}

// socket is one socket of a listener.
type socket struct {
	*net.UDPConn
	at    netip.AddrPort
	tells bool // it tells to which address a datagram was sent
}

// Listen listens at a, which is as transport.ParseUDP reads it. localhost is both loopbacks, no
// host and [::] are everywhere, in IPv4 as well. ctx bounds only that.
func Listen(ctx context.Context, a transport.Address, c Config) (*Listener, error) {
	if c.Idle <= 0 {
		c.Idle = DefaultIdle
	}
	if c.Flows <= 0 {
		c.Flows = DefaultFlows
	}
	sockets, err := listenAll(ctx, a)
	if err != nil {
		return nil, transport.CannotListen(a, err)
	}
	a.Port = sockets[0].at.Port()
	l := &Listener{
		config: c, at: a, sockets: sockets,
		drops:    &drops{logger: c.logger(), about: []any{"listen", transport.Format(a)}},
		accepted: make(chan *Conn, maxWaiting), opening: make(chan struct{}, maxOpening),
		over: make(chan struct{}), flows: make(map[key]*flow),
	}
	l.noMore = sync.OnceFunc(func() { close(l.over) })
	for _, s := range sockets {
		l.reading.Go(func() { l.read(s) })
	}
	return l, nil
}

// listenAll opens the sockets that a stands for.
func listenAll(ctx context.Context, a transport.Address) ([]*socket, error) {
	name, ip := a.Name, a.IP
	switch {
	case transport.IsLocalhost(a):
		return listenBoth(ctx, "127.0.0.1", "::1", a.Port)
	case name == "" && (!ip.IsValid() || ip == netip.IPv6Unspecified()):
		return listenBoth(ctx, "0.0.0.0", "::", a.Port)
	case ip.IsValid():
		name = ip.String()
	}
	network := "udp"
	if ip.Is4() {
		network = "udp4"
	}
	s, err := listenOne(ctx, network, name, a.Port)
	if err != nil {
		return nil, err
	}
	return []*socket{s}, nil
}

// listenBoth listens in both families at the same port, or in the one that this machine has. A port
// that somebody has in one of the two is taken.
func listenBoth(ctx context.Context, v4, v6 string, port uint16) ([]*socket, error) {
	var taken error
	for range loopbackTries {
		four, err := listenOne(ctx, "udp4", v4, port)
		if err != nil {
			if transport.IsInUse(err) {
				return nil, err
			}
			six, err6 := listenOne(ctx, "udp6", v6, port)
			if err6 != nil {
				return nil, err
			}
			return []*socket{six}, nil
		}
		six, err := listenOne(ctx, "udp6", v6, four.at.Port())
		switch {
		case err == nil:
			return []*socket{four, six}, nil
		case !transport.IsInUse(err):
			return []*socket{four}, nil // there is no IPv6 here
		}
		_ = four.Close()
		if port != 0 {
			return nil, err
		}
		taken = err
	}
	return nil, taken
}

func listenOne(ctx context.Context, network, host string, port uint16) (*socket, error) {
	var c net.ListenConfig
	p, err := c.ListenPacket(ctx, network, net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	udp := p.(*net.UDPConn)
	_ = udp.SetReadBuffer(readBuffer) // or what the system has room for
	s := &socket{UDPConn: udp, at: udp.LocalAddr().(*net.UDPAddr).AddrPort()}
	if s.at.Addr().IsUnspecified() {
		s.tells = tellDestination(udp, s.at.Addr().Is4())
	}
	return s, nil
}

// read reads what comes to a socket until that is closed.
func (l *Listener) read(s *socket) {
	b, oob := make([]byte, maxMessage), make([]byte, destinationSpace)
	for {
		n, oobn, _, from, err := s.ReadMsgUDPAddrPort(b, oob)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // of something that was sent before; or nothing that can be mended here
			if !l.pause() {
				return
			}
			continue
		}
		local := s.at
		if s.tells {
			if ip, ok := destination(oob[:oobn]); ok {
				local = netip.AddrPortFrom(ip, s.at.Port())
			}
		}
		l.arrived(key{s, from, local}, b[:n])
	}
}

// pause reports false if the listener has been closed meanwhile.
func (l *Listener) pause() bool {
	timer := time.NewTimer(readPause)
	defer timer.Stop()
	<-timer.C
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.closed
}

// arrived gives a datagram to the flow that it belongs to, which may be a new one.
func (l *Listener) arrived(k key, datagram []byte) {
	l.mu.Lock()
	known := l.flows[k]
	if known != nil && known.conn == nil && !time.Now().Before(known.till) {
		known = nil
	}
	switch {
	case l.closed || known == nil && l.taken:
		l.mu.Unlock()
	case known != nil && known.conn == nil:
		l.mu.Unlock()
		l.drops.add(failed, 1, nil)
	case known != nil:
		l.mu.Unlock()
		known.conn.arrived(datagram)
	case !l.hasRoomLocked(k):
		l.mu.Unlock()
		l.drops.add(full, 1, nil)
	default:
		c := l.newConn(k)
		l.flows[k] = &flow{conn: c}
		l.mu.Unlock()
		c.arrived(datagram)
		l.offer(c)
	}
}

// hasRoomLocked tells whether there may be one flow more.
func (l *Listener) hasRoomLocked(k key) bool {
	if len(l.flows) < l.config.Flows || l.flows[k] != nil {
		return true
	}
	if now := time.Now(); now.Sub(l.swept) >= sweepPause {
		l.swept = now
		for k, f := range l.flows {
			if f.conn == nil && !now.Before(f.till) {
				delete(l.flows, k)
			}
		}
	}
	return len(l.flows) < l.config.Flows
}

// offer gives a new flow to whoever accepts.
func (l *Listener) offer(c *Conn) {
	select {
	case l.accepted <- c:
	default:
		_ = c.Close()
		l.drops.add(full, 1, nil)
	}
}

func (l *Listener) newConn(k key) *Conn {
	c := &Conn{
		local: net.UDPAddrFromAddrPort(k.local), remote: net.UDPAddrFromAddrPort(k.client),
		drops: l.drops, idle: l.config.Idle,
	}
	c.send = k.socket.sender(k.client, k.local.Addr())
	c.over = func(now state) { l.forget(k, c, now) }
	return c.begin()
}

// sender returns what sends to a client from the address that it has sent to.
func (s *socket) sender(client netip.AddrPort, local netip.Addr) func([]byte) error {
	var oob []byte
	if s.tells && !local.IsUnspecified() {
		oob = source(local)
	}
	return func(datagram []byte) error {
		_, _, err := s.WriteMsgUDPAddrPort(datagram, oob, client)
		return err
	}
}

// forget is called when a flow has ended: what its client sends from now on is another one.
func (l *Listener) forget(k key, c *Conn, now state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.flows[k]
	switch {
	case known == nil || known.conn != c:
	case now == wasReset && !l.closed:
		l.flows[k] = &flow{till: time.Now().Add(failedPause)}
	default:
		delete(l.flows, k)
	}
}

// Accept implements net.Listener. The conn counts as one that is being opened until it is read from
// or ends: while there are many of these, Accept waits.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case l.opening <- struct{}{}:
	case <-l.over:
		return nil, net.ErrClosed
	}
	for {
		select {
		case c := <-l.accepted:
			if l.hand(c) {
				return c, nil
			}
		case <-l.over:
			<-l.opening
			return nil, net.ErrClosed
		}
	}
}

// hand has a flow give up its place among those that are being opened when it is read from or has
// ended. It reports false if that has happened.
func (l *Listener) hand(c *Conn) bool {
	var opened atomic.Bool
	free := func() {
		if opened.CompareAndSwap(false, true) {
			<-l.opening
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open {
		return false
	}
	over := c.over
	c.reads = free
	c.over = func(now state) {
		if now >= closed {
			free()
		}
		over(now)
	}
	return true
}

// AcceptNoMore has nobody new heard, and Accept fail. What has been accepted goes on until Close.
func (l *Listener) AcceptNoMore() {
	l.mu.Lock()
	l.taken = true
	l.mu.Unlock()
	l.noMore()
}

// Close implements net.Listener. The address is free when it returns. All flows end, those that
// have been accepted in order: they read io.EOF.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed, l.taken = true, true
	var all []*Conn
	for _, f := range l.flows {
		if f.conn != nil {
			all = append(all, f.conn)
		}
	}
	clear(l.flows)
	l.mu.Unlock()
	l.noMore()
	for _, c := range all {
		c.end()
	}
	var errs []error
	for _, s := range l.sockets {
		errs = append(errs, s.Close())
	}
	l.reading.Wait()
	for {
		select {
		case c := <-l.accepted:
			_ = c.Close()
		default:
			return errors.Join(errs...)
		}
	}
}

// Addr implements net.Listener: the first, where there are two.
func (l *Listener) Addr() net.Addr { return l.sockets[0].LocalAddr() }

// ListensAt returns where the listener listens, as transport.ParseUDP reads it.
func (l *Listener) ListensAt() transport.Address { return l.at }
