package route

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/wire"
)

// troupe is processes that share the name x where a relay would lead to them: a node that leads to
// the process that is asked for, or to the first.
type troupe struct {
	world
	t   *testing.T
	at  wire.Address
	all []*player

	mu     sync.Mutex
	misled bool // the node leads to another process than the one that is asked for
}

// player is a process.
type player struct {
	node *Node
	at   wire.Address
	is   [InstanceSize]byte

	mu     sync.Mutex
	refuse wire.Code // what is asked of it, with this; 0: nothing
	asked  int
}

func (p *player) serve(_ context.Context, q *Request) error {
	p.mu.Lock()
	p.asked++
	refuse := p.refuse
	p.mu.Unlock()
	if refuse != 0 {
		return Refuse(refuse, "")
	}
	s := q.Accept()
	if err := s.Flush(); err != nil {
		return err
	}
	if _, err := io.Copy(s, s); err != nil {
		return err
	}
	return s.CloseWrite()
}

func (p *player) refuses(code wire.Code) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse, p.asked = code, 0
}

func (p *player) times() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func newTroupe(t *testing.T, n int) *troupe {
	t.Helper()
	c := &troupe{world: newWorld(t), t: t}
	for i := range n {
		p := &player{is: [InstanceSize]byte{byte(i + 1)}}
		p.node, p.at = c.listening(t)
		t.Cleanup(p.node.Claim(ForwardPrefix + "x"))
		t.Cleanup(p.node.Share(p.is))
		p.node.Handle("svc", p.serve)
		c.all = append(c.all, p)
	}
	var node *Node
	node, c.at = c.listening(t)
	node.Resolve(ForwardPrefix, true, func(context.Context, string) (Service, error) {
		return Service{Handler: c.lead(node)}, nil
	})
	return c
}

// lead leads a link on.
func (c *troupe) lead(node *Node) Handler {
	return func(ctx context.Context, q *Request) error {
		next, err := node.DialLink(ctx, c.who(q).at)
		if err != nil {
			return Refuse(wire.NoService, "")
		}
		return q.Forward(next)
	}
}

// who returns whom a request is led to.
func (c *troupe) who(q *Request) *player {
	c.mu.Lock()
	defer c.mu.Unlock()
	of, asked := q.TakeInstance()
	for i, p := range c.all {
		switch {
		case !asked || p.is != of:
		case c.misled:
			return c.all[(i+1)%len(c.all)]
		default:
			return p
		}
	}
	return c.all[0]
}

// to is the route to the name, and to one process if that is not nil.
func (c *troupe) to(p *player) Route {
	r := Route{c.at, Forward("x")}
	if p != nil {
		r = append(r, Instance(p.is))
	}
	return append(r, secure(), svc("svc"))
}

// paths runs a failover with a path to each process, and waits until all are up.
func (c *troupe) paths() *Failover {
	c.t.Helper()
	f := failover(c.t, c.node(c.t), c.to(c.all[0]))
	var all []Choice
	for _, p := range c.all {
		all = append(all, Choice{Route: c.to(p)})
	}
	f.SetPaths(all)
	for _, p := range c.all {
		testkit.Eventually(c.t, "its path is up", func() bool { return f.IsUp(c.to(p)) })
	}
	return f
}

