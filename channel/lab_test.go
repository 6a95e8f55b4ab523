package channel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/noise"
)

// lab is two endpoints whose links are pipes in process. It is made inside a synctest bubble where
// time matters.
//
//	initiator ── link 0: control ──▶ responder
//	          ── link 1, 2, …: flows ──▶
type lab struct {
	t                    testing.TB
	initiator, responder *Endpoint
	handle               Handler
	accept               func(string) error
	plan                 func(link int) faultnet.Plan // nil: clean links
	tap                  func(link int, d faultnet.Direction, p []byte)
	relay                func(initiator *faultnet.Conn) // has dialed links; nil: the responder has
	watching             func(server Conn) Conn         // makes what can be parked; nil: it cannot

	mu     sync.Mutex
	links  []*faultnet.Link
	dialed int
	served []error
	tasks  sync.WaitGroup
}

// quickSuite is one whose handshake is cheap.
func quickSuite(t testing.TB) noise.Suite {
	t.Helper()
	return suiteNamed(t, "Noise_XX_25519_AESGCM_SHA256")
}

func suiteNamed(t testing.TB, name string) noise.Suite {
	t.Helper()
	s, err := noise.ParseSuite(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// unhurried lets a handshake take as long as it may on a busy machine. In a bubble that is no time.
func unhurried(a, b *Config) {
	a.HandshakeTimeout, b.HandshakeTimeout = testkit.Patience, testkit.Patience
}

// newLab returns a lab of one identity at both ends, whose configs change may change.
func newLab(t testing.TB, change func(a, b *Config)) *lab {
	t.Helper()
	id := testkit.NewIdentity(t)
	a := Config{Identity: id, Trust: testkit.Trusting(t, id), Suites: []noise.Suite{quickSuite(t)}}
	b := a
	if change != nil {
		change(&a, &b)
	}
	l := &lab{t: t, handle: echo, accept: anyName}
	var err error
	if l.initiator, err = New(a); err != nil {
		t.Fatal(err)
	}
	if l.responder, err = New(b); err != nil {
		t.Fatal(err)
	}
	return l
}

// inBubble runs f with a lab in a bubble.
func inBubble(t *testing.T, change func(a, b *Config), f func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, change)
		defer l.close()
		f(t, l)
	})
}

func (l *lab) close() {
	_ = l.initiator.Close()
	_ = l.responder.Close()
	l.mu.Lock()
	links := l.links
	l.mu.Unlock()
	for _, k := range links {
		_ = k.Close()
	}
	l.tasks.Wait()
}

// pipe makes the next link.
func (l *lab) pipe() (client, server *faultnet.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.dialed
	l.dialed++
	if l.plan == nil && l.tap == nil {
		return faultnet.Pipe()
	}
	cfg := faultnet.Config{Split: split}
	if l.plan != nil {
		cfg.Plan = l.plan(n)
	}
	if tap := l.tap; tap != nil {
		cfg.Tap = func(d faultnet.Direction, p []byte) { tap(n, d, p) }
	}
	client, server, link := faultnet.FaultyPipe(cfg)
	l.links = append(l.links, link)
	return client, server
}

func (l *lab) lastLink() *faultnet.Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[len(l.links)-1]
}

// made is how many links have been made.
func (l *lab) made() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.links)
}

// linksFrom returns the links that have been made, but for the first n.
func (l *lab) linksFrom(n int) []*faultnet.Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.links[n:])
}

func (l *lab) dial(context.Context) (Conn, error) {
	client, server := l.pipe()
	if l.relay != nil {
		l.relay(server)
	} else {
		l.serve(server)
	}
	return client, nil
}

// serve answers as the responder on a link.
func (l *lab) serve(server Conn) {
	l.tasks.Go(func() {
		err := l.serveToEnd(server)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.served = append(l.served, err)
	})
}

// serveToEnd is serve, and waits for the link's end.
func (l *lab) serveToEnd(server Conn) error {
	handle := func(ctx context.Context, f *Flow) { l.handle(ctx, f) }
	if l.watching != nil {
		ended := make(chan error, 1)
		l.responder.ServeThen(context.Background(), l.watching(server), l.accept, func() {},
			func(ctx context.Context, f *Flow, _ func()) bool {
				handle(ctx, f)
				return true
			}, func(err error) { ended <- err })
		return <-ended
	}
	return l.responder.Serve(context.Background(), server, l.accept, func() {}, handle)
}

// handshake returns one side of a handshake that has not begun. The suite is the quick one.
func (e *Endpoint) handshake(t testing.TB, role identity.Role) *handshake {
	t.Helper()
	h, err := newHandshake(&e.config, e.static, role, trust.As{}, quickSuite(t), sessionID{})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// sessionBy makes a session whose links dial makes.
func (l *lab) sessionBy(dial func(context.Context) (Conn, error)) *Session {
	l.t.Helper()
	s, err := l.initiator.Initiate(context.Background(), "", trust.As{Role: trust.Node}, dial)
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// only is a dial that gives c.
func only(c Conn) func(context.Context) (Conn, error) {
	return func(context.Context) (Conn, error) { return c, nil }
}

// ended returns how the links that have been served to their end did so, in the order in which they
// did.
func (l *lab) ended() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.served)
}

