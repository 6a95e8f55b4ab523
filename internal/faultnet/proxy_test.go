package faultnet

import (
	"context"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// through starts a proxy in front of a listener.
//
//	dial() ── client ──▶ proxy ──▶ server ── accept()
func through(t *testing.T, cfg ProxyConfig) (p *ProxyServer, dial func() (client, server conn)) {
	t.Helper()
	return throughAt(t, "127.0.0.1:0", cfg)
}

// throughAt is through, with where the proxy listens.
func throughAt(
	t *testing.T, at string, cfg ProxyConfig,
) (p *ProxyServer, dial func() (client, server conn)) {
	t.Helper()
	ln := testkit.Listen(t)
	var err error
	if p, err = Proxy(context.Background(), at, ln.Addr().String(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, func() (conn, conn) {
		t.Helper()
		client, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close(); server.Close() })
		testkit.Hurry(t, client, server)
		return client.(conn), server.(conn)
	}
}

func planned(p Plan) func(int) Plan { return func(int) Plan { return p } }

func TestProxyClean(t *testing.T) {
	p, dial := through(t, ProxyConfig{})
	client, server := dial()
	swap(t, client, server, 2<<20)
	testkit.Eventually(t, "the link ends by itself", func() bool { return len(p.Conns()) == 0 })
}

func TestProxyHalfClose(t *testing.T) {
	_, dial := through(t, ProxyConfig{})
	client, server := dial()
	testkit.Write(t, client, "request")
	client.CloseWrite()
	expectEnd(t, server, "request", nil)
	expectSilence(t, client)
	testkit.Write(t, server, "response")
	server.CloseWrite()
	expectEnd(t, client, "response", nil)
}

func TestProxyResetPasses(t *testing.T) {
	_, dial := through(t, ProxyConfig{})
	client, server := dial()
	testkit.Write(t, server, "x")
	testkit.Expect(t, client, "x")
	server.SetLinger(0)
	server.Close()
	expectEnd(t, client, "", syscall.ECONNRESET)
}

func TestProxyResetPassesAfterHalfClose(t *testing.T) {
	_, dial := through(t, ProxyConfig{})
	client, server := dial()
	client.CloseWrite()
	expectEnd(t, server, "", nil)
	client.SetLinger(0)
	client.Close()
	testkit.Eventually(t, "the reset arrives", func() bool {
		_, err := server.Write([]byte("x"))
		return sameError(err, syscall.ECONNRESET) || sameError(err, syscall.EPIPE)
	})
}

// The faults that end a connection, over real sockets.
func TestProxyEnds(t *testing.T) {
	reset := syscall.ECONNRESET
	for _, tt := range []struct {
		plan                 string
		serverEnd, clientEnd error
		silent               bool
	}{
		{"end c2s byte 100000", nil, nil, true},
		{"cut c2s byte 100000", nil, nil, false},
		{"reset c2s byte 100000", reset, reset, false},
		{"halfopen c2s byte 100000", reset, nil, true},
	} {
		t.Run(tt.plan, func(t *testing.T) {
			p, dial := through(t, ProxyConfig{Plan: planned(plan(t, tt.plan))})
			client, server := dial()
			in := testkit.Pattern(200_000)
			client.Write(in)
			expectEnd(t, server, string(in[:100_000]), tt.serverEnd)
			if tt.silent {
				expectSilence(t, client)
				if len(p.Conns()) != 1 {
					t.Error("the link is forgotten")
				}
			} else {
				expectEnd(t, client, "", tt.clientEnd)
			}
			if fired := p.Fired(); len(fired) != 1 || fired[0].Fault.String() != tt.plan {
				t.Errorf("fired %v", fired)
			}
		})
	}
}

// A man in the middle between processes: one plan for each connection.
func TestProxyMessages(t *testing.T) {
	plans := strings.Split("flip c2s msg 1|drop c2s msg 1|duplicate c2s msg 1|"+
		"reorder c2s msg 1|truncate c2s msg 1 off 1|cut c2s msg 1", "|")
	wants := strings.Split("ab\nbd\nef\n|ab\nef\n|ab\ncd\ncd\nef\n|ab\nef\ncd\n|ab\ncef\n|ab\n",
		"|")
	var heard [6]strings.Builder
	p, dial := through(t, ProxyConfig{
		Plan:  func(n int) Plan { return plan(t, plans[n]) },
		Split: lines,
		Tap:   func(n int, _ Direction, p []byte) { heard[n].Write(p) },
	})
	for i, want := range wants {
		client, server := dial()
		testkit.Write(t, client, "ab\ncd\nef\n")
		client.CloseWrite()
		expectEnd(t, server, want, nil)
		server.Close()
		if _, err := io.ReadAll(client); err != nil {
			t.Error(err)
		}
		testkit.Eventually(t, "the link is over", func() bool { return len(p.Conns()) == 0 })
		if heard[i].String() != "ab\ncd\nef\n" {
			t.Errorf("%s: heard %q", plans[i], &heard[i])
		}
	}
	for i, e := range p.Fired() {
		if e.Conn != i || e.Fault.String() != plans[i] {
			t.Errorf("event %d: %v", i, e)
		}
	}
}

func TestProxySwitches(t *testing.T) {
	p, dial := through(t, ProxyConfig{})
	p.BlackHole(true, ServerToClient)
	client, server := dial() // born into the hole
	testkit.Write(t, client, "up")
	testkit.Expect(t, server, "up")
	testkit.Write(t, server, "down")
	expectSilence(t, client)
	p.BlackHole(false)
	testkit.Expect(t, client, "down")

	p.Cut()
	expectEnd(t, client, "", nil)
	expectEnd(t, server, "", nil)
	client.Close()
	server.Close()
	testkit.Eventually(t, "the link that was cut is over", func() bool { return len(p.Conns()) == 0 })

	client, server = dial()
	testkit.Eventually(t, "the link is up", func() bool { return len(p.Conns()) == 1 })
	p.Reset()
	expectEnd(t, client, "", syscall.ECONNRESET)
	expectEnd(t, server, "", syscall.ECONNRESET)

	p.Refuse(true)
	refused(t, p)
	p.Refuse(false)
	dial()
	before := p.targets[0]
	p.SetTarget("127.0.0.1:1")
	refused(t, p)
	p.SetTarget(before, "127.0.0.1:1")
	refused(t, p)
	dial()
	refused(t, p)
}

// refused wants a connection through p to be reset.
func refused(t *testing.T, p *ProxyServer) {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return // the reset came before dial was done
	}
	defer c.Close()
	testkit.Hurry(t, c)
	expectEnd(t, c, "", syscall.ECONNRESET)
}

