package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/internal/tokenbucket"
	"github.com/secureportal/sp/route/admission"
)

// udpMiddle passes datagrams on between one who dials it and an address.
type udpMiddle struct {
	front *net.UDPConn
	to    *net.UDPAddr
	drops atomic.Bool // what comes from the dialer

	mu     sync.Mutex // guards what follows
	back   *net.UDPConn
	dialer *net.UDPAddr
	closed bool
	tasks  sync.WaitGroup
}

func newUDPMiddle(t *testing.T, to Address) (*udpMiddle, Address) {
	t.Helper()
	here := net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	front, err := net.ListenUDP("udp4", &here)
	if err != nil {
		t.Fatal(err)
	}
	m := &udpMiddle{front: front, to: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(
		Format(beneath(to))))}
	m.rebind(t)
	m.tasks.Go(func() {
		for b := make([]byte, 1<<16); ; {
			n, from, err := front.ReadFromUDP(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.dialer = from
			back := m.back
			m.mu.Unlock()
			if !m.drops.Load() {
				_, _ = back.WriteToUDP(b[:n], m.to)
			}
		}
	})
	t.Cleanup(func() {
		m.mu.Lock()
		m.closed = true
		_ = m.back.Close()
		m.mu.Unlock()
		_ = front.Close()
		m.tasks.Wait()
	})
	at, err := Parse("quic://" + front.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return m, at
}

// rebind goes on from another port, as a NAT does that has forgotten.
func (m *udpMiddle) rebind(t *testing.T) {
	t.Helper()
	back, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.back != nil {
		_ = m.back.Close()
	}
	m.back = back
	m.tasks.Go(func() {
		for b := make([]byte, 1<<16); ; {
			n, err := back.Read(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			dialer := m.dialer
			m.mu.Unlock()
			_, _ = m.front.WriteToUDP(b[:n], dialer)
		}
	})
}

// dialQUIC makes a link that the other end has, too.
func dialQUIC(t *testing.T, near *Set, at Address, links <-chan Link) (n, f Link) {
	t.Helper()
	n, err := near.Dial(testkit.Context(t), at)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, n, "!")
	f = testkit.Within(t, links, "the link")
	testkit.Hurry(t, n, f)
	testkit.Expect(t, io.LimitReader(f, 1), "!")
	t.Cleanup(func() { _, _ = n.Close(), f.Close() })
	return n, f
}

// newNear returns transports that are closed when all links are.
func newNear(t *testing.T) *Set {
	t.Helper()
	s := NewSet(Config{})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func onOne(a, b Link) bool { return a.(*quicLink).by == b.(*quicLink).by }

// What has been written arrives, though whoever wrote it has gone before anybody has read it.
func TestQUICFarewell(t *testing.T) {
	for _, dialerGoes := range []bool{true, false} {
		at, links, _ := listenOnly(t, "quic://127.0.0.1:0", Config{})
		near := NewSet(Config{})
		goes, stays := dialQUIC(t, near, at, links)
		if !dialerGoes {
			goes, stays = stays, goes
		}
		want := string(testkit.Pattern(quicFirstWindow / 2))
		testkit.Write(t, goes, want)
		if err := errors.Join(goes.CloseWrite(), goes.Close()); err != nil {
			t.Fatal(err)
		}
		gone := make(chan error, 1)
		var task sync.WaitGroup
		task.Go(func() {
			if dialerGoes {
				gone <- near.Close()
				return
			}
			goes.(*quicLink).by.end()
			<-goes.(*quicLink).by.Context().Done()
			gone <- nil
		})
		select {
		case <-gone:
			t.Error("it has not waited for what has not been read")
		case <-stays.(*quicLink).by.parting:
		}
		testkit.Expect(t, stays, want)
		_ = stays.Close()
		_ = testkit.Within(t, gone, "the end")
		task.Wait()
		_ = near.Close()
	}
}

// Links to one address share a connection, up to so many. It ends when it has none.
func TestQUICSharing(t *testing.T) {
	at, links, ended := listenOnly(t, "quic://localhost:0", Config{})
	near := newNear(t)
	first, farFirst := dialQUIC(t, near, at, links)
	first.(*quicLink).by.most = 2
	second, farSecond := dialQUIC(t, near, at, links)
	if !onOne(first, second) || !onOne(farFirst, farSecond) {
		t.Error("two links have a connection each")
	}
	third, farThird := dialQUIC(t, near, at, links)
	if onOne(first, third) || onOne(farFirst, farThird) {
		t.Error("there are too many links on a connection")
	}
	first.(*quicLink).by.idle = time.Millisecond
	_, _, _ = first.Close(), second.Close(), farFirst.Close()
	_ = farSecond.Close()
	_ = testkit.Within(t, ended, "the end of the idle connection")
	testkit.Write(t, third, "x")
	testkit.Expect(t, io.LimitReader(farThird, 1), "x")
}

// Who listens again where he has listened goes on at the same socket, and nobody else can.
func TestQUICListensAgain(t *testing.T) {
	s := NewSet(Config{})
	defer s.Close()
	var at Address
	for range 2 {
		to := at
		if to.Kind == 0 {
			to, _ = Parse("quic://" + testkit.Address(t))
		}
		l, err := s.Listen(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		at, _ = FromAddr(l.Addr())
		if _, err := s.Listen(t.Context(), at); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("twice: %v", err)
		}
		_ = l.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after its end: %v", err)
		}
	}
	quicEndpoints.Lock()
	defer quicEndpoints.Unlock()
	if quicEndpoints.open["udp "+Format(beneath(at))] != nil {
		t.Error("the socket is still there")
	}
}

// A connection goes on when the address changes that its dialer comes from.
func TestQUICRebinding(t *testing.T) {
	at, links, _ := listenOnly(t, "quic://127.0.0.1:0", Config{})
	middle, through := newUDPMiddle(t, at)
	near := newNear(t)
	n, f := dialQUIC(t, near, through, links)
	for _, text := range []string{"one", "two"} {
		middle.rebind(t)
		testkit.Write(t, n, text)
		testkit.Expect(t, io.LimitReader(f, int64(len(text))), text)
		testkit.Write(t, f, text)
		testkit.Expect(t, io.LimitReader(n, int64(len(text))), text)
	}
	again, _ := dialQUIC(t, near, through, links)
	if !onOne(n, again) {
		t.Error("another connection has been made")
	}
}

// A connection that says nothing any more is not waited for: another one takes its place.
func TestDeadQUIC(t *testing.T) {
	at, links, _ := listenOnly(t, "quic://127.0.0.1:0", Config{})
	middle, through := newUDPMiddle(t, at)
	near := newNear(t)
	first, _ := dialQUIC(t, near, through, links)
	q := near.made["quic"].(*quicTransport)
	q.lately, q.taken = 0, testkit.Patience
	alive, _ := dialQUIC(t, near, through, links)
	if !onOne(first, alive) {
		t.Fatal("a connection that answers is not used")
	}
	middle.drops.Store(true)
	q.taken = 50 * time.Millisecond
	by := first.(*quicLink).by
	testkit.Eventually(t, "it says nothing any more", func() bool {
		return by.enter() && errors.Is(by.ask(t.Context()), errQUICSilent)
	})
	by.retire()
	middle.drops.Store(false)
	q.taken = testkit.Patience
	second, _ := dialQUIC(t, near, through, links)
	if onOne(first, second) {
		t.Error("the dead connection is used")
	}
	by.abandon()
}

// foreignQUIC listens for another protocol. What is left of a handshake ends with the test.
func foreignQUIC(t *testing.T) net.Addr {
	t.Helper()
	c, err := quicCertificate()
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	by := &quic.Transport{Conn: socket}
	t.Cleanup(func() { _, _ = by.Close(), socket.Close() })
	_, err = by.Listen(&tls.Config{
		Certificates: []tls.Certificate{*c}, NextProtos: []string{"h3"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return socket.LocalAddr()
}

// What cannot be dialed says so in words of what is to be done.
func TestQUICErrors(t *testing.T) {
	foreign := foreignQUIC(t)
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	proxy, err := ParseProxy("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		to, says string
		config   Config
	}{
		{foreign.String(), "speaks QUIC, and not sp", Config{}},
		{silent.LocalAddr().String(), "nobody answers over UDP", Config{
			ConnectTimeout: 100 * time.Millisecond,
		}},
		{"127.0.0.1:1", "no proxy carries", Config{
			Proxy: func(Address) *Proxy { return proxy },
		}},
		{testkit.Address(t), "refused", Config{}},
		{"127.0.0.1:1", "other family", Config{
			From: netio.From{Addr: netip.MustParseAddr("::1")},
		}},
	} {
		if test.says == "refused" && runtime.GOOS != "linux" {
			continue // nobody tells
		}
		a, err := Parse("quic://" + test.to)
		if err != nil {
			t.Fatal(err)
		}
		s := NewSet(test.config)
		_, err = s.Dial(testkit.Context(t), a)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", test.to, err, test.says)
		}
		_ = s.Close()
	}
}

// That nobody is there any more is believed when it has been said for a while, and nothing came.
func TestQUICRefusals(t *testing.T) {
	s := &quicSocket{toOne: true, began: time.Now()}
	now := time.Now()
	if !s.isGone(now) {
		t.Error("before the handshake is done it is not believed")
	}
	s.times = 0
	s.open.Store(true)
	for i, step := range []struct {
		after time.Duration
		hears bool
		gone  bool
	}{
		{0, false, false},
		{refusedFor, false, false},
		{refusedFor, true, false},
		{0, false, false},
		{1, false, false},
		{2, false, false},
		{2 * refusedFor, false, true},
	} {
		if step.hears {
			s.hear()
		}
		if gone := s.isGone(now.Add(step.after)); gone != step.gone {
			t.Errorf("refusal %d: it is gone: %v", i, gone)
		}
	}
	for _, err := range []error{syscall.EPERM, syscall.ENETUNREACH, syscall.EMSGSIZE, io.EOF} {
		want := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENETUNREACH)
		if s.loses(err) != want {
			t.Errorf("%v: it is lost: %v", err, !want)
		}
	}
}

// Strangers take so much, and no more: few without an address that they have proved, and of those
// that have, no source all there is.
func TestQUICStrangers(t *testing.T) {
	s := newStrangers()
	enter := func(ip string, proved bool) (leave func(), err error) {
		ctx, cancel := context.WithCancel(t.Context())
		ctx, err = s.enter(ctx, &quic.ClientInfo{
			RemoteAddr:   net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 1)),
			AddrVerified: proved,
		})
		if err != nil {
			cancel()
			return nil, err
		}
		t.Cleanup(cancel)
		return ctx.Value(strangerKey{}).(func()), nil
	}
	many := func(ip string, proved bool) (n int, last func()) {
		for {
			leave, err := enter(ip, proved)
			if err != nil {
				return n, last
			}
			n, last = n+1, leave
		}
	}
	if s.mustProve(nil) {
		t.Error("nobody is there, and the first has to prove something")
	}
	if n, last := many("10.0.0.1", false); n != strangersUnproved || !s.mustProve(nil) {
		t.Errorf("%d come without a proof", n)
	} else {
		last()
		last()
	}
	if s.unproved != strangersUnproved-1 || s.mustProve(nil) {
		t.Errorf("one has left, and %d are there", s.unproved)
	}
	s.rate = tokenbucket.Bucket{}
	within := 0
	for !s.mustProve(nil) {
		within++
	}
	if within < strangersRate {
		t.Errorf("%d at once need no proof", within)
	}
	s.admitBy(func(peer net.Addr) error {
		if NewSet(Config{}).Source(peer) == (admission.Source{}) {
			t.Errorf("nobody knows where %v is", peer)
		}
		return admission.ErrTooManyHandshakes
	})
	if _, err := enter("10.0.0.9", true); !errors.Is(err, admission.ErrTooManyHandshakes) {
		t.Errorf("one who is not admitted: %v", err)
	}
	s.admitBy(nil)
	if n, _ := many("2001:db8::1", true); n != strangersPerSource {
		t.Errorf("%d come from one source", n)
	}
	if n, _ := many("2001:db8::2", true); n != 0 {
		t.Errorf("%d more come from the same network", n)
	}
	for _, ip := range []string{"10.0.0.2", "10.0.0.3", "10.0.0.4"} {
		many(ip, true)
	}
	n, _ := many("10.0.0.5", true)
	if n != strangersFew {
		t.Errorf("%d come from a source of few, while others take all they can", n)
	}
}

