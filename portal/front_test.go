package portal

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// newAskingTunnel is a tunnel whose clients say where they want to go, and may go where patterns
// say, or to its service.
func newAskingTunnel(t testing.TB, patterns ...string) *tunnel {
	t.Helper()
	var made atomic.Pointer[tunnel]
	p := newTunnel(t, func(i *Inlet, o *Outlet) {
		i.Asks = true
		i.Open = func(ctx context.Context, payload []byte) (*route.Stream, error) {
			p := made.Load()
			return p.inlet.OpenWith(ctx, p.route(), 0, payload)
		}
		rules := Rules{{Where: pattern(t, transport.Format(o.Target))}}
		for _, text := range patterns {
			rules = append(rules, Rule{Where: pattern(t, text)})
		}
		o.Choose = Anywhere{Rules: rules}
	})
	made.Store(p)
	return p
}

func pattern(t testing.TB, text string) transport.Pattern {
	t.Helper()
	p, err := transport.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// port is that of the tunnel's service.
func (p *tunnel) port() int { return p.service.Addr().(*net.TCPAddr).Port }

// socksTo is a request of SOCKS 5 for an address of this machine.
func socksTo(last byte, port int) string {
	return "\x05\x01\x00\x01\x7f\x00\x00" + string([]byte{last, byte(port >> 8), byte(port)})
}

const succeeded = "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"

// TestAsked has clients ask in both ways, say something behind that without waiting, and end one
// direction before the other.
func TestAsked(t *testing.T) {
	p := newAskingTunnel(t, "localhost:1-65535")
	port := strconv.Itoa(p.port())
	for name, test := range map[string]struct{ ask, greeted, request, answer string }{
		"SOCKS": {"\x05\x01\x00", "\x05\x00", socksTo(1, p.port()), succeeded},
		"SOCKS and a name": {
			"\x05\x02\x02\x00", "\x05\x00",
			"\x05\x01\x00\x03\x09localhost" + string([]byte{byte(p.port() >> 8), byte(p.port())}), succeeded,
		},
		"CONNECT": {
			"", "", "CONNECT localhost:" + port + " HTTP/1.1\r\nHost: x\r\n\r\n",
			"HTTP/1.1 200 Connection established\r\n\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := p.dial(t)
			testkit.Write(t, client, test.ask)
			testkit.Expect(t, client, test.greeted)
			testkit.Write(t, client, test.request+"early")
			testkit.Expect(t, client, test.answer)
			service := p.accept(t)
			testkit.Expect(t, service, "early")
			closeWrite(t, client)
			testkit.ExpectEnd(t, service)
			testkit.Write(t, service, "late")
			closeWrite(t, service)
			testkit.Expect(t, client, "late")
			testkit.ExpectEnd(t, client)
		})
	}
}

// TestAskedInPieces has a request come byte by byte.
func TestAskedInPieces(t *testing.T) {
	p := newAskingTunnel(t)
	client := p.dial(t)
	for _, c := range "\x05\x01\x00" {
		testkit.Write(t, client, string(c))
	}
	testkit.Expect(t, client, "\x05\x00")
	for _, c := range []byte(socksTo(1, p.port())) {
		testkit.Write(t, client, []byte{c})
	}
	testkit.Expect(t, client, succeeded)
	_ = p.accept(t)
}

// TestAskedInVain has each reason be told in the words of the client's protocol.
func TestAskedInVain(t *testing.T) {
	closed := testkit.Address(t)
	p := newAskingTunnel(t, closed, "nowhere.invalid:1")
	_, port, _ := net.SplitHostPort(closed)
	none, _ := strconv.Atoi(port)
	const greeting = "\x05\x01\x00"
	connect := func(to string) string { return "CONNECT " + to + " HTTP/1.1\r\n\r\n" }
	for name, test := range map[string]struct{ ask, answer string }{
		"refused":          {greeting + socksTo(1, none), "\x05\x00\x05\x05"},
		"not allowed":      {greeting + socksTo(2, p.port()), "\x05\x00\x05\x02"},
		"BIND":             {greeting + "\x05\x02" + socksTo(1, 1)[2:], "\x05\x00\x05\x07"},
		"UDP":              {greeting + "\x05\x03" + socksTo(1, 1)[2:], "\x05\x00\x05\x07"},
		"a kind":           {greeting + "\x05\x01\x00\x02\x00", "\x05\x00\x05\x08"},
		"a password":       {"\x05\x01\x02", "\x05\xff"},
		"SOCKS 4":          {"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", "\x00\x5b"},
		"HTTP refused":     {connect(closed), "HTTP/1.1 502 Bad Gateway\r\n"},
		"HTTP not allowed": {connect("localhost:1"), "HTTP/1.1 403 Forbidden\r\n"},
		"HTTP not there":   {connect("nowhere.invalid:1"), "HTTP/1.1 504 Gateway Timeout\r\n"},
		"GET":              {"GET http://a/ HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\n"},
		"a long head": {
			"CONNECT a:1 HTTP/1.1\r\nx: " + strings.Repeat("x", 16<<10), "HTTP/1.1 431 ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := p.dial(t)
			testkit.Write(t, client, test.ask)
			testkit.Expect(t, client, test.answer)
			if _, err := io.Copy(io.Discard, client); err != nil { // an end, and no reset
				t.Errorf("after the answer: %v", err)
			}
		})
	}
	t.Run("nonsense", func(t *testing.T) {
		client := p.dial(t)
		testkit.Write(t, client, "\x16\x03\x01")
		if got, _ := io.ReadAll(client); len(got) > 0 {
			t.Errorf("got %q", got)
		}
	})
}

// TestNoOutlet tells a client what it can: that there is no way.
func TestNoOutlet(t *testing.T) {
	p := newAskingTunnel(t)
	_ = p.outlet.Close()
	client := p.dial(t)
	testkit.Write(t, client, "\x05\x01\x00"+socksTo(1, p.port()))
	testkit.Expect(t, client, "\x05\x00\x05\x03")
	client = p.dial(t)
	testkit.Write(t, client, "CONNECT localhost:1 HTTP/1.1\r\n\r\n")
	testkit.Expect(t, client, "HTTP/1.1 503 Service Unavailable\r\n")
}

// TestSlowClient gives up a client that says a part, and no more.
func TestSlowClient(t *testing.T) {
	for _, said := range []string{"", "\x05", "\x05\x01\x00\x05\x01", "CONNECT a:1 HT"} {
		synctest.Test(t, func(t *testing.T) {
			client, app := net.Pipe()
			go func() {
				_, _ = client.Write([]byte(said))
				_, _ = io.Copy(io.Discard, client)
			}()
			began := time.Now()
			f := front{app: wrap(app)}
			_, err := f.ask()
			if err == nil || time.Since(began) > askTimeout+replyTimeout+lastTime {
				t.Errorf("%q: %v after %v", said, err, time.Since(began))
			}
			_, _ = app.Close(), client.Close()
		})
	}
}

// TestQuietPortCheck says nothing of those who look whether the port is open.
func TestQuietPortCheck(t *testing.T) {
	client, app := net.Pipe()
	_ = client.Close()
	f := front{app: wrap(app)}
	if _, err := f.ask(); !errors.Is(err, errAsksNothing) || !isOrderly(err) {
		t.Errorf("got %v", err)
	}
	_ = app.Close()
}