// Close ends links in every state, frees the address, and is told to the ends.
func TestProxyClose(t *testing.T) {
	plans := []string{
		"", "blackhole c2s byte 0", "halfopen c2s byte 0", "delay c2s byte 0 for 1h",
		"bandwidth c2s byte 0 rate 1", "reorder c2s byte 0 len 100",
	}
	cfg := ProxyConfig{Plan: func(n int) Plan { return plan(t, plans[n]) }}
	p, dial := throughAt(t, testkit.Address(t), cfg)
	var clients []conn
	for range plans {
		client, _ := dial()
		testkit.Write(t, client, "some bytes")
		clients = append(clients, client)
	}
	client, _ := clients[0], p.Close()
	expectEnd(t, client, "", syscall.ECONNRESET)
	if len(p.Conns()) != 0 {
		t.Error("links are left")
	}
	again, err := Proxy(t.Context(), p.Addr(), "127.0.0.1:1", ProxyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	again.Close()
}

func TestProxyEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	p, err := Proxy(ctx, "127.0.0.1:0", "127.0.0.1:1", ProxyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-p.done
	if _, err := Proxy(context.Background(), "nowhere", "", ProxyConfig{}); err == nil {
		t.Error("listening nowhere works")
	}
}

// A long fat line over sockets: the transfer costs one delay, not many.
func TestProxyDelay(t *testing.T) {
	// 32 of them are what a proxy would take that waits for each piece
	const delay = 500 * time.Millisecond
	_, dial := through(t, ProxyConfig{Plan: planned(Line(delay, 0))})
	client, server := dial()
	start := time.Now()
	in := testkit.Pattern(1 << 20)
	go func() {
		client.Write(in)
		client.CloseWrite()
	}()
	expectEnd(t, server, string(in), nil)
	if d := time.Since(start); d < delay || d > 16*delay {
		t.Errorf("took %v", d)
	}
}

func BenchmarkProxy(b *testing.B) {
	ln := testkit.Listen(b)
	p, err := Proxy(b.Context(), "127.0.0.1:0", ln.Addr().String(), ProxyConfig{})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	c.(conn).CloseWrite()
	io.Copy(io.Discard, c)
	c.Close()
}
