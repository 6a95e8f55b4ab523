package transport

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/secureportal/sp/internal/brokertest/kafka"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/wire"
)

func TestMain(m *testing.M) {
	kafka.Serve() // if this is another process of a test's
	goleak.VerifyTestMain(m)
}

// testEcho is a transport of which a Set makes one, and closes it.
type testEcho struct {
	config Config
	closed int
}

func (e *testEcho) Dial(context.Context, Address) (Link, error) {
	return nil, errors.New("dial test-echo")
}

func (e *testEcho) Listen(context.Context, Address) (Listener, error) {
	return nil, &net.OpError{Op: "listen", Err: errors.New("no test-echo")}
}

func (e *testEcho) Source(peer net.Addr) admission.Source {
	return admission.FromName(peer.Network() + ":" + peer.String())
}

func (e *testEcho) Close() error {
	e.closed++
	return nil
}

var madeEchoes []*testEcho

func init() {
	Register("test-echo", func(c Config) Transport {
		madeEchoes = append(madeEchoes, &testEcho{config: c})
		return madeEchoes[len(madeEchoes)-1]
	})
}

// echoAddr is where somebody is by the transport above.
type echoAddr string

func (echoAddr) Network() string  { return "test-echo" }
func (a echoAddr) String() string { return string(a) }

// A node has one transport of a kind, makes it when it is needed, and closes it.
func TestSet(t *testing.T) {
	madeEchoes = nil
	s := NewSet(Config{ConnectTimeout: 7})
	a, err := Parse("test-echo:somewhere")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Dial(t.Context(), a); err == nil || err.Error() != "dial test-echo" {
		t.Errorf("Dial: %v", err)
	}
	const want = "cannot listen at test-echo:somewhere: no test-echo"
	if _, err := s.Listen(t.Context(), a); err == nil || err.Error() != want {
		t.Errorf("Listen: %v, want %s", err, want)
	}
	if got := s.Source(echoAddr("x")); got != admission.FromName("test-echo:x") {
		t.Errorf("Source: %v", got)
	}
	if len(madeEchoes) != 1 || madeEchoes[0].config.ConnectTimeout != 7 {
		t.Fatalf("%d transports were made", len(madeEchoes))
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := madeEchoes[0].closed; n != 1 {
		t.Errorf("it was closed %d times", n)
	}
	if _, err := s.Dial(t.Context(), a); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := NewSet(Config{}).Dial(t.Context(), Address{}); err == nil {
		t.Error("nothing was dialed")
	}
}

func TestRegisterRefuses(t *testing.T) {
	for _, scheme := range []string{"tcp", "unix", "test-echo", "ip4", "service", "", "A", "a/b"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q is registered", scheme)
				}
			}()
			Register(scheme, newTCP)
		}()
	}
}

func TestSourceOf(t *testing.T) {
	s := NewSet(Config{})
	tcp := func(text string) admission.Source {
		return s.Source(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)))
	}
	for _, p := range [][2]string{
		{"10.0.0.1:1", "10.0.0.1:2"},
		{"[2001:db8::1]:1", "[2001:db8::ffff:1]:2"},
		{"[::ffff:10.0.0.1]:1", "10.0.0.1:1"},
	} {
		if tcp(p[0]) != tcp(p[1]) {
			t.Errorf("%s and %s are two sources", p[0], p[1])
		}
	}
	for _, p := range [][2]string{
		{"10.0.0.1:1", "10.0.0.2:1"}, {"[2001:db8::1]:1", "[2001:db8:0:1::1]:1"},
	} {
		if tcp(p[0]) == tcp(p[1]) {
			t.Errorf("%s and %s are one source", p[0], p[1])
		}
	}
	for _, addr := range []net.Addr{
		&net.UnixAddr{}, &net.UnixAddr{Net: "unix", Name: "x"}, &net.UDPAddr{}, nil,
	} {
		if s.Source(addr) != (admission.Source{}) {
			t.Errorf("%v is not this machine", addr)
		}
	}
}

