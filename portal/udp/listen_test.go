package udp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/transport"
)

// takeAllMemory has the process have none left until the returned function is called.
func takeAllMemory(t *testing.T) (giveBack func()) {
	n := budget.Process.Most()
	budget.Process.Take(n)
	var once bool
	give := func() {
		if !once {
			once = true
			budget.Process.Give(n)
		}
	}
	t.Cleanup(give)
	return give
}

func listen(t *testing.T, text string, c Config) *Listener {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	a, err := transport.ParseUDP(text, transport.Localhost)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(context.Background(), a, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// client is a socket that is connected to a listener: it hears of nobody else.
func client(t *testing.T, to string) *net.UDPConn {
	t.Helper()
	c, err := net.Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	testkit.Hurry(t, c)
	return c.(*net.UDPConn)
}

func port(l *Listener, ip string) string {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), l.ListensAt().Port).String()
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func accept(t *testing.T, l *Listener) *Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*Conn)
}

func wantFrame(t *testing.T, c io.Reader, text string) {
	t.Helper()
	got := make([]byte, headerSize+len(text))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, frame([]byte(text))) {
		t.Fatalf("%q, %v; want %q", got, err, text)
	}
}

// Each client has a flow of its own, wherever on this machine it sends to, and hears from there.
func TestFlows(t *testing.T) {
	for _, at := range []string{"udp://:0", "udp://127.0.0.1:0", "udp://[::]:0", "udp://0.0.0.0:0"} {
		l := listen(t, at, Config{})
		from := []string{"127.0.0.1"}
		if at == "udp://[::]:0" || at == "udp://0.0.0.0:0" {
			from = append(from, "127.0.0.2")
		}
		if len(l.sockets) > 1 {
			from = append(from, "::1")
		}
		for _, ip := range from {
			for _, text := range []string{"first", "", "second"} {
				c := client(t, port(l, ip))
				say(t, c, text)
				flow := accept(t, l)
				wantFrame(t, flow, text)
				if flow.RemoteAddr().String() != c.LocalAddr().String() {
					t.Errorf("%s is taken for %s", c.LocalAddr(), flow.RemoteAddr())
				}
				if _, err := flow.Write(frame([]byte("answer to " + text))); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 100)
				n, err := c.Read(b) // it comes from where it was sent, or is not read
				if err != nil || string(b[:n]) != "answer to "+text {
					t.Fatalf("%s, %s: %q, %v", at, ip, b[:n], err)
				}
				say(t, c, "more")
				wantFrame(t, flow, "more")
			}
		}
		if text := transport.Format(l.ListensAt()); !transport.IsUDP(text) {
			t.Error(text)
		}
	}
}

// While there are as many flows as may be, who is new is not heard, and the others are.
func TestLimit(t *testing.T) {
	l := listen(t, "udp://127.0.0.1:0", Config{Flows: 2})
	one, two, three := client(t, port(l, "127.0.0.1")), client(t, port(l, "127.0.0.1")),
		client(t, port(l, "127.0.0.1"))
	say(t, one, "1")
	first := accept(t, l)
	say(t, two, "2")
	second := accept(t, l)
	before := dropped[full].Value()
	say(t, three, "3")
	isDropped := func() bool { return dropped[full].Value() > before }
	testkit.Eventually(t, "the third is dropped", isDropped)
	wantFrame(t, first, "1")
	say(t, one, "again")
	wantFrame(t, first, "again")
	_ = second.Close()
	say(t, three, "now")
	wantFrame(t, accept(t, l), "now")
}

