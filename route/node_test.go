package route

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

func TestServiceThroughAChannel(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	far.HandleBasics()
	near := w.node(t)
	for range 3 {
		expectEcho(t, near, Route{at, secure(), svc(EchoName)})
	}
	got, err := ask(t, near, Route{at, secure(), svc(UppercaseName)}, "aÿz{`AZ0")
	if got != "AÿZ{`AZ0" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// errSecret must not leave the node.
var errSecret = errors.New("the database's password is hunter2")

func TestAnswers(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t,
		func(c *Config) { c.Forward = func(a wire.Address) bool { return a.Port != 1 } })
	far.HandleBasics()
	far.HandleOpen("public",
		func(_ context.Context, q *Request) error { return reply(q, func([]byte) {}) })
	far.Handle("refusing",
		func(context.Context, *Request) error { return Refuse(wire.Busy, "come back later") })
	far.Handle("failing", func(context.Context, *Request) error { return errSecret })
	far.Handle("withdrawn", func(context.Context, *Request) error { return nil })
	far.Withdraw("withdrawn")
	dead := nowhere(t)
	elsewhere := dead
	elsewhere.Port = 1
	where := transport.Format(at)
	near := w.node(t)
	const absent = "no service named nothing"
	forbidden := "forwarding to " + transport.Format(elsewhere) + " is not allowed here"
	for name, test := range map[string]struct {
		rest   Route
		code   wire.Code
		reason string
	}{
		"no such service": {Route{secure(), svc("nothing")}, wire.NoService, absent},
		"withdrawn": {
			Route{secure(), svc("withdrawn")}, wire.NoService, "no service named withdrawn",
		},
		"secure without channel": {Route{svc(EchoName)}, wire.NoService, ""},
		"absent without channel": {Route{svc("nothing")}, wire.NoService, absent},
		"refusal":                {Route{secure(), svc("refusing")}, wire.Busy, "come back later"},
		"failure":                {Route{secure(), svc("failing")}, wire.Unreachable, ""},
		"no channel of that name": {
			Route{{Kind: wire.Secure, Name: "other"}, svc(EchoName)},
			wire.NoService, "no secure channel named other",
		},
		"not allowed":              {Route{elsewhere, svc("public")}, wire.NotAllowed, "not allowed"},
		"allowed, without channel": {Route{dead, svc("public")}, wire.NotAllowed, "not allowed"},
		"not allowed, in channel": {
			Route{secure(), elsewhere, svc("public")}, wire.NotAllowed, forbidden,
		},
		"unreachable": {
			Route{secure(), dead, svc("public")}, wire.Unreachable, "cannot reach " + transport.Format(dead),
		},
		"hop, then nothing": {
			Route{svc(HopName), svc(HopName), svc("nothing")}, wire.NoService, absent,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ask(t, near, append(Route{at}, test.rest...), "hello")
			expectStatus(t, err, test.code, 1, where)
			var status *StatusError
			if errors.As(err, &status) && test.reason != "" &&
				cmp.Or(status.Reason, status.Code.String()) != test.reason {
				t.Errorf("reason %q, want %q", status.Reason, test.reason)
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("an internal error went out: %v", err)
			}
		})
	}
	for name, rest := range map[string]Route{
		"open":                    {svc("public")},
		"open, through a hop":     {svc(HopName), svc("public")},
		"open, through a channel": {secure(), svc("public")},
		"echo, hops in a channel": {secure(), svc(HopName), svc(HopName), svc(EchoName)},
	} {
		t.Run(name, func(t *testing.T) { expectEcho(t, near, append(Route{at}, rest...)) })
	}
}

// Whether a service that wants a channel exists is nobody's business who has none.
func TestOutsidersLearnNoNames(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	far.Handle("a", func(context.Context, *Request) error { return nil })
	near := w.node(t)
	_, there := ask(t, near, Route{at, svc("a")}, "")
	_, absent := ask(t, near, Route{at, svc("b")}, "")
	if there == nil || absent == nil ||
		strings.ReplaceAll(there.Error(), "named a", "named b") != absent.Error() {
		t.Errorf("one that is there: %v; one that is not: %v", there, absent)
	}
}

