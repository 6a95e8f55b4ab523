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
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// tunnel is an inlet and an outlet, each with a node of its own:
//
//	client ── inlet ══ outlet ── service
type tunnel struct {
	id            *identity.Identity // of both
	inlet, outlet *route.Node
	mu            sync.Mutex
	to            route.Route  // guarded by mu
	address       string       // of the inlet, for clients
	service       net.Listener // of the service
	log           log          // of the inlet

	stopAccepting, stopWorking context.CancelFunc
	served                     chan struct{} // closed when Inlet.Serve has returned
}

// begin has a node count connections.
func begin(n *route.Node) func(app route.Conn) (Follower, error) {
	return func(app route.Conn) (Follower, error) {
		end, err := n.Begin(app)
		return following(end), err
	}
}

// following is a Follower that only wants to know the end.
type following func()

func (f following) Opened(*route.Stream, *netio.Proxy) {}
func (f following) Ended() {
	if f != nil {
		f()
	}
}

func newTunnel(t testing.TB, change ...func(i *Inlet, o *Outlet)) *tunnel {
	t.Helper()
	p := &tunnel{service: testkit.Listen(t), served: make(chan struct{})}
	id := testkit.NewIdentity(t)
	p.id, p.inlet, p.outlet = id, newNode(t, id), newNode(t, id)

	target, _ := transport.FromAddr(p.service.Addr())
	o := &Outlet{Target: target, Logger: quiet()}
	i := &Inlet{
		Open: func(ctx context.Context, _ []byte) (*route.Stream, error) {
			return p.inlet.Open(ctx, p.route(), wire.Lazy)
		},
		Begin: begin(p.inlet), Logger: p.log.logger(),
	}
	for _, f := range change {
		f(i, o)
	}
	p.outlet.Handle(route.OutletName, o.Serve)
	links := testkit.Listen(t)
	linked := make(chan struct{})
	go func() {
		defer close(linked)
		p.outlet.Serve(context.Background(), links)
	}()
	p.goTo(transport.FromAddrPort(netip.MustParseAddrPort(links.Addr().String())))

	clients := testkit.Listen(t)
	p.address = clients.Addr().String()
	var accepting, working context.Context
	accepting, p.stopAccepting = context.WithCancel(context.Background())
	working, p.stopWorking = context.WithCancel(context.Background())
	go func() {
		defer close(p.served)
		i.Serve(accepting, working, clients)
	}()
	t.Cleanup(func() {
		p.stopAccepting()
		p.stopWorking()
		_ = p.inlet.Close()
		_ = p.outlet.Close()
		testkit.Within(t, linked, "serving links")
		testkit.Within(t, p.served, "the inlet")
	})
	return p
}

func newNode(t testing.TB, id *identity.Identity) *route.Node {
	t.Helper()
	n, err := route.NewNode(route.Config{
		Channel: channel.Config{
			Identity: id, Trust: testkit.Trusting(t, id), HandshakeTimeout: testkit.Patience,
		},
		Logger: quiet(),
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
func (p *tunnel) goTo(a wire.Address) { p.goToRoute(route.ToOutlet(a)) }

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
	_ = p.service.(*net.TCPListener).SetDeadline(time.Now().Add(testkit.Patience))
	c, err := p.service.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return prepare(t, c)
}

func prepare(t testing.TB, c net.Conn) *net.TCPConn {
	_ = c.SetDeadline(time.Now().Add(testkit.Patience))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// connect returns both ends of a connection that has carried a byte each way.
func (p *tunnel) connect(t testing.TB) (client, service *net.TCPConn) {
	t.Helper()
	client = p.dial(t)
	testkit.Write(t, client, "c")
	service = p.accept(t)
	testkit.Expect(t, service, "c")
	testkit.Write(t, service, "s")
	testkit.Expect(t, client, "s")
	return client, service
}

// expectReset reads what is left, which must end with a reset, even if a write has been told of it
// before.
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