// open opens a stream, and waits for its answer.
func (c *troupe) open(f *Failover) (*Stream, error) {
	c.t.Helper()
	s, err := f.OpenWith(testkit.Context(c.t), 0, nil)
	if err != nil {
		return nil, err
	}
	c.t.Cleanup(func() { _ = s.Close() })
	if err := s.Await(testkit.Context(c.t)); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// mustOpen is open, and returns which process the stream leads to.
func (c *troupe) mustOpen(f *Failover) (s *Stream, with string) {
	c.t.Helper()
	s, err := c.open(f)
	if err != nil {
		c.t.Fatal(err)
	}
	return s, s.Session().FarInstance()
}

// Streams are spread over the processes that share a name, by the fewest that are open.
func TestStreamsAreSpread(t *testing.T) {
	c := newTroupe(t, 3)
	f := c.paths()
	open := make(map[string][]*Stream)
	for range 9 {
		s, with := c.mustOpen(f)
		open[with] = append(open[with], s)
	}
	for _, p := range c.all {
		if n := len(open[sharer(c.to(p))]); n != 3 {
			t.Errorf("%d of 9 are with one of three", n)
		}
	}
	fewer := sharer(c.to(c.all[1]))
	for _, s := range open[fewer] {
		_ = s.Close()
		_ = s.Reset() // counts once
	}
	for range 3 {
		if _, with := c.mustOpen(f); with != fewer {
			t.Errorf("it is with %s, which has more", with)
		}
	}
}

// A stream that is refused where the service is not reached is opened with another process, which
// has what the application has said; the one that has refused it is not asked again at once. If all
// refuse, the refusal is what the application learns.
func TestRefusedStreamIsOpenedElsewhere(t *testing.T) {
	t.Parallel()
	for _, code := range []wire.Code{wire.Refused, wire.Unreachable, wire.Busy} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			openedElsewhere(t, code)
		})
	}
}