func TestProbe(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	called := make(chan struct{}, 1)
	far.Handle("svc", func(context.Context, *Request) error { called <- struct{}{}; return nil })
	near := w.node(t)
	probe := func(r Route) error {
		return testkit.Patiently(t, func() error { return near.Probe(testkit.Context(t), r) })
	}
	for range 2 {
		if err := probe(Route{at, secure(), svc("svc")}); err != nil {
			t.Error(err)
		}
		if err := probe(Route{at}); err != nil {
			t.Errorf("the node itself: %v", err)
		}
	}
	expectStatus(t, near.Probe(testkit.Context(t), Route{at, secure(), svc("other")}),
		wire.NoService, 1, transport.Format(at))
	if len(called) > 0 {
		t.Error("a probe opened the service")
	}
}

func TestRoutesThatAreNotDialed(t *testing.T) {
	n := newWorld(t).node(t)
	a := wire.Address{Kind: wire.DNS, Name: "a.invalid", Port: 1}
	for name, test := range map[string]struct {
		route Route
		want  error
	}{
		"empty":   {nil, ErrNotDialable},
		"service": {Route{svc("x")}, ErrNotDialable},
		"loop":    {Route{a, a}, ErrLoop},
		"long":    {make(Route, wire.MaxRoute+1), ErrTooFar},
	} {
		if _, err := n.Open(testkit.Context(t), test.route, 0); !errors.Is(err, test.want) {
			t.Errorf("Open %s: %v", name, err)
		}
		if _, err := n.Session(testkit.Context(t), test.route); !errors.Is(err, test.want) {
			t.Errorf("Session %s: %v", name, err)
		}
	}
	if _, err := n.Session(testkit.Context(t), Route{a, svc("x")}); err == nil {
		t.Error("a session without a secure step")
	}
}

func TestUnreachableFirstHop(t *testing.T) {
	w := newWorld(t)
	dead := nowhere(t)
	for _, r := range []Route{{dead, svc("x")}, {dead, secure(), svc("x")}} {
		_, err := w.node(t).Open(testkit.Context(t), r, 0)
		var dial *DialError
		if !errors.As(err, &dial) || dial.Where != transport.Format(dead) ||
			!strings.Contains(err.Error(), "cannot reach "+transport.Format(dead)) {
			t.Errorf("%s: got %v", Format(r), err)
		}
	}
}

func TestUntrusted(t *testing.T) {
	far, at := newWorld(t).listening(t)
	called := make(chan struct{}, 1)
	far.Handle("svc", func(context.Context, *Request) error { called <- struct{}{}; return nil })
	_, err := newWorld(t).node(t).Open(testkit.Context(t), Route{at, secure(), svc("svc")}, 0)
	if !errors.Is(err, trust.ErrNotTrusted) {
		t.Errorf("got %v", err)
	}
	if len(called) > 0 {
		t.Error("the service was opened")
	}
}

// chainOf returns n forwarding nodes that allow everything.
func (w world) chainOf(t testing.TB, n int) (nodes []*Node, at Route) {
	t.Helper()
	for range n {
		node, a := w.listening(t, anywhere)
		nodes, at = append(nodes, node), append(at, a)
	}
	return nodes, at
}

func TestChain(t *testing.T) {
	w := newWorld(t)
	nodes, at := w.chainOf(t, 4)
	far := nodes[3]
	far.HandleBasics()
	near := w.node(t)
	expectEcho(t, near, append(at[:4:4], secure(), svc(EchoName)))

	data := bytes.Repeat([]byte("0123456789"), 100_000)
	all, err := ask(t, near, append(at[:4:4], secure(), svc(EchoName)), string(data))
	if all != string(data) || err != nil {
		t.Errorf("%d bytes came back of %d, or others: %v", len(all), len(data), err)
	}

	dead := nowhere(t)
	for k := 1; k <= 4; k++ {
		_, err := ask(t, near, append(at[:k:k], svc("nothing")), "")
		expectStatus(t, err, wire.NoService, k, transport.Format(at[k-1]))
		_, err = ask(t, near, append(at[:k:k], dead, secure(), svc(EchoName)), "")
		expectStatus(t, err, wire.Unreachable, k, transport.Format(at[k-1]))
	}
	_, err = ask(t, near, append(at[:4:4], secure(), svc("nothing")), "")
	expectStatus(t, err, wire.NoService, 4, transport.Format(at[3]))
}

