package portal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

func TestTunnelBothWays(t *testing.T) {
	p := newTunnel(t)
	up, down := random(t, 1<<20+1), random(t, 700_003)
	client, service := p.connect(t)
	var copying sync.WaitGroup
	for _, side := range []struct {
		conn       *net.TCPConn
		send, want []byte
	}{{client, up, down}, {service, down, up}} {
		copying.Go(func() {
			if _, err := side.conn.Write(side.send); err != nil {
				t.Error(err)
			}
			_ = side.conn.CloseWrite()
		})
		copying.Go(func() {
			got, err := io.ReadAll(side.conn)
			if err != nil || !bytes.Equal(got, side.want) {
				t.Errorf("%d bytes came of %d, or others: %v", len(got), len(side.want), err)
			}
		})
	}
	copying.Wait()
}

func TestServiceSpeaksFirst(t *testing.T) {
	p := newTunnel(t)
	client := p.dial(t)
	service := p.accept(t)
	testkit.Write(t, service, "220 ready")
	testkit.Expect(t, client, "220 ready")
}

func TestHalfClose(t *testing.T) {
	for name, order := range map[string]func(a, b *net.TCPConn) (first, second *net.TCPConn){
		"client first":  func(a, b *net.TCPConn) (first, second *net.TCPConn) { return a, b },
		"service first": func(a, b *net.TCPConn) (first, second *net.TCPConn) { return b, a },
	} {
		t.Run(name, func(t *testing.T) {
			p := newTunnel(t)
			for range 3 { // the later ones on a link that the first has left clean
				first, second := order(p.connect(t))
				closeWrite(t, first)
				testkit.ExpectEnd(t, second)
				for range 3 { // it stays open as long as the other side likes
					testkit.Write(t, second, "still there")
					testkit.Expect(t, first, "still there")
				}
				data := random(t, 1<<20)
				go func() {
					_, _ = second.Write(data)
					_ = second.CloseWrite()
				}()
				if got, err := io.ReadAll(first); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%d bytes came of %d, or others: %v", len(got), len(data), err)
				}
			}
		})
	}
}

// The inner channel's flows follow one another on flows of the outer one.
func TestChannelInsideAChannel(t *testing.T) {
	p := newTunnel(t)
	at := p.route()
	p.goToRoute(append(at[:2:2], at[1:]...))
	for range 5 {
		client, service := p.connect(t)
		closeWrite(t, client)
		testkit.ExpectEnd(t, service)
		testkit.Write(t, service, "still there")
		testkit.Expect(t, client, "still there")
		closeWrite(t, service)
		testkit.ExpectEnd(t, client)
	}
	client, service := p.connect(t)
	closeWrite(t, client)
	testkit.ExpectEnd(t, service)
	_ = client.SetLinger(0)
	_ = client.Close()
	expectResetAfterEnd(t, service)

	client, service = p.connect(t)
	closeWrite(t, client)
	testkit.ExpectEnd(t, service)
	_ = p.inlet.Close()
	expectResetAfterEnd(t, service)
}

// A client that writes, closes and is gone has said all it had to say.
func TestFireAndForget(t *testing.T) {
	p := newTunnel(t)
	data := random(t, 300_000)
	for range 10 {
		client := p.dial(t)
		if _, err := client.Write(data); err != nil {
			t.Fatal(err)
		}
		_ = client.Close()
		service := p.accept(t)
		if got, err := io.ReadAll(service); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came of %d, or others: %v", len(got), len(data), err)
		}
		_ = service.Close()
	}
}

func TestResetStaysReset(t *testing.T) {
	for name, order := range map[string]func(a, b *net.TCPConn) (first, second *net.TCPConn){
		"of the client":  func(a, b *net.TCPConn) (first, second *net.TCPConn) { return a, b },
		"of the service": func(a, b *net.TCPConn) (first, second *net.TCPConn) { return b, a },
	} {
		for when, before := range map[string]func(t *testing.T, first, second *net.TCPConn){
			"idle": func(*testing.T, *net.TCPConn, *net.TCPConn) {},
			"after the other's half-close": func(t *testing.T, first, second *net.TCPConn) {
				closeWrite(t, second)
				testkit.ExpectEnd(t, first)
			},
			"in the middle of data to it": func(t *testing.T, first, second *net.TCPConn) {
				go func() { _, _ = second.Write(make([]byte, 64<<20)) }()
				testkit.Expect(t, first, "\x00")
			},
			"in the middle of data from it": func(t *testing.T, first, second *net.TCPConn) {
				if _, err := first.Write(make([]byte, 100_000)); err != nil {
					t.Fatal(err)
				}
				testkit.Expect(t, second, "\x00")
			},
		} {
			t.Run(name+", "+when, func(t *testing.T) {
				p := newTunnel(t)
				first, second := order(p.connect(t))
				before(t, first, second)
				reset(first)
				expectReset(t, second)
			})
		}
	}
}