func openedElsewhere(t *testing.T, code wire.Code) {
	t.Helper()
	c := newTroupe(t, 3)
	f := c.paths()
	c.all[0].refuses(code)
	c.all[1].refuses(code)
	began := time.Now()
	for range 3 {
		s, err := f.OpenWith(testkit.Context(t), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Write(t, s, "hello")
		testkit.Expect(t, s, "hello")
		_ = s.Close()
	}
	a, b := c.all[0].times(), c.all[1].times()
	if most := 1 + int(time.Since(began)/refusedPause); a > most || b > most {
		t.Errorf("%v: they were asked %d and %d times", code, a, b)
	}
	c.all[2].refuses(code)
	_, err := c.open(f)
	expectCode(t, err, code)
	c.all[1].refuses(0)
	testkit.Eventually(t, "one that is well again has a stream", func() bool {
		s, err := c.open(f)
		return err == nil && s.Session().FarInstance() == sharer(c.to(c.all[1]))
	})
}

func expectCode(t *testing.T, err error, code wire.Code) {
	t.Helper()
	var status *StatusError
	if !errors.As(err, &status) || status.Code != code || status.Hearsay {
		t.Errorf("%v, want %v", err, code)
	}
}

// Of which it is said that it is not well, it is taken if no other is there, and then says so
// itself.
func TestSickPath(t *testing.T) {
	c := newTroupe(t, 2)
	f := c.paths()
	say := func(sick ...bool) {
		var all []Choice
		for i, p := range c.all {
			all = append(all, Choice{Route: c.to(p), Sick: sick[i]})
		}
		f.SetPaths(all)
	}
	say(true, false)
	for range 3 {
		if _, with := c.mustOpen(f); with != sharer(c.to(c.all[1])) {
			t.Error("it is with the one that is not well")
		}
	}
	say(true, true)
	if _, with := c.mustOpen(f); with != sharer(c.to(c.all[0])) {
		t.Error("it is with the one that has more")
	}
}

// Better paths are taken before others, however many streams they have, and however sick the others
// are; the same process is had by the first path to it.
func TestRankOfPaths(t *testing.T) {
	c := newTroupe(t, 3)
	f := c.paths()
	f.SetPaths([]Choice{
		{Route: c.to(c.all[2]), Rank: 1}, {Route: c.to(c.all[0])}, {Route: c.to(c.all[1])},
	})
	count := make(map[string]int)
	for range 6 {
		_, with := c.mustOpen(f)
		count[with]++
	}
	if count[sharer(c.to(c.all[0]))] != 3 || count[sharer(c.to(c.all[1]))] != 3 {
		t.Errorf("%v", count)
	}
	f.SetPaths([]Choice{
		{Route: c.to(c.all[2]), Rank: 1},
		{Route: c.to(c.all[0]), Sick: true},
		{Route: c.to(c.all[1]), Sick: true},
	})
	if _, with := c.mustOpen(f); with != sharer(c.to(c.all[2])) {
		t.Error("it is with one that is not well")
	}
}

// A process that is gone is done without: a stream that it has not answered is opened with another
// one, if nothing has been said in it, and no new one is opened with it.
func TestGoneProcess(t *testing.T) {
	c := newTroupe(t, 2)
	f := c.paths()
	_ = c.all[0].node.Close()
	for range 4 {
		if _, with := c.mustOpen(f); with != sharer(c.to(c.all[1])) {
			t.Error("it is with the one that is gone")
		}
	}
}

// Whoever leads to another process than the one that is asked for is found out, and nothing is said
// to it.
func TestMisled(t *testing.T) {
	c := newTroupe(t, 2)
	c.mu.Lock()
	c.misled = true
	c.mu.Unlock()
	n := c.node(t)
	_, err := n.Session(testkit.Context(t), c.to(c.all[0]))
	if err == nil || err.Error() != errMisled.Error() {
		t.Errorf("got %v", err)
	}
	if _, err := n.Session(testkit.Context(t), c.to(nil)); err != nil {
		t.Errorf("asked for nobody: %v", err)
	}
	c.mu.Lock()
	c.misled = false
	c.mu.Unlock()
	s, err := n.Session(testkit.Context(t), c.to(c.all[0]))
	if err != nil || s.FarInstance() != sharer(c.to(c.all[0])) {
		t.Errorf("got %v", err)
	}
}

// All links of a session lead to the process that the first has led to, and those of one that could
// not be had anywhere say that it is gone.
func TestSessionIsWithOneProcess(t *testing.T) {
	c := newTroupe(t, 2)
	n := c.node(t, func(config *Config) { config.Channel.Survive = time.Minute })
	if _, err := n.Session(testkit.Context(t), c.to(nil)); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.all[0], c.all[1] = c.all[1], c.all[0] // who asks for nobody is led to the other one
	c.mu.Unlock()
	for range 5 {
		if got, err := ask(t, n, c.to(nil), "hello"); got != "hello" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if asked := c.all[1].times(); asked < 5 || c.all[0].times() > 0 {
		t.Errorf("it was asked %d times", asked)
	}
	_ = c.all[1].node.Close()
	testkit.Eventually(t, "it is gone", func() bool {
		_, err := n.Session(testkit.Context(t), c.to(c.all[1]))
		return errors.Is(err, channel.ErrProcessGone)
	})
}

// That nobody has a name says nothing of a process, be it told with the code that says so of one: a
// relay that has just begun knows nobody.
func TestUnknownNameIsNoProcess(t *testing.T) {
	c := newTroupe(t, 1)
	r := c.to(c.all[0])
	w := &sessionWay{r: r, segs: segments(r)}
	w.k = len(w.segs) - 2
	for err, want := range map[error]bool{
		Refuse(wire.NoService, "that process of the outlet x has left"): true,
		RefuseMissing(ForwardPrefix + "x"):                              false,
		Refuse(wire.Unreachable, "not here"):                            false,
	} {
		if got := errors.Is(w.gone(err), channel.ErrProcessGone); got != want {
			t.Errorf("%v: gone %v, want %v", err, got, want)
		}
	}
}

// Only other paths to the same process are ways to go on.
func TestWaysToOneProcess(t *testing.T) {
	c := newTroupe(t, 3)
	one, two := c.to(c.all[0]), c.to(c.all[1])
	plain := c.to(nil)
	beside := append(Route{nowhere(t)}, one[1:]...)
	b := newBesides()
	b.set(&Failover{}, []Route{one, two, plain, beside})
	if got := b.of(one, lastSessionKey(one)); len(got) != 1 || Format(got[0]) != Format(beside) {
		t.Errorf("%v", got)
	}
	if got := b.of(plain, lastSessionKey(plain)); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got := b.of(one, lastSessionKey(one), lastSessionKey(plain)); len(got) != 1 {
		t.Errorf("%v", got)
	}
}