// The last two of a chain's nodes have channels of their own inside the first one's.
func TestChannelsInsideChannels(t *testing.T) {
	w := newWorld(t)
	nodes, at := w.chainOf(t, 3)
	for _, n := range nodes {
		n.HandleBasics()
	}
	r := Route{at[0], secure(), at[1], secure(), at[2], secure(), svc(EchoName)}
	near := w.node(t)
	for range 3 {
		expectEcho(t, near, r)
	}
	if n := len(near.sessions.by); n != 3 {
		t.Errorf("%d sessions, want 3", n)
	}
	r[len(r)-1] = svc("nothing")
	_, err := ask(t, near, r, "")
	expectStatus(t, err, wire.NoService, 3, transport.Format(at[2]))
	r[4] = nowhere(t)
	_, err = ask(t, near, r, "")
	expectStatus(t, err, wire.Unreachable, 2, transport.Format(at[1]))
}

// A route that the asker cannot see is a loop: two names for one node.
func TestLoopIsRefusedByTheNode(t *testing.T) {
	w := newWorld(t)
	n, at := w.listening(t, anywhere)
	again := listen(t, n)
	_, err := ask(t, w.node(t), Route{at, again, svc("x")}, "")
	expectStatus(t, err, wire.Loop, 2, transport.Format(again))
}

func TestHalfCloseThroughForwards(t *testing.T) {
	w := newWorld(t)
	nodes, at := w.chainOf(t, 2)
	ended := make(chan error, 1)
	nodes[1].HandleOpen("svc", func(_ context.Context, q *Request) error {
		s := q.Accept()
		if _, err := io.Copy(io.Discard, s); err != nil {
			ended <- err
			return nil
		}
		_, err := s.Write(make([]byte, 1<<20)) // only now
		ended <- errors.Join(err, s.CloseWrite())
		return nil
	})
	got, err := ask(t, w.node(t), append(at, svc("svc")), "question")
	if len(got) != 1<<20 || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := testkit.Within(t, ended, "the service"); err != nil {
		t.Error(err)
	}
}

// An asker that has sent much before it is refused gets to read why, not a bare reset.
func TestPipeliningAskerReadsTheRefusal(t *testing.T) {
	w := newWorld(t)
	_, at := w.chainOf(t, 2)
	for name, r := range map[string]Route{
		"one hop":         {at[0], svc("nothing")},
		"two hops":        {at[0], at[1], svc("nothing")},
		"in a channel":    {at[0], secure(), svc("nothing")},
		"behind two hops": {at[0], at[1], secure(), svc("nothing")},
		"not dialed":      {at[0], nowhere(t), svc("nothing")},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := w.node(t).Open(testkit.Context(t), r, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			_ = s.SetDeadline(time.Now().Add(testkit.Patience))
			_, _ = s.Write(make([]byte, 60<<10)) // may fail, if the refusal was fast
			_, err = s.Read(make([]byte, 1))
			var status *StatusError
			if !errors.As(err, &status) {
				t.Errorf("got %v, want a status", err)
			}
			if _, again := s.Read(make([]byte, 1)); again != err {
				t.Errorf("then %v, want the same", again)
			}
		})
	}
}