// Whatever a link is over, its source is where its packets come from: behind the same address are
// the same ones, by whichever transport. Of a queue all are one.
func TestSourceBeneath(t *testing.T) {
	s := NewSet(Config{})
	at := func(scheme, text string) admission.Source {
		where := netip.MustParseAddrPort(text)
		var beneath net.Addr = net.TCPAddrFromAddrPort(where)
		if scheme == "quic" {
			beneath = net.UDPAddrFromAddrPort(where)
		}
		return s.Source(urlAddr{Addr: beneath, scheme: scheme})
	}
	want := s.Source(net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.0.0.1:1")))
	for _, scheme := range []string{"tls", "ws", "wss", "quic"} {
		if at(scheme, "10.0.0.1:2") != want || at(scheme, "10.0.0.2:2") == want {
			t.Errorf("%s:// has a source of its own", scheme)
		}
	}
	queue := func(text string) admission.Source {
		a, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return s.Source(queueAddr(a))
	}
	for _, scheme := range []string{"nats", "kafka"} {
		one := queue(scheme + "://a.b/one")
		if one != queue(scheme+"://a.b/one") || one == queue(scheme+"://a.b/two") ||
			one == (admission.Source{}) {
			t.Errorf("%s:// has other sources than its queues", scheme)
		}
	}
}

// TCP and Unix links have all that the system offers, on both sides.
func TestLinks(t *testing.T) {
	for name, text := range map[string]string{
		"tcp":  "127.0.0.1:0",
		"unix": "unix:" + filepath.Join(t.TempDir(), "s"),
	} {
		t.Run(name, func(t *testing.T) {
			s := NewSet(Config{})
			a, err := ParseListen(text, "")
			if err != nil {
				t.Fatal(err)
			}
			l, err := s.Listen(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			at, ok := FromAddr(l.Addr())
			if !ok || Scheme(at) != name {
				t.Fatalf("it listens at %v", l.Addr())
			}
			near, err := s.Dial(testkit.Context(t), at)
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			far, err := ToLink(c)
			if err != nil || far != c {
				t.Fatalf("what it accepts is not a link: %v", err)
			}
			testkit.Hurry(t, near, far)
			for _, link := range []Link{near, far} {
				if _, ok := link.(*netio.Socket); !ok {
					t.Errorf("a link is a %T", link)
				}
			}
			expectHalfClose(t, near, far)
		})
	}
}

// expectHalfClose ends one direction of a link, and uses the other one.
func expectHalfClose(t *testing.T, near, far Link) {
	t.Helper()
	testkit.Write(t, near, "question")
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(far)
	if string(got) != "question" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	testkit.Write(t, far, "answer")
	testkit.Expect(t, near, "answer")
}

// A connection without half-close is no link.
func TestToLink(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if link, err := ToLink(a); link != nil || !errors.Is(err, ErrNoHalfClose) {
		t.Errorf("it is %v, %v", link, err)
	}
}

// The file of a socket that nobody listens at is replaced, and no other one.
func TestStaleUnixSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no Unix sockets to rely on")
	}
	path := filepath.Join(t.TempDir(), "s")
	at, err := Parse("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	listen := map[string]func() (net.Listener, error){
		"links": func() (net.Listener, error) {
			return NewSet(Config{}).Listen(t.Context(), at)
		},
		"applications": func() (net.Listener, error) { return ListenGuarded(t.Context(), at, Config{}) },
	}
	for name, listen := range listen {
		l, err := listen()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := listen(); err == nil ||
			!strings.Contains(err.Error(), "cannot listen at unix:") {
			t.Errorf("%s: two listen at one socket: %v", name, err)
		}
		unlinkLater(l)
		_ = l.Close()
	}
	_ = os.Remove(path)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, listen := range listen {
		if _, err := listen(); err == nil {
			t.Errorf("%s: a file is replaced", name)
		}
	}
}

// unlinkLater has the file of a Unix socket left behind, for the next one to find.
func unlinkLater(l net.Listener) {
	if links, ok := l.(linkListener); ok {
		l = links.Listener.(sockets).Listener
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
}

// Applications and services are reached over sockets only.
func TestGuarded(t *testing.T) {
	for _, text := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		at, err := ParseListen(text, "")
		if err != nil {
			t.Fatal(err)
		}
		l, err := ListenGuarded(t.Context(), at, Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		at, _ = FromAddr(l.Addr())
		c, err := DialGuarded(t.Context(), at, testkit.Patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	other := Address{}
	if _, err := ListenGuarded(t.Context(), other, Config{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("ListenGuarded: %v", err)
	}
	_, err := DialGuarded(t.Context(), other, testkit.Patience)
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("DialGuarded: %v", err)
	}
}

// Every IPv4 address is where one listens who writes 0.0.0.0, and what is printed says so.
func TestListenIPv4(t *testing.T) {
	a, err := ParseListen("0.0.0.0:0", "")
	if err != nil {
		t.Fatal(err)
	}
	links, err := NewSet(Config{}).Listen(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer links.Close()
	apps, err := ListenGuarded(t.Context(), a, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer apps.Close()
	for _, l := range []net.Listener{links, apps} {
		if at, ok := FromAddr(l.Addr()); !ok || at.Kind != wire.IP4 || at.IP != a.IP {
			t.Errorf("it listens at %v", l.Addr())
		}
	}
}

// Where nobody can listen is said with the address, and why keeps its kind.
func TestListenError(t *testing.T) {
	a := Address{Kind: wire.Unix, Name: t.TempDir() + "/nowhere/socket"}
	_, err := NewSet(Config{}).Listen(t.Context(), a)
	var listen *ListenError
	if !errors.As(err, &listen) || listen.Address != a || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