// An application that has ended its direction, and then dies while the service is quiet, does not
// leave a connection behind.
func TestResetAfterHalfClose(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("known on Linux only")
	}
	p := newTunnel(t)
	client, service := p.connect(t)
	closeWrite(t, client)
	testkit.ExpectEnd(t, service)
	reset(client)
	expectResetAfterEnd(t, service)
	p.stopAccepting()
	testkit.Within(t, p.served, "the inlet's connection")
}

// Nobody reads from a stream whose direction has ended, and yet the node's end must not wait for
// the application.
func TestEndsWithItsNodeAfterHalfClose(t *testing.T) {
	for name, test := range map[string]struct {
		half func(client, service *net.TCPConn) (ended, quiet *net.TCPConn)
		node func(p *tunnel) *route.Node
	}{
		"outlet, client has ended": {
			func(client, service *net.TCPConn) (ended, quiet *net.TCPConn) { return client, service },
			func(p *tunnel) *route.Node { return p.outlet },
		},
		"inlet, client has ended": {
			func(client, service *net.TCPConn) (ended, quiet *net.TCPConn) { return client, service },
			func(p *tunnel) *route.Node { return p.inlet },
		},
		"outlet, service has ended": {
			func(client, service *net.TCPConn) (ended, quiet *net.TCPConn) { return service, client },
			func(p *tunnel) *route.Node { return p.outlet },
		},
		"inlet, service has ended": {
			func(client, service *net.TCPConn) (ended, quiet *net.TCPConn) { return service, client },
			func(p *tunnel) *route.Node { return p.inlet },
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTunnel(t)
			ended, quiet := test.half(p.connect(t))
			closeWrite(t, ended)
			testkit.ExpectEnd(t, quiet)
			closed := make(chan error, 1)
			go func() { closed <- test.node(p).Close() }()
			if err := testkit.Within(t, closed, "Close"); err != nil {
				t.Error(err)
			}
			if runtime.GOOS == "linux" {
				expectReset(t, ended)
			}
		})
	}
}

func TestTargetRefuses(t *testing.T) {
	for name, address := range map[string]func(t *testing.T) net.Addr{
		"tcp": func(t *testing.T) net.Addr {
			return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(testkit.Address(t)))
		},
		"unix": func(t *testing.T) net.Addr {
			return &net.UnixAddr{Net: "unix", Name: filepath.Join(t.TempDir(), "none")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTunnel(t, func(_ *Inlet, o *Outlet) { o.Target, _ = transport.FromAddr(address(t)) })
			p.expectRefused(t)
			p.expectRefused(t)
			p.stopAccepting()
			testkit.Within(t, p.served, "the inlet")
			if got := p.log.String(); strings.Count(got, "the target refused the connection") != 2 {
				t.Errorf("the inlet's log does not say why, each time:\n%s", got)
			}
			probe := func() error { return p.inlet.Probe(testkit.Context(t), p.route()) }
			if err := testkit.Patiently(t, probe); err != nil {
				t.Errorf("the session is lost: %v", err)
			}
		})
	}
}

func TestUnreachableOutlet(t *testing.T) {
	p := newTunnel(t)
	_ = p.outlet.Close()
	p.expectRefused(t)
}

// Each connection of the inlet passes a proxy, which then cuts it.
func TestCutStreamIsNoEnd(t *testing.T) {
	for name, cut := range map[string]func(*faultnet.ProxyServer){
		"cut":   (*faultnet.ProxyServer).Cut,
		"reset": (*faultnet.ProxyServer).Reset,
	} {
		t.Run(name, func(t *testing.T) {
			p := newTunnel(t)
			proxy, err := faultnet.Proxy(context.Background(), "127.0.0.1:0",
				transport.Format(p.route()[0]), faultnet.ProxyConfig{})
			if err != nil {
				t.Fatal(err)
			}
			defer proxy.Close()
			at, err := transport.Parse(proxy.Addr())
			if err != nil {
				t.Fatal(err)
			}
			p.goTo(at)
			client, service := p.connect(t)
			cut(proxy)
			expectReset(t, client)
			expectReset(t, service)
		})
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	p := newTunnel(t)
	go func() {
		for {
			c, err := p.service.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, struct{ io.Reader }{c})
				_ = c.Close()
			}()
		}
	}()
	data := random(t, 20_000)
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			c, err := net.Dial("tcp", p.address)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(testkit.Patience))
			go func() {
				_, _ = c.Write(data)
				_ = c.(*net.TCPConn).CloseWrite()
			}()
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes came back of %d, or others: %v", len(got), len(data), err)
			}
		})
	}
	clients.Wait()
	_ = p.service.Close()
}