// Not many flows are being opened at the same time, whoever sends what from wherever.
func TestOpening(t *testing.T) {
	l := listen(t, "udp://127.0.0.1:0", Config{})
	k := key{socket: l.sockets[0], local: l.sockets[0].at}
	for i := range maxWaiting + 10 {
		k.client = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(20000+i))
		l.arrived(k, []byte("x"))
	}
	if n := len(l.accepted); n != maxWaiting || len(l.flows) != maxWaiting {
		t.Fatalf("%d wait, of %d", n, len(l.flows))
	}
	var opening []*Conn
	for range maxOpening {
		opening = append(opening, accept(t, l))
	}
	another := make(chan *Conn)
	go func() {
		for range 2 {
			c, _ := l.Accept()
			another <- c.(*Conn)
		}
	}()
	select {
	case <-another:
		t.Fatal("one more is being opened")
	default:
	}
	wantFrame(t, opening[0], "x") // that one is open
	_ = (<-another).Close()
	_ = opening[1].Close() // and that one over
	_ = (<-another).Close()
}

// A client whose flow was reset is not heard for a moment.
func TestPause(t *testing.T) {
	l := listen(t, "udp://127.0.0.1:0", Config{})
	c := client(t, port(l, "127.0.0.1"))
	say(t, c, "x")
	flow := accept(t, l)
	began := time.Now()
	_ = flow.Reset()
	l.mu.Lock()
	for _, f := range l.flows {
		if f.till.Before(began.Add(failedPause)) {
			t.Errorf("it is not heard for %v only", f.till.Sub(began))
		}
		f.till = time.Now().Add(testkit.Patience) // it may be long before the next one is there
	}
	l.mu.Unlock()
	before := dropped[failed].Value()
	say(t, c, "y")
	testkit.Eventually(t, "it is dropped", func() bool { return dropped[failed].Value() > before })
	l.mu.Lock()
	for _, f := range l.flows {
		f.till = time.Now()
	}
	l.mu.Unlock()
	say(t, c, "z")
	wantFrame(t, accept(t, l), "z")
}

// Close ends all flows in order, and leaves the address to others. AcceptNoMore leaves what there
// is alone.
func TestClose(t *testing.T) {
	_, nobodys, err := net.SplitHostPort(testkit.Address(t)) // nor does a socket get it by chance
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, "udp://:"+nobodys, Config{})
	c := client(t, port(l, "127.0.0.1"))
	say(t, c, "x")
	flow := accept(t, l)
	l.AcceptNoMore()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	say(t, c, "y")
	wantFrame(t, flow, "x")
	wantFrame(t, flow, "y")
	say(t, client(t, port(l, "127.0.0.1")), "nobody hears this")
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(flow); len(rest) != 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	_ = listen(t, transport.Format(l.ListensAt()), Config{})
}

func TestAddressInUse(t *testing.T) {
	l := listen(t, "udp://:0", Config{})
	_, err := Listen(context.Background(), l.ListensAt(), Config{})
	var failed *transport.ListenError
	if !errors.As(err, &failed) || !transport.IsInUse(err) {
		t.Error(err)
	}
}

// A service that is away, and comes back, has the same flow.
func TestServiceComesBack(t *testing.T) {
	service, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := service.LocalAddr().(*net.UDPAddr)
	_ = service.Close()
	to, err := transport.ParseUDP("udp://"+at.String(), "")
	if err != nil {
		t.Fatal(err)
	}
	d := Dialer{Config: Config{Logger: slog.New(slog.DiscardHandler)}}
	c, err := d.Dial(context.Background(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 5 { // the system says each time that nobody listens
		if _, err := c.Write(frame([]byte("lost"))); err != nil {
			t.Fatal(err)
		}
	}
	service, err = net.ListenUDP("udp4", at)
	if err != nil {
		t.Skip("somebody else has taken the port:", err)
	}
	defer service.Close()
	if _, err := c.Write(frame([]byte("hello"))); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, from, err := service.ReadFromUDPAddrPort(b)
	if err != nil || string(b[:n]) != "hello" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	if _, err := service.WriteToUDPAddrPort([]byte("here"), from); err != nil {
		t.Fatal(err)
	}
	wantFrame(t, c, "here")
}