func (l *lab) session() *Session {
	l.t.Helper()
	return l.sessionBy(l.dial)
}

func (l *lab) open(s *Session) *Flow {
	l.t.Helper()
	f, err := s.Open(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	return f
}

// accepted has flows come on the channel that it returns, each of which is kept until the test is
// done with it.
func (l *lab) accepted() chan *acceptedFlow { return handOver(&l.handle) }

// handOver is lab.accepted for any handler.
func handOver(handle *Handler) chan *acceptedFlow {
	flows := make(chan *acceptedFlow, 2000)
	*handle = func(_ context.Context, f *Flow) {
		a := &acceptedFlow{Flow: f, done: make(chan struct{})}
		flows <- a
		<-a.done
	}
	return flows
}

type acceptedFlow struct {
	*Flow
	done chan struct{}
}

func (a *acceptedFlow) release() { close(a.done) }

// both opens a flow, says hello on it, and returns both of its ends.
func (l *lab) both(s *Session, flows chan *acceptedFlow) (*Flow, *acceptedFlow) {
	l.t.Helper()
	f := l.open(s)
	if _, err := f.Write(nil); err != nil {
		l.t.Fatal(err)
	}
	return f, <-flows
}

// linkOf returns the link that f is on.
func linkOf(f *Flow) *link { return f.carrier().(*link) }

// greeted opens a flow of s, to a far end that echoes, that has answered.
func (l *lab) greeted(s *Session) *Flow {
	l.t.Helper()
	f := l.open(s)
	write(l.t, f, "hello")
	expect(l.t, f, "hello")
	return f
}

// split finds the messages of a link: the hello, and then frames or records.
func split(d faultnet.Direction) faultnet.Splitter {
	records := faultnet.Frames(2, 0)
	if d == faultnet.ServerToClient {
		return records
	}
	hello := func(b []byte) int {
		switch {
		case len(b) < 2:
			return 0
		case b[0] == helloHandshake && len(b) >= 2+int(b[1]):
			return 2 + int(b[1])
		case b[0] == helloFlow && len(b) >= flowHelloSize:
			return flowHelloSize
		}
		return 0
	}
	return faultnet.InTurn(hello, records)
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

// wantNoEOF fails unless err is an error that nobody takes for an end of data.
func wantNoEOF(t testing.TB, err error) {
	t.Helper()
	if err == nil || errors.Is(err, io.EOF) {
		t.Errorf("got %v, want an error that is not io.EOF", err)
	}
}

func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Errorf("read %q, %v, want %q", got[:n], err, want)
	}
}

func expectEnd(t testing.TB, r io.Reader) {
	t.Helper()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read %d bytes, %v, want the end", n, err)
	}
}

func write(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Error(err)
	}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

// togglePolicy is a Trust that can be told what to say.
type togglePolicy struct {
	mu      sync.Mutex
	err     error
	until   time.Time
	changed chan struct{}
}

func newTogglePolicy() *togglePolicy { return &togglePolicy{changed: make(chan struct{})} }

func (p *togglePolicy) Check(*identity.Peer, trust.As, time.Time) (trust.Decision, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return trust.Decision{Until: p.until}, p.err
}

func (p *togglePolicy) MightTrust(identity.Claim, trust.As, time.Time) error { return nil }

func (p *togglePolicy) Accept(
	peer *identity.Peer,
	as trust.As,
	now time.Time,
) (trust.Decision, error) {
	return p.Check(peer, as, now)
}

func (p *togglePolicy) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *togglePolicy) set(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	close(p.changed)
	p.changed = make(chan struct{})
}

// transfer sends data through a flow to echo and checks what comes back: it is what was sent, or
// the beginning of it and an error. It returns that error.
func transfer(t testing.TB, f *Flow, data []byte, piece int) error {
	t.Helper()
	_ = f.SetReadDeadline(time.Now().Add(time.Minute))
	sent := make(chan bool)
	go func() {
		whole := true
		for rest := data; len(rest) > 0 && whole; {
			n, err := f.Write(rest[:min(piece, len(rest))])
			rest, whole = rest[n:], err == nil
		}
		sent <- whole && f.CloseWrite() == nil
	}()
	got, err := io.ReadAll(f)
	if err != nil {
		_ = f.Close() // the writer may wait for a link on which nothing moves
	}
	ended := <-sent
	switch {
	case !bytes.HasPrefix(data, got):
		t.Errorf("wrong bytes came back")
	case err == nil && (len(got) != len(data) || !ended):
		t.Errorf("clean end after %d of %d bytes", len(got), len(data))
	}
	_ = f.Close()
	return err
}