// What strangers send harms nobody: datagrams of whatever kind, and handshakes that are not gone on
// with, for which those who come then prove where they are.
func TestQUICFlood(t *testing.T) {
	at, links, _ := listenOnly(t, "quic://127.0.0.1:0", Config{Secret: [32]byte{1}})
	near := newNear(t)
	before, farBefore := dialQUIC(t, near, at, links)

	raw, err := net.Dial("udp", Format(beneath(at)))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	for i := range 2000 {
		b := make([]byte, i%1500)
		_, _ = rand.Read(b)
		if i%3 == 0 {
			b = append([]byte{0xc0, 0, 0, 0, 1, 8}, bytes.Repeat([]byte{byte(i)}, 1300)...)
		}
		_, _ = raw.Write(b)
	}
	var slow sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for range 2 * strangersUnproved {
		slow.Go(func() { halfHandshake(ctx, Format(beneath(at))) })
	}
	fresh := newNear(t)
	testkit.Eventually(t, "somebody comes who proves where he is", func() bool {
		n, err := fresh.Dial(testkit.Context(t), at)
		if err == nil {
			_ = n.Close()
		}
		return err == nil
	})
	n, f := dialQUIC(t, fresh, at, links)
	for _, l := range [][2]Link{{before, farBefore}, {n, f}} {
		testkit.Write(t, l[0], "x")
		testkit.Expect(t, io.LimitReader(l[1], 1), "x")
	}
	stop()
	slow.Wait()
}

