package route

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/transport"
)

// directPair is two nodes with a session, and a connection between them that is none of its links.
type directPair struct {
	near, far    *Node
	here, there  *channel.Session
	mine, theirs net.Conn
}

func newDirectPair(t *testing.T) *directPair {
	t.Helper()
	w := newWorld(t)
	far, at := w.listening(t)
	p := &directPair{near: w.node(t), far: far}
	var err error
	if p.here, err = p.near.Session(testkit.Context(t), Route{at, secure()}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the session is there", func() bool {
		return len(far.endpoint.Sessions()) == 1
	})
	p.there = far.endpoint.Sessions()[0]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if p.mine, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if p.theirs, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = p.mine.Close(), p.theirs.Close() })
	return p
}

// endsInOrder reads to the end of a connection, which is no reset.
func endsInOrder(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(testkit.Patience))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Error(err)
	}
	_ = c.Close()
}

// TestDirectEnds has a direct connection end for all the reasons that there are: in order, so that
// what has been said on it arrives, and only when the session is over.
func TestDirectEnds(t *testing.T) {
	for name, end := range map[string]func(*directPair) *Node{
		"the session":              func(p *directPair) *Node { _ = p.here.Close(); return nil },
		"the initiator leaves":     func(p *directPair) *Node { return p.near },
		"the responder leaves":     func(p *directPair) *Node { return p.far },
		"the initiator closes all": func(p *directPair) *Node { go p.near.Close(); return nil },
	} {
		for _, responds := range []bool{true, false} {
			who := map[bool]string{true: ", at the responder", false: ", at the initiator"}[responds]
			t.Run(name+who, func(t *testing.T) {
				t.Parallel()
				p := newDirectPair(t)
				other := p.mine
				if responds {
					p.far.directs.answers.accept(p.there, p.theirs)
				} else {
					made, err := transport.NewDirect(p.mine, p.near.Go, transport.NewDirectBudget())
					if err != nil {
						t.Fatal(err)
					}
					w := &directWay{node: p.near, session: p.here, changed: make(chan struct{}, 1)}
					p.near.Go(func() { w.hold(made) })
					other = p.theirs
				}
				if leaving := end(p); leaving != nil {
					ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
					defer cancel()
					go leaving.Shutdown(ctx)
				}
				endsInOrder(t, other)
			})
		}
	}
}

// TestDirectUnused has a direct way be closed when nobody uses it, and would miss it.
func TestDirectUnused(t *testing.T) {
	for _, c := range []struct {
		idle   time.Duration
		missed bool
		want   bool
	}{
		{directIdle, false, true},
		{directIdle, true, false},
		{directIdle - 1, false, false},
	} {
		if got := isDirectUnused(c.idle, c.missed); got != c.want {
			t.Errorf("idle for %v, missed %v: unused %v", c.idle, c.missed, got)
		}
	}
}