func opening(t testing.TB, m wire.Message) []byte {
	t.Helper()
	b, err := wire.AppendMessage(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// converse sends bytes to a node over an in-process conn, ends the direction, and returns what
// comes back and how that ended.
func converse(t testing.TB, n *Node, b []byte) (string, error) {
	t.Helper()
	near, far := faultnet.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.serveLink(far, nil, nil, nil)
	}()
	defer func() {
		_ = near.Close()
		testkit.Within(t, done, "serving")
	}()
	_ = near.SetDeadline(time.Now().Add(testkit.Patience))
	_, _ = near.Write(b)
	_ = near.CloseWrite()
	got, err := io.ReadAll(near)
	return string(got), err
}

// statusIn reads a status.
func statusIn(t testing.TB, got string) wire.Status {
	t.Helper()
	s, size, err := wire.ParseStatus([]byte(got))
	if err != nil || size == 0 || size != len(got) {
		t.Errorf("%q is no status: %v", got, err)
	}
	return s
}

func TestOpeningMessageCutAnywhere(t *testing.T) {
	n := newWorld(t).node(t)
	called := false
	n.HandleOpen("svc", func(_ context.Context, q *Request) error {
		called = true
		return Refuse(wire.Busy, "")
	})
	b := opening(t, wire.Message{
		Onward:  Route{svc("svc")},
		Return:  Route{{Kind: wire.Label, Name: "12345678"}},
		Payload: []byte("payload"),
	})
	if got, err := converse(t, n, nil); got != "" || err != nil {
		t.Errorf("nothing at all: got %q, %v", got, err)
	}
	for i := 1; i < len(b); i++ {
		got, err := converse(t, n, b[:i])
		if s := statusIn(t, got); s.Code != wire.BadMessage || err != nil {
			t.Errorf("the first %d bytes: got %v, %v", i, s, err)
		}
	}
	if called {
		t.Error("the service was called for a part of a message")
	}
	got, err := converse(t, n, b)
	if s := statusIn(t, got); s.Code != wire.Busy || s.Hop != 1 || err != nil || !called {
		t.Errorf("the whole message: got %v, %v", s, err)
	}
}

func TestBadOpeningMessages(t *testing.T) {
	n := newWorld(t).node(t)
	long := opening(t, wire.Message{})
	for name, test := range map[string]struct {
		bytes []byte
		want  wire.Code
	}{
		"HTTP":                 {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), wire.BadMessage},
		"another version":      {[]byte{wire.Version + 1, 0, 0, 2, 0, 0}, wire.BadMessage},
		"TLS":                  {[]byte{0x16, 3, 1, 0, 200, 1}, wire.BadMessage},
		"length over limit":    {[]byte{wire.Version, 0, 0xff, 0xff}, wire.TooLong},
		"too many addresses":   {[]byte{wire.Version, 0, 0, 2, wire.MaxRoute + 1, 0}, wire.TooLong},
		"unknown flags":        {append([]byte{wire.Version, 0x80}, long[2:]...), wire.BadMessage},
		"too short for routes": {[]byte{wire.Version, 0, 0, 1, 0}, wire.BadMessage},
	} {
		got, err := converse(t, n, test.bytes)
		if s := statusIn(t, got); s.Code != test.want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", name, s, err, test.want)
		}
	}
}

func TestSecureStepMustBeTheLast(t *testing.T) {
	n := newWorld(t).node(t)
	got, err := converse(t, n, opening(t, wire.Message{Onward: Route{secure(), svc("x")}}))
	if s := statusIn(t, got); s.Code != wire.BadMessage || err != nil {
		t.Errorf("got %v, %v", s, err)
	}
}

