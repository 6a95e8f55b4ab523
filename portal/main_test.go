package portal

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is a deadline that only a hung test meets.
const patience = 5 * time.Second

// within returns what comes on c, which must come soon.
func within[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing happens", what)
	}
	panic("not reached")
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func newIdentity(t testing.TB) *identity.Identity {
	t.Helper()
	id, err := identity.New(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func trusting(t testing.TB, self *identity.Identity, allow ...identity.Identifier) *identity.Policy {
	t.Helper()
	p, err := identity.NewPolicy(identity.PolicyConfig{Self: self.Identifier(), Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// quiet is a logger to nowhere.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// log is a logger that a test reads.
type log struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes.String()
}

func (l *log) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// tunnel is an inlet and an outlet, each with a node of its own:
//
//	client ── inlet ══ outlet ── service
type tunnel struct {
	inlet, outlet *route.Node
	mu            sync.Mutex
	to            route.Route  // guarded by mu
	address       string       // of the inlet, for clients
	service       net.Listener // of the service
	log           log          // of the inlet

	stopAccepting, stopWorking context.CancelFunc
	served                     chan error // gets what Inlet.Serve returned
}

func newTunnel(t testing.TB, change ...func(i *Inlet, o *Outlet)) *tunnel {
	t.Helper()
	p := &tunnel{service: listen(t), served: make(chan error, 1)}
	id := newIdentity(t)
	p.inlet, p.outlet = newNode(t, id), newNode(t, id)

	o := &Outlet{Network: "tcp", Address: p.service.Addr().String(), Logger: quiet()}
	i := &Inlet{
		Open: func(ctx context.Context, _ []byte) (*route.Stream, error) {
			return p.inlet.Open(ctx, p.route(), wire.Lazy)
		},
		Begin: p.inlet.Begin, Logger: p.log.logger(),
	}
	for _, f := range change {
		f(i, o)
	}
	p.outlet.Handle(route.OutletName, o.Serve)
	links := listen(t)
	linked := make(chan error, 1)
	go func() { linked <- p.outlet.Serve(context.Background(), links) }()
	p.goTo(route.FromAddrPort(netip.MustParseAddrPort(links.Addr().String())))

	clients := listen(t)
	p.address = clients.Addr().String()
	var accepting, working context.Context
	accepting, p.stopAccepting = context.WithCancel(context.Background())
	working, p.stopWorking = context.WithCancel(context.Background())
	go func() { p.served <- i.Serve(accepting, working, clients) }()
	t.Cleanup(func() {
		p.stopAccepting()
		p.stopWorking()
		_ = p.inlet.Close()
		_ = p.outlet.Close()
		_ = within(t, linked, "serving links")
		select {
		case <-p.served:
		case <-time.After(patience):
			t.Error("the inlet does not end")
		}
	})
	return p
}

func newNode(t testing.TB, id *identity.Identity) *route.Node {
	t.Helper()
	n, err := route.NewNode(route.Config{
		Channel: channel.Config{Identity: id, Trust: trusting(t, id)}, Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// route returns the route to the outlet.
func (p *tunnel) route() route.Route {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.to
}

// goTo makes a the address of the outlet's node.
func (p *tunnel) goTo(a wire.Address) { p.goToRoute(OutletRoute(a)) }

func (p *tunnel) goToRoute(r route.Route) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = r
}

// expectRefused connects a client, which is reset.
func (p *tunnel) expectRefused(t testing.TB) {
	t.Helper()
	c, err := net.Dial("tcp", p.address)
	if err != nil {
		if !netio.IsReset(err) { // as it may be that soon
			t.Fatal(err)
		}
		return
	}
	expectReset(t, prepare(t, c))
}

// dial connects a client.
func (p *tunnel) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	return prepare(t, c)
}

// accept returns the service's side of a client's connection.
func (p *tunnel) accept(t testing.TB) *net.TCPConn {
	t.Helper()
	_ = p.service.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := p.service.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return prepare(t, c)
}

func prepare(t testing.TB, c net.Conn) *net.TCPConn {
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// connect returns both ends of a connection that has carried a byte each way.
func (p *tunnel) connect(t testing.TB) (client, service *net.TCPConn) {
	t.Helper()
	client = p.dial(t)
	write(t, client, "c")
	service = p.accept(t)
	expect(t, service, "c")
	write(t, service, "s")
	expect(t, client, "s")
	return client, service
}

func write(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func expect(t testing.TB, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

func expectEnd(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d bytes, %v, want the end", n, err)
	}
}

// expectReset reads what is left, which must end with a reset, even if a write has been told of it before.
func expectReset(t testing.TB, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{netio.Wrap(c)}); !netio.IsReset(err) {
		t.Fatalf("read %v, want a reset", err)
	}
}

// expectResetAfterEnd waits for a reset of a conn that has been read to its end. Only Linux tells.
func expectResetAfterEnd(t testing.TB, c net.Conn) {
	t.Helper()
	if err := netio.AwaitReset(netio.Wrap(c)); runtime.GOOS == "linux" && !netio.IsReset(err) {
		t.Fatalf("waiting for a reset: %v", err)
	}
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

func closeWrite(t testing.TB, c interface{ CloseWrite() error }) {
	t.Helper()
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// random returns n bytes in which no two stretches are alike.
func random(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