// A client that does not read holds up nobody else.
func TestStalledClientHoldsUpNobody(t *testing.T) {
	const manyMB = 512
	p := newTunnel(t)
	stalled, feeding := p.connect(t)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		chunk := make([]byte, 1<<20)
		for range manyMB { // more than sockets keep, each of which may have more than 32 MiB
			if _, err := feeding.Write(chunk); err != nil {
				return
			}
		}
	}()
	client, service := p.connect(t)
	data := random(t, 4<<20)
	go func() {
		_, _ = service.Write(data)
		_ = service.CloseWrite()
	}()
	if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came of %d, or others: %v", len(got), len(data), err)
	}
	select {
	case <-fed:
		t.Errorf("%d MiB went to a client that does not read", manyMB)
	default:
	}
	reset(stalled)
	testkit.Within(t, fed, "the service's write to a client that is gone")
}

func TestInletDrains(t *testing.T) {
	p := newTunnel(t)
	client, service := p.connect(t)
	p.stopAccepting()
	down := make(chan error, 1)
	go func() { down <- p.inlet.Shutdown(context.Background()) }()
	testkit.Write(t, client, "still there")
	testkit.Expect(t, service, "still there")
	closeWrite(t, client)
	closeWrite(t, service)
	testkit.ExpectEnd(t, client)
	testkit.ExpectEnd(t, service)
	if err := testkit.Within(t, down, "Shutdown"); err != nil {
		t.Error(err)
	}
	testkit.Within(t, p.served, "Serve")
}

func TestCloseResets(t *testing.T) {
	for name, node := range map[string]func(p *tunnel) *route.Node{
		"inlet":  func(p *tunnel) *route.Node { return p.inlet },
		"outlet": func(p *tunnel) *route.Node { return p.outlet },
	} {
		t.Run(name, func(t *testing.T) {
			p := newTunnel(t)
			client, service := p.connect(t)
			_ = node(p).Close()
			expectReset(t, client)
			expectReset(t, service)
		})
	}
}

func TestInletRefusesWhileDraining(t *testing.T) {
	p := newTunnel(t, func(i *Inlet, _ *Outlet) {
		i.Begin = func(netio.Conn) (Follower, error) { return nil, route.Refuse(wire.GoingAway, "") }
	})
	p.expectRefused(t)
}

func TestConnectTimeoutOfTheInlet(t *testing.T) {
	p := newTunnel(t, func(i *Inlet, _ *Outlet) {
		i.ConnectTimeout = 10 * time.Millisecond
		i.Open = func(ctx context.Context, _ []byte) (*route.Stream, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	p.expectRefused(t)
}

func TestOrDefault(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		0: DefaultConnectTimeout, -1: DefaultConnectTimeout, 7: 7,
	} {
		if got := orDefault(d); got != want {
			t.Errorf("%v: got %v", d, got)
		}
	}
}

// The service sees no connection of somebody who is not trusted.
func TestUntrustedInletNeverReachesTheService(t *testing.T) {
	p := newTunnel(t)
	stranger := newNode(t, testkit.NewIdentity(t))
	if _, err := stranger.Open(testkit.Context(t), p.route(), 0); err == nil {
		t.Fatal("a stranger is let in")
	}
	p.connect(t) // so the first that the service accepts is this one
}

func TestUnixService(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no Unix sockets to rely on")
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newTunnel(t, func(_ *Inlet, o *Outlet) { o.Target, _ = transport.FromAddr(l.Addr()) })
	client := p.dial(t)
	testkit.Write(t, client, "up")
	closeWrite(t, client)
	service, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	if got, err := io.ReadAll(service); string(got) != "up" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	testkit.Write(t, service, "down")
	_ = service.Close()
	if got, err := io.ReadAll(client); string(got) != "down" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// whole is a conn without half-close, as a terminal's is.
func TestConnWithoutHalfClose(t *testing.T) {
	a, b := net.Pipe()
	c := wrap(struct{ net.Conn }{a})
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the other end reads %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a write after it: %v", err)
	}
	if _, ok := wrap(a).(netio.Resetter); ok {
		t.Error("it is taken for a socket")
	}
}