// FuzzServe sends anything to a node that has everything to lose: it must neither hang nor crash,
// and say nothing that is not a status.
func FuzzServe(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{wire.Version, 0, 0xff, 0xff})
	for _, r := range []Route{
		{},
		{svc(EchoName)},
		{svc("public")},
		{svc(HopName), svc("public")},
		{secure()},
		{{Kind: wire.DNS, Name: "a", Port: 1}},
	} {
		for _, flags := range []wire.Flags{0, wire.Probe, wire.Lazy} {
			back := Route{{Kind: wire.Label, Name: "12345678"}}
			b := opening(f, wire.Message{Flags: flags, Onward: r, Return: back})
			f.Add(append(b, "\x01data"...))
		}
	}
	n := newWorld(f).node(f)
	n.HandleBasics()
	n.HandleOpen("public",
		func(_ context.Context, q *Request) error { return reply(q, func([]byte) {}) })
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _ := converse(t, n, b)
		if got == "" {
			return
		}
		s, size, err := wire.ParseStatus([]byte(got))
		if err != nil || size == 0 {
			t.Fatalf("%q is answered with %q: %v", b, got, err)
		}
		if s.Code != wire.OK && size != len(got) {
			t.Errorf("behind a refusal comes %q", got[size:])
		}
	})
}

