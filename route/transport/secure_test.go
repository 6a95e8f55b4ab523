package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/route/mux"
)

// newCertificate returns a certificate for some names that is signed by itself.
func newCertificate(t testing.TB, names ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// showing is a configuration with a certificate.
func showing(c *tls.Certificate) Config {
	return Config{TLS: TLSConfig{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c, nil },
	}}
}

// pair is a link from near to far, over some transport on this machine.
type pair struct {
	near, far Link
	at        Address
}

// listenOnly listens for links, and hands over the far ends of those that come, and what does not
// carry any.
func listenOnly(
	t *testing.T, text string, c Config,
) (at Address, links chan Link, ended chan error) {
	t.Helper()
	a, err := ParseListen(text, "")
	if err != nil {
		t.Fatal(err)
	}
	s := NewSet(c)
	l, err := s.Listen(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	at, ok := FromAddr(l.Addr())
	if !ok || at.Kind != a.Kind || at.Port == 0 {
		t.Fatalf("it listens at %v", l.Addr())
	}
	links, ended = make(chan Link, 64), make(chan error, 64)
	var tasks sync.WaitGroup
	run := func(f func()) bool { tasks.Go(f); return true }
	tasks.Go(func() {
		for {
			accepted, err := l.Accept()
			if err != nil {
				return
			}
			on, ok := accepted.(Carrying)
			if !ok {
				tasks.Go(func() { // reading does so otherwise
					if err := accepted.(*tlsLink).Handshake(); err == nil {
						links <- accepted.(Link)
					} else {
						ended <- accepted.Close()
					}
				})
				continue
			}
			tasks.Go(func() {
				ended <- on.Carry(context.Background(), run, testkit.Patience, func(l Link) { links <- l })
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		tasks.Wait()
		_ = s.Close()
	})
	return at, links, ended
}

// Where no more links are taken, the next one goes on a connection of its own, and so to whoever
// listens there by now. What is open goes on.
func TestTakesNoMore(t *testing.T) {
	for _, text := range secured[1:] {
		t.Run(text[:strings.IndexByte(text, ':')], func(t *testing.T) {
			takesNoMore(t, text)
		})
	}
}

func takesNoMore(t *testing.T, text string) {
	near, far := NewSet(Config{}), NewSet(showing(newCertificate(t)))
	a, err := ParseListen(text, "")
	if err != nil {
		t.Fatal(err)
	}
	var tasks errands
	// takes takes what comes until leave is called, the last time by the end of the test.
	takes := func() (links chan Link, leave func()) {
		l, err := far.Listen(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		a, _ = FromAddr(l.Addr())
		return carryAll(l, tasks.run)
	}
	old, leave := takes()
	dial := func(links chan Link) (n, f Link) {
		n, err := near.Dial(testkit.Context(t), a)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Write(t, n, "!") // by which a stream of QUIC shows itself
		f = testkit.Within(t, links, "the link")
		testkit.Hurry(t, n, f)
		testkit.Expect(t, io.LimitReader(f, 1), "!")
		return n, f
	}
	n, f := dial(old)
	leave()
	next, leave := takes()
	testkit.Eventually(t, "the word that there are to be no more", func() bool {
		n, err := near.Dial(testkit.Context(t), a)
		if err != nil {
			return false
		}
		defer func() { _ = n.Close() }()
		return comesOn(n, next, old)
	})
	for range 3 {
		n, f := dial(next)
		_, _ = n.Close(), f.Close()
	}
	testkit.Write(t, n, "still here")
	testkit.Expect(t, io.LimitReader(f, 10), "still here")
	_, _ = n.Close(), f.Close()
	leave()
	_, _ = near.Close(), far.Close()
	tasks.wait()
}

// carryAll has all that comes to a listener carry links, until leave is called.
func carryAll(l net.Listener, run func(func()) bool) (links chan Link, leave func()) {
	ctx, stop := context.WithCancel(context.Background())
	links = make(chan Link, 8)
	run(func() {
		for {
			on, err := l.Accept()
			if err != nil {
				return
			}
			run(func() {
				_ = on.(Carrying).Carry(ctx, run, testkit.Patience, func(l Link) { links <- l })
			})
		}
	})
	return links, func() { stop(); _ = l.Close() }
}

// comesOn tells whether a link that has been dialed comes on next, and not on old, where it may
// come just before that takes none, or is refused just before the dialer knows.
func comesOn(n Link, next, old chan Link) bool {
	_, _ = n.Write([]byte("!"))
	refused := make(chan struct{})
	go func() {
		defer close(refused)
		_, _ = n.Read(make([]byte, 1))
	}()
	select {
	case f := <-next:
		return f.Close() == nil
	case f := <-old:
		_ = f.Close()
	case <-refused:
	}
	return false
}

// errands are goroutines that may be begun by some that nobody waits for.
type errands struct {
	mu    sync.Mutex
	over  bool
	tasks sync.WaitGroup
}

func (e *errands) run(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over {
		e.tasks.Go(f)
	}
	return !e.over
}

// wait waits for all of them. No more begin.
func (e *errands) wait() {
	e.mu.Lock()
	e.over = true
	e.mu.Unlock()
	e.tasks.Wait()
}

// What is remembered of places does not grow with how they are spelled, or with where nobody is.
func TestPlacesAreFew(t *testing.T) {
	at, links, _ := listenOnly(t, secured[1], Config{})
	near := NewSet(Config{})
	t.Cleanup(func() { _ = near.Close() })
	a := func(host string, port uint16) Address {
		a, err := Parse("ws://" + host + ":" + strconv.Itoa(int(port)) + "/sp")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, host := range []string{"localhost", "LocalHost", "LOCALHOST"} {
		n, err := near.Dial(testkit.Context(t), a(host, at.Port))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = n.Close(), testkit.Within(t, links, "the link").Close()
		if _, err := near.Dial(testkit.Context(t), a(host, 1)); err == nil {
			t.Error("somebody listens at port 1")
		}
	}
	transport, _ := near.get("ws")
	s := transport.(*webSocket).carriers
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) != 1 || len(s.places) > 2 { // the name, and the address that it leads to
		t.Errorf("%d WebSockets and %d places, want 1 and 2", len(s.all), len(s.places))
	}
}

// A node that comes again has less to compute, and so has who takes it in.
func TestTLSResumes(t *testing.T) {
	at, links, _ := listenOnly(t, secured[0], showing(newCertificate(t)))
	near := NewSet(Config{})
	t.Cleanup(func() { _ = near.Close() })
	for i := range 3 {
		n, err := near.Dial(testkit.Context(t), at)
		if err != nil {
			t.Fatal(err)
		}
		f := testkit.Within(t, links, "the link")
		testkit.Write(t, f, "!") // the ticket comes in front of what is read first
		testkit.Expect(t, io.LimitReader(n, 1), "!")
		if resumed := f.(*tlsLink).ConnectionState().DidResume; resumed != (i > 0) {
			t.Errorf("handshake %d has resumed: %v", i, resumed)
		}
		_, _ = n.Close(), f.Close()
	}
}

// Who is not admitted costs no handshake: his hello is all that is read.
func TestTLSIsAdmitted(t *testing.T) {
	for _, text := range []string{secured[0], secured[2]} {
		c := showing(newCertificate(t))
		var computed atomic.Int32
		shown := c.TLS.Certificate
		c.TLS.Certificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			computed.Add(1)
			return shown(hello)
		}
		c.AdmitTLS = func(peer net.Addr) error {
			if (tcp{}).Source(peer) == (admission.Source{}) {
				t.Errorf("nobody knows where %v is", peer)
			}
			return admission.ErrTooManyHandshakes
		}
		at, _, ended := listenOnly(t, text, c)
		near := NewSet(Config{})
		t.Cleanup(func() { _ = near.Close() })
		if n, err := near.Dial(testkit.Context(t), at); err == nil {
			t.Errorf("%s: %v is there", text, n)
		}
		testkit.Within(t, ended, "the end")
		if n := computed.Load(); n > 0 {
			t.Errorf("%s: %d handshakes were computed", text, n)
		}
	}
}

var secured = []string{
	"tls://127.0.0.1:0", "ws://127.0.0.1:0/sp", "wss://127.0.0.1:0/sp", "quic://127.0.0.1:0",
}

func eachSecured(t *testing.T, test func(t *testing.T, dial func() pair)) {
	for _, text := range append(slices.Clone(secured), queues...) {
		t.Run(text[:strings.IndexByte(text, ':')], func(t *testing.T) {
			text = atBroker(t, text)
			at, links, _ := listenOnly(t, text, showing(newCertificate(t)))
			near := NewSet(Config{})
			t.Cleanup(func() { _ = near.Close() })
			test(t, func() pair {
				n, err := near.Dial(testkit.Context(t), at)
				if err != nil {
					t.Fatal(err)
				}
				testkit.Write(t, n, "!") // TLS begins with what is written or read first
				f := testkit.Within(t, links, "the link")
				testkit.Hurry(t, n, f)
				testkit.Expect(t, io.LimitReader(f, 1), "!")
				t.Cleanup(func() { _, _ = n.Close(), f.Close() })
				return pair{n, f, at}
			})
		})
	}
}

// A link over TLS or WebSocket does what one over TCP does.
func TestSecuredLinks(t *testing.T) {
	eachSecured(t, func(t *testing.T, dial func() pair) {
		p := dial()
		expectHalfClose(t, p.near, p.far)
		if at, ok := FromAddr(p.near.RemoteAddr()); !ok || at != p.at {
			t.Errorf("it leads to %v", p.near.RemoteAddr())
		}
		s := NewSet(Config{})
		defer s.Close()
		want := s.Source(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if IsQueue(p.at) {
			want = admission.FromName(Format(p.at))
		}
		if got := s.Source(p.far.RemoteAddr()); got != want {
			t.Errorf("it comes from %v", got)
		}

		p = dial()
		if err := netio.Reset(p.far); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(p.near); !netio.IsReset(err) {
			t.Errorf("after a reset: %v", err)
		}

		p = dial()
		if !netio.Quiet(p.near) || !netio.Quiet(p.far) {
			t.Error("a link on which nothing comes is not quiet")
		}
		testkit.Write(t, p.far, "x")
		testkit.Eventually(t, "something is there to read", func() bool { return !netio.Quiet(p.near) })
		testkit.Expect(t, io.LimitReader(p.near, 1), "x")
		if !netio.Quiet(p.near) {
			t.Error("all has been read, and the link is not quiet")
		}
	})
}

// Much goes both ways, beside a link that nobody reads.
func TestSecuredTransfer(t *testing.T) {
	eachSecured(t, func(t *testing.T, dial func() pair) {
		stalled := dial()
		var tasks sync.WaitGroup
		tasks.Go(func() { // until it is closed
			for b := make([]byte, 1<<16); ; {
				if _, err := stalled.near.Write(b); err != nil {
					return
				}
			}
		})
		want := string(testkit.Pattern(3 << 20))
		p := dial()
		for _, way := range [][2]Link{{p.near, p.far}, {p.far, p.near}} {
			tasks.Go(func() {
				testkit.Write(t, way[0], want)
				if err := way[0].CloseWrite(); err != nil {
					t.Error(err)
				}
			})
			tasks.Go(func() {
				var room netio.PooledRoom
				var got strings.Builder
				for {
					n, err := netio.ReadLazy(way[1], &room)
					if n > 0 {
						got.Write(room.Filled(n))
					}
					room.Release()
					if err != nil {
						if err != io.EOF || got.String() != want {
							t.Errorf("%d bytes have come, %v", got.Len(), err)
						}
						break
					}
				}
				_ = netio.Reset(stalled.near)
			})
		}
		tasks.Wait()
	})
}

// What waits for a reset is told of one, and not of the own end.
func TestSecuredAwaitReset(t *testing.T) {
	eachSecured(t, func(t *testing.T, dial func() pair) {
		p := dial()
		testkit.Write(t, p.far, "x") // which does not end the waiting
		var waits sync.WaitGroup
		late := make(chan error, 1)
		waits.Go(func() { late <- netio.AwaitReset(p.near) })
		_ = p.near.SetReadDeadline(time.Unix(1, 0))
		if err := testkit.Within(t, late, "the deadline"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("at a deadline: %v", err)
		}
		waits.Wait()
		for _, resets := range []bool{true, false} {
			p := dial()
			if err := p.far.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			testkit.ExpectEnd(t, p.near)
			awaited := make(chan error, 1)
			var task sync.WaitGroup
			task.Go(func() { awaited <- netio.AwaitReset(p.near) })
			if resets {
				_ = netio.Reset(p.far)
			} else {
				_ = p.near.CloseWrite()
			}
			if err := testkit.Within(t, awaited, "the reset"); (err != nil) != resets {
				t.Errorf("reset %v: %v", resets, err)
			}
			task.Wait()
		}
	})
}

// A connection that is cut beneath TLS has not ended.
func TestTLSCut(t *testing.T) {
	at, links, _ := listenOnly(t, secured[0], showing(newCertificate(t)))
	near := NewSet(Config{})
	defer near.Close()
	n, err := near.Dial(testkit.Context(t), at)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	testkit.Write(t, n, "!")
	far := testkit.Within(t, links, "the link").(*tlsLink)
	testkit.Expect(t, io.LimitReader(far, 1), "!")
	_ = far.raw.CloseWrite()
	defer far.Close()
	if _, err := io.ReadAll(n); !netio.IsReset(err) {
		t.Errorf("the end was not announced: %v", err)
	}
}

// Whose certificates are to be believed is said with Roots; without, what is wrong is told, and
// harms nothing.
func TestCertificates(t *testing.T) {
	good, other := newCertificate(t, "localhost"), newCertificate(t, "other.example")
	roots := x509.NewCertPool()
	roots.AddCert(good.Leaf)
	for _, test := range []struct {
		name  string
		shown *tls.Certificate
		roots *x509.CertPool
		works bool
		wrong bool
	}{
		{"believed", good, roots, true, false},
		{"of somebody else", other, roots, false, true},
		{"of nobody known", good, nil, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, text := range []string{"tls://localhost:0", "wss://localhost:0/sp"} {
				at, links, _ := listenOnly(t, text, showing(test.shown))
				at = AtHost(at, Address{Kind: 5, Name: "localhost", Port: 1})
				told := make(chan error, 1)
				near := NewSet(Config{TLS: TLSConfig{
					Roots: test.roots, Seen: func(host, issuer string, err error) {
						if host != "localhost" || issuer != "CN=a test" {
							t.Errorf("told of %s and %s", host, issuer)
						}
						told <- err
					},
				}})
				defer near.Close()
				n, err := near.Dial(testkit.Context(t), at)
				if works := err == nil; works != test.works {
					t.Errorf("%s: %v", text, err)
				}
				if err := testkit.Within(t, told, "the issuer"); (err != nil) != test.wrong {
					t.Errorf("%s: told %v", text, err)
				}
				if err == nil {
					testkit.Write(t, n, "!")
					far := testkit.Within(t, links, "the link")
					testkit.Expect(t, io.LimitReader(far, 1), "!")
					_, _ = n.Close(), far.Close()
				}
			}
		})
	}
}

// Nobody listens over TLS without a certificate, and what listens there may be something else.
func TestSecuredErrors(t *testing.T) {
	for _, text := range []string{"tls://127.0.0.1:0", "wss://127.0.0.1:0/"} {
		a, _ := ParseListen(text, "")
		if _, err := NewSet(Config{}).Listen(t.Context(), a); !errors.Is(err, ErrNoCertificate) {
			t.Errorf("%s: %v", text, err)
		}
	}
	at, _, ended := listenOnly(t, "ws://127.0.0.1:0/sp", Config{})
	near := NewSet(Config{})
	defer near.Close()
	dialing := func(change func(*Address), says string) {
		t.Helper()
		to := at
		change(&to)
		l, err := near.Dial(testkit.Context(t), to)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, %v, want %q", Format(to), l, err, says)
		}
	}
	dialing(func(a *Address) { a.Name = "127.0.0.1/other" }, "404")
	if err := testkit.Within(t, ended, "the caller"); !errors.Is(err, errNoPath) {
		t.Errorf("another path: %v", err)
	}
	dialing(func(a *Address) { a.Kind, a.Name = 8, "127.0.0.1" }, "TLS")
	testkit.Within(t, ended, "the caller")

	plain := testkit.Listen(t)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer plain.Close()
	tasks.Go(func() {
		for {
			c, err := plain.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "SSH-2.0-something\r\n")
			_ = c.Close()
		}
	})
	foreign, _ := FromAddr(plain.Addr())
	at = AtHost(at, foreign)
	at.Port = foreign.Port
	dialing(func(*Address) {}, "no WebSocket was made")
	dialing(func(a *Address) { a.Kind, a.Name = 8, "127.0.0.1" }, "TLS")
}

// Links share a carrier, a carrier that has ended has another one take its place, and one without
// links ends.
func TestCarriers(t *testing.T) {
	at, links, ended := listenOnly(t, "ws://127.0.0.1:0/sp", Config{})
	near := NewSet(Config{})
	defer near.Close()
	var mu sync.Mutex
	var nears, fars []Link
	var tasks sync.WaitGroup
	const many = 32
	for range many {
		tasks.Go(func() {
			l, err := near.Dial(testkit.Context(t), at)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			nears = append(nears, l)
		})
	}
	tasks.Wait()
	for range many {
		fars = append(fars, testkit.Within(t, links, "a link"))
	}
	first := fars[0].(*carried).by
	for _, l := range fars {
		if l.(*carried).by != first {
			t.Fatal("there are several carriers")
		}
	}
	_ = first.on.Reset() // as the network does
	testkit.Within(t, ended, "the carrier")
	for _, l := range append(nears, fars...) {
		_ = l.Close()
	}
	l, err := near.Dial(testkit.Context(t), at)
	if err != nil {
		t.Fatal(err)
	}
	far := testkit.Within(t, links, "a link on another carrier")
	by := l.(*carried).by
	by.idle = time.Millisecond
	_ = l.Close()
	if err := testkit.Within(t, ended, "the end of an idle carrier"); err != nil {
		t.Error(err)
	}
	_ = far.Close()
	testkit.Eventually(t, "nothing is left of it", func() bool {
		w := near.made["ws"].(*webSocket)
		w.carriers.mu.Lock()
		defer w.carriers.mu.Unlock()
		return len(w.carriers.all) == 0
	})
}

// A carrier that says nothing any more is not waited for: another one takes its place.
func TestDeadCarrier(t *testing.T) {
	at, links, _ := listenOnly(t, "ws://127.0.0.1:0/sp", Config{})
	way, err := faultnet.Proxy(t.Context(), "127.0.0.1:0", Format(beneath(at)), faultnet.ProxyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer way.Close()
	through, err := Parse("ws://" + way.Addr() + "/sp")
	if err != nil {
		t.Fatal(err)
	}
	near := NewSet(Config{})
	defer near.Close()
	first, err := near.Dial(testkit.Context(t), through)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	defer testkit.Within(t, links, "a link").Close()
	w := near.made["ws"].(*webSocket)
	w.lately, w.taken = 0, testkit.Patience
	alive, err := near.Dial(testkit.Context(t), through)
	if err != nil || alive.(*carried).by != first.(*carried).by {
		t.Fatalf("a carrier that answers is not used: %v", err)
	}
	defer alive.Close()
	defer testkit.Within(t, links, "a link").Close()
	way.Conns()[0].BlackHole(true)
	w.taken = time.Second // also for a link on the other one, which a stall may cost it
	var second Link
	testkit.Eventually(t, "a link, in time", func() bool {
		second, err = near.Dial(testkit.Context(t), through)
		w.carriers.mu.Lock()
		defer w.carriers.mu.Unlock()
		if len(w.carriers.all) < 2 {
			t.Fatalf("no carrier takes the place of the dead one: %v", err)
		}
		return err == nil
	})
	defer second.Close()
	if second.(*carried).by == first.(*carried).by {
		t.Error("the dead carrier is used")
	}
	defer testkit.Within(t, links, "a link on another carrier").Close()
}

// A browser finds a page, and whoever wants something else is told so.
func TestPage(t *testing.T) {
	at, _, _ := listenOnly(t, "ws://127.0.0.1:0/sp", Config{})
	web := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	upgrade := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	withProtocol := upgrade.Clone()
	withProtocol.Set("Sec-WebSocket-Protocol", "chat, "+webProtocol)
	elsewhere := withProtocol.Clone()
	elsewhere.Set("Origin", "https://evil.example")
	for _, test := range []struct {
		method, path string
		header       http.Header
		code         int
		says         string
	}{
		{"GET", "/", nil, 200, "A node of sp is here"},
		{"GET", "/sp", nil, 200, "127.0.0.1"},
		{"GET", "/s%70", nil, 200, "/sp"},
		{"HEAD", "/", nil, 200, ""},
		{"POST", "/", nil, 405, ""},
		{"GET", "/other", nil, 404, "nothing here"},
		{"GET", "/", upgrade, 404, "no WebSocket"},
		{"GET", "/sp", upgrade, 400, webProtocol},
		{"GET", "/sp", elsewhere, 403, ""},
		{"GET", "/sp", withProtocol, 101, ""},
		{"GET", "/" + long(2*maxHead), nil, 0, ""},
	} {
		url := "http://" + authority(Address{Kind: at.Kind, Name: "127.0.0.1", Port: at.Port}) + test.path
		r, err := http.NewRequest(test.method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = test.header
		answer, err := web.Do(r)
		if err != nil {
			if test.code != 0 {
				t.Errorf("%s %.20s: %v", test.method, test.path, err)
			}
			continue
		}
		if answer.StatusCode != test.code {
			t.Errorf("%s %.20s: %s", test.method, test.path, answer.Status)
		}
		if test.code != 101 {
			if page, err := io.ReadAll(answer.Body); !strings.Contains(string(page), test.says) {
				t.Errorf("%s %s: %s, %v", test.method, test.path, page, err)
			}
		}
		_ = answer.Body.Close()
	}
}

// Strangers have their time, and bound what they can have kept.
func TestStrangers(t *testing.T) {
	const head = "GET /sp HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"Sec-WebSocket-Protocol: sp.1\r\n\r\n"
	for name, says := range map[string]string{
		"nothing":            "",
		"half a request":     head[:100],
		"no link":            head,
		"half a frame":       head + "\x82",
		"a message of text":  head + "\x81\x80\x00\x00\x00\x00",
		"a frame unmasked":   head + "\x82\x01x",
		"a message over all": head + "\x82\xff\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00",
		"another yamux":      head + "\x82\x8c\x00\x00\x00\x00\x07abcdefghijk",
		"compressed":         head + "\xc2\x80\x00\x00\x00\x00",
		"more than its window": head + "\x82\x8c\x00\x00\x00\x00" +
			"\x00\x00\x00\x01\x00\x00\x00\x01\x7f\xff\xff\xff",
	} {
		t.Run(name, func(t *testing.T) {
			l := testkit.Listen(t)
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			testkit.Hurry(t, c)
			far, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			link, err := ToLink(far)
			if err != nil {
				t.Fatal(err)
			}
			testkit.Write(t, c, says)
			caller := &webCaller{Link: link, path: "/sp"}
			var tasks sync.WaitGroup
			defer tasks.Wait()
			ended := make(chan struct{})
			tasks.Go(func() {
				defer close(ended)
				run := func(f func()) bool { tasks.Go(f); return true }
				_ = caller.Carry(context.Background(), run, 50*time.Millisecond, func(l Link) { _ = l.Close() })
			})
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("he is waited for")
			}
			_ = c.Close()
			testkit.Within(t, ended, "the end")
		})
	}
}

// FuzzCarry has no request and no frame do harm.
func FuzzCarry(f *testing.F) {
	f.Add([]byte("GET /sp HTTP/1.1\r\nHost: h\r\n\r\n"), false)
	f.Add([]byte("\x82\x8c\x00\x00\x00\x00\x00\x01\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00"), true)
	f.Add([]byte("\x89\x80\x00\x00\x00\x00\x88\x82\x00\x00\x00\x00\x03\xe8"), true)
	const head = "GET /sp HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"Sec-WebSocket-Protocol: sp.1\r\n\r\n"
	f.Fuzz(func(t *testing.T, b []byte, upgraded bool) {
		text := string(b)
		if upgraded {
			text = head + text
		}
		var tasks sync.WaitGroup
		defer tasks.Wait()
		caller := &webCaller{Link: &said{in: strings.NewReader(text)}, path: "/sp"}
		run := func(f func()) bool { tasks.Go(f); return true }
		_ = caller.Carry(context.Background(), run, time.Minute, func(l Link) {
			tasks.Go(func() {
				_, _ = io.Copy(io.Discard, l)
				_ = l.Close()
			})
		})
	})
}

// said is a link on which somebody has said something, and ended it.
type said struct {
	net.Conn
	in *strings.Reader
}

func (s *said) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *said) Write(p []byte) (int, error)      { return len(p), nil }
func (s *said) CloseWrite() error                { return nil }
func (s *said) Close() error                     { return nil }
func (s *said) SetDeadline(time.Time) error      { return nil }
func (s *said) SetReadDeadline(time.Time) error  { return nil }
func (s *said) SetWriteDeadline(time.Time) error { return nil }
func (s *said) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *said) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

var _ mux.Carrier = (*said)(nil)
