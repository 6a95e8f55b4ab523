package route

import (
	"context"
	"io"
	"testing"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// passage is nodes that pass links on for everybody, one behind the other, in front of one that has
// an echo.
type passage struct {
	w     world
	nodes []*Node
	ats   Route
	far   *Node
}

func newPassage(t *testing.T, nodes int) *passage {
	t.Helper()
	p := &passage{w: newWorld(t)}
	for range nodes {
		n, at := p.w.listening(t, anywhere)
		p.nodes, p.ats = append(p.nodes, n), append(p.ats, at)
	}
	far, at := p.w.listening(t)
	far.HandleBasics()
	p.far, p.ats = far, append(p.ats, at)
	return p
}

// hold opens a stream by some of the nodes, and returns it and its session.
func (p *passage) hold(t *testing.T, by Route) (*Stream, *channel.Session) {
	t.Helper()
	near := p.w.node(t)
	s, err := near.OpenAndAwait(testkit.Context(t), append(by, secure(), svc(EchoName)), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	testkit.Hurry(t, s)
	return s, s.Session()
}

// stop shuts a node down, and returns what ends that at once.
func stop(t *testing.T, n *Node) (cut func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = n.Shutdown(ctx)
	}()
	return func() {
		t.Helper()
		cancel()
		testkit.Within(t, over, "Shutdown")
	}
}

// Who passes links on of which it knows no session has the far end tell that it goes away, wherever
// on the way it is. What goes another way is not told, and nothing is cut.
func TestLeavingIsToldBehind(t *testing.T) {
	for name, leaves := range map[string]int{"first": 0, "second": 1, "third": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPassage(t, 3)
			through, session := p.hold(t, p.ats[:len(p.ats):len(p.ats)])
			_, direct := p.hold(t, Route{p.ats[3]})
			_, another := p.hold(t, Route{p.ats[(leaves+1)%3], p.ats[3]})
			cut := stop(t, p.nodes[leaves])
			defer cut()
			testkit.Within(t, session.GoingAway(), "being told")
			testkit.Write(t, through, "goes on")
			testkit.Expect(t, through, "goes on")
			_ = through.Close()
			testkit.Within(t, session.Done(), "the end of the session that nobody needs any more")
			for _, s := range []*channel.Session{direct, another} {
				if !usable(s) {
					t.Error("a session that goes another way is told")
				}
			}
		})
	}
}

// Nothing is kept of what has been passed on when that is over.
func TestLeavingForgets(t *testing.T) {
	p := newPassage(t, 1)
	s, session := p.hold(t, p.ats[:2:2])
	if n := len(p.nodes[0].passed.of(nil)); n != 1 {
		t.Fatalf("%d places", n)
	}
	_ = s.Close()
	_ = session.Close()
	testkit.Eventually(t, "nothing is passed on", func() bool {
		return len(p.nodes[0].passed.of(nil)) == 0
	})
}

// Who does not know by which labels a session has come has it told nothing.
func TestLeavingOfStrangers(t *testing.T) {
	p := newPassage(t, 1)
	_, session := p.hold(t, p.ats[:2:2])
	_, direct := p.hold(t, Route{p.ats[1]})
	stranger := newWorld(t).node(t)
	label := stranger.labels.passing("somebody")
	for _, back := range []Route{nil, {label}, {label, stranger.labels.origin()}} {
		for _, onward := range []Route{{p.ats[1]}, {p.ats[0], p.ats[1]}} {
			link, err := stranger.DialLink(testkit.Context(t), onward[0])
			if err != nil {
				t.Fatal(err)
			}
			testkit.Hurry(t, link)
			b, err := wire.AppendMessage(nil, wire.Message{
				Onward: append(onward[1:], svc(LeavingName)), Return: back,
			})
			if err != nil {
				t.Fatal(err)
			}
			testkit.Write(t, link, string(b))
			answer, err := io.ReadAll(link)
			status, _, bad := wire.ParseStatus(answer)
			want := wire.OK
			if len(back) == 0 && len(onward) > 1 {
				want = wire.BadMessage // it would look like the other node's own
			}
			if err != nil || bad != nil || status.Code != want {
				t.Errorf("%v, %v, %v", status, err, bad)
			}
			_ = link.Close()
		}
	}
	for _, s := range []*channel.Session{session, direct} {
		if !usable(s) {
			t.Error("a stranger has a session told that the way to it goes away")
		}
	}
}

// Who comes to a node that drains, as those may who have lost their way, is told that it goes away
// once he asks for something new there: he would ask again and again.
func TestLeavingIsToldToWhoComesLate(t *testing.T) {
	p := newPassage(t, 0)
	p.hold(t, Route{p.ats[0]})
	cut := stop(t, p.far)
	defer cut()
	testkit.Eventually(t, "draining", p.far.IsDraining)
	near, to := p.w.node(t), Route{p.ats[0], secure(), svc(EchoName)}
	session, err := near.Session(testkit.Context(t), to)
	if err != nil {
		t.Fatal(err)
	}
	_, err = near.OpenAndAwait(testkit.Context(t), to, 0, nil)
	expectStatus(t, err, wire.GoingAway, 1, transport.Format(p.ats[0]))
	testkit.Within(t, session.GoingAway(), "being told")
}