func TestManyOpensShareOneHandshake(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	var mu sync.Mutex
	sessions := map[*channel.Session]bool{}
	far.Handle("svc", func(_ context.Context, q *Request) error {
		mu.Lock()
		sessions[q.Session] = true
		mu.Unlock()
		return reply(q, func([]byte) {})
	})
	near := w.node(t)
	var asking sync.WaitGroup
	for range 10 {
		asking.Go(func() {
			got, err := ask(t, near, Route{at, secure(), svc("svc")}, "hello")
			if got != "hello" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	asking.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(sessions) != 1 {
		t.Errorf("%d sessions, want 1", len(sessions))
	}
}

// Who gives up waiting for a session leaves it to the others.
func TestOpenEndsWithItsContext(t *testing.T) {
	l := testkit.Listen(t) // takes links and says nothing
	n := newWorld(t).node(t)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := n.Open(ctx, Route{addressOf(l), secure(), svc("x")}, 0)
		got <- err
	}()
	c, err := l.Accept() // so it is waiting
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	if err := testkit.Within(t, got, "Open"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	far.HandleOpen("slow", func(_ context.Context, q *Request) error {
		close(asked)
		<-answer
		return reply(q, func([]byte) {})
	})
	s, err := w.node(t).Open(testkit.Context(t), Route{at, svc("slow")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { got <- s.Await(ctx) }()
	testkit.Within(t, asked, "asking")
	cancel()
	if err := testkit.Within(t, got, "Await"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(answer)
	if err := s.Await(testkit.Context(t)); err != nil {
		t.Errorf("a second Await: %v", err)
	}
	_ = s.SetDeadline(time.Now().Add(testkit.Patience))
	if _, err := s.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
		t.Errorf("the stream does not go on: %v", err)
	}
}

func TestStreamDeadlineBeforeTheStatus(t *testing.T) {
	l := testkit.Listen(t) // takes links and says nothing
	s, err := newWorld(t).node(t).Open(testkit.Context(t), Route{addressOf(l), svc("x")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.SetReadDeadline(time.Unix(1, 0))
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.SetReadDeadline(time.Now().Add(testkit.Patience))
	_, _ = c.Write(wire.AppendStatus(nil, wire.Status{Hop: 1}))
	_, _ = c.Write([]byte("x"))
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
		t.Errorf("after the deadline was lifted: %v", err)
	}
	_ = c.Close()
	_ = s.Close()
}

func TestStatusAndDataCutAnywhere(t *testing.T) {
	status := wire.AppendStatus(nil, wire.Status{Hop: 1, Reason: "fine"})
	b := append(status[:len(status):len(status)], "data"...)
	for i := range b {
		near, far := faultnet.Pipe()
		_ = near.SetDeadline(time.Now().Add(testkit.Patience))
		s := opened(near, new(answerer), []byte("opening"))
		if _, err := far.Write(b[:i]); err != nil {
			t.Fatal(err)
		}
		_ = far.CloseWrite()
		got, err := io.ReadAll(s)
		if i < len(status) {
			if !errors.Is(err, io.ErrUnexpectedEOF) || len(got) > 0 {
				t.Errorf("%d bytes: got %q, %v", i, got, err)
			}
		} else if err != nil || string(got) != string(b[len(status):i]) {
			t.Errorf("%d bytes: got %q, %v", i, got, err)
		}
	}
}

func TestShutdownDrains(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	inside := make(chan struct{}, 2)
	far.Handle("svc", func(_ context.Context, q *Request) error {
		inside <- struct{}{}
		return reply(q, func([]byte) {})
	})
	near := w.node(t)
	r := Route{at, secure(), svc("svc")}
	s, err := near.Open(testkit.Context(t), r, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(testkit.Patience))
	if err := s.Await(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	testkit.Within(t, inside, "asking")

	down := make(chan error, 1)
	go func() { down <- far.Shutdown(context.Background()) }()
	app, _ := faultnet.Pipe()
	testkit.Eventually(t, "refusing", func() bool {
		end, err := far.Begin(app)
		if err == nil {
			end()
		}
		return err != nil
	})
	second, err := w.node(t).Open(testkit.Context(t), r, 0)
	if err == nil {
		_ = second.SetDeadline(time.Now().Add(testkit.Patience))
		err = second.Await(testkit.Context(t))
		_ = second.Close()
	}
	expectStatus(t, err, wire.GoingAway, 1, transport.Format(at))

	if _, err := io.WriteString(s, "still served"); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s); string(got) != "still served" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if err := testkit.Within(t, down, "Shutdown"); err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	far.Handle("svc",
		func(_ context.Context, q *Request) error { return reply(q, func([]byte) {}) })
	s, err := w.node(t).Open(testkit.Context(t), Route{at, secure(), svc("svc")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Await(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	down := make(chan error, 1)
	go func() { down <- far.Shutdown(ctx) }()
	cancel()
	if err := testkit.Within(t, down, "Shutdown"); err != nil {
		t.Error(err)
	}
	_ = s.SetDeadline(time.Now().Add(testkit.Patience))
	if _, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF ||
		errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("what was cut is read as %v", err)
	}
}

// What Close cuts is no end at the other side, wherever the node is on the route.
func TestCloseOfAHopIsNoEnd(t *testing.T) {
	for closed, name := range []string{"the first hop", "the second hop", "the far end"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			nodes, at := w.chainOf(t, 3)
			served := make(chan error, 1)
			nodes[2].Handle("svc", func(_ context.Context, q *Request) error {
				s := q.Accept()
				_, err := s.Write([]byte("x"))
				if err == nil {
					_, err = io.Copy(io.Discard, s)
				}
				served <- err
				return nil
			})
			s, err := w.node(t).Open(testkit.Context(t), append(at, secure(), svc("svc")), 0)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			_ = s.SetDeadline(time.Now().Add(testkit.Patience))
			if _, err := s.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if err := nodes[closed].Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF ||
				errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the asker reads %v", err)
			}
			if err := testkit.Within(t, served, "the service"); err == nil {
				t.Error("the service reads an end")
			}
		})
	}
}

func TestStreamWithoutAnAnswer(t *testing.T) {
	l := testkit.Listen(t) // takes links and says nothing
	s, err := newWorld(t).node(t).Open(testkit.Context(t), Route{addressOf(l), svc("x")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.AnswerBy(time.Now().Add(time.Millisecond))
	for range 2 { // it stays so
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("got %v", err)
		}
	}
	if !errors.Is(s.Err(), ErrNoAnswer) {
		t.Errorf("the stream says that it ended with %v", s.Err())
	}
}

// A service that has nothing to say answers in time, and the time limit of the answer is none of
// what follows.
func TestLazyAnswer(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	proceed := make(chan struct{})
	far.HandleOpen("slow", func(_ context.Context, q *Request) error {
		s := q.Accept()
		s.FlushWithin(time.Millisecond)
		<-proceed
		_, err := s.Write([]byte("at last"))
		return err
	})
	s, err := w.node(t).Open(testkit.Context(t), Route{at, svc("slow")}, wire.Lazy)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.AnswerBy(time.Now().Add(testkit.Patience))
	if err := s.Await(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	close(proceed)
	if got, err := io.ReadAll(s); string(got) != "at last" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
