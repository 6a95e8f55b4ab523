package route

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/testkit"
)

// TestBegunAnew checks that a session is begun anew on another network, once, and that nothing else
// ends what is being done.
func TestBegunAnew(t *testing.T) {
	type attempt func(ctx context.Context) error
	failed := errors.New("refused")
	var (
		hangs   attempt = func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
		refused attempt = func(context.Context) error { return failed }
		made    attempt = func(context.Context) error { return nil }
	)
	for name, c := range map[string]struct {
		attempts []attempt
		changes  int // of the network
		want     error
	}{
		"made":             {attempts: []attempt{made}},
		"refused":          {attempts: []attempt{refused}, want: failed},
		"another network":  {attempts: []attempt{hangs, made}, changes: 1},
		"refused there":    {attempts: []attempt{hangs, refused}, changes: 1, want: failed},
		"it never settles": {attempts: []attempt{hangs, hangs}, changes: 3, want: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &Node{life: newLife(false)}
				tries := 0
				ended := make(chan error, 1)
				go func() {
					_, err := n.onThisNetwork(func(ctx context.Context) (*channel.Session, error) {
						tries++
						return nil, c.attempts[tries-1](ctx)
					})
					ended <- err
				}()
				for range c.changes {
					synctest.Wait()
					n.network.change()
				}
				synctest.Wait()
				n.life.close()
				if err := <-ended; !errors.Is(err, c.want) || tries != len(c.attempts) {
					t.Errorf("%v after %d tries", err, tries)
				}
			})
		})
	}
}

// TestSessionThatHangsIsBegunAnew has the first link of a session lead to somebody who says
// nothing.
func TestSessionThatHangsIsBegunAnew(t *testing.T) {
	w := newWorld(t)
	far := w.node(t)
	l := testkit.Listen(t)
	held := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			held <- c
		}
		close(held)
	}()
	near := w.node(t)
	made := make(chan error, 1)
	go func() {
		_, err := near.Session(testkit.Context(t), Route{addressOf(l), secure(), svc(EchoName)})
		made <- err
	}()
	c := testkit.Within(t, held, "the first link")
	defer c.Close()
	serve(t, far, l)
	near.NetworkChanged()
	if err := testkit.Within(t, made, "the session"); err != nil {
		t.Error(err)
	}
}

// TestProbesOnAnotherNetwork checks that a session whose far end answers nothing ends, and that one
// whose far end does goes on.
func TestProbesOnAnotherNetwork(t *testing.T) {
	w := newWorld(t)
	_, at := w.listening(t)
	near := w.node(t)
	s, err := near.Session(testkit.Context(t), Route{at, secure(), svc(EchoName)})
	if err != nil {
		t.Fatal(err)
	}
	near.NetworkChanged()
	near.NetworkChanged()
	if _, err := s.Ping(testkit.Context(t)); err != nil {
		t.Error(err)
	}
	_ = near.Close()
	near.NetworkChanged() // of which nothing comes
}