// halfHandshake begins a handshake with somebody, and does not hear what he says.
func halfHandshake(ctx context.Context, to string) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return
	}
	defer c.Close()
	by := &quic.Transport{Conn: deaf{c, ctx}}
	defer by.Close()
	at := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))
	if c, err := by.Dial(ctx, at, quicClient(), nil); err == nil {
		_ = c.CloseWithError(0, "")
	}
}

// deaf is a socket on which nothing comes.
type deaf struct {
	net.PacketConn
	ctx context.Context
}

func (d deaf) ReadFrom([]byte) (int, net.Addr, error) {
	<-d.ctx.Done()
	return 0, nil, net.ErrClosed
}

// Who has only come is sent away at once, and what he had is free.
func TestQUICSentAway(t *testing.T) {
	s, near := NewSet(Config{}), newNear(t)
	defer s.Close()
	a, _ := Parse("quic://" + testkit.Address(t))
	l, err := s.Listen(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = netio.Reset(c.(Link))
			if err := c.(Carrying).Carry(t.Context(), nil, 0, nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("it carries something: %v", err)
			}
		}
	})
	n, err := near.Dial(testkit.Context(t), a)
	if err == nil {
		testkit.Hurry(t, n)
		_, _ = n.Write([]byte("x"))
		if _, err = io.ReadAll(n); !netio.IsReset(err) {
			t.Errorf("it is told %v", err)
		}
		_ = n.Close()
	}
	_ = l.Close()
	tasks.Wait()
	quicEndpoints.Lock()
	defer quicEndpoints.Unlock()
	for key := range quicEndpoints.open {
		if strings.HasSuffix(key, Format(beneath(a))) {
			t.Error("its socket is still there")
		}
	}
}
