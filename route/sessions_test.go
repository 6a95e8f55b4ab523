package route

import (
	"sync/atomic"
	"testing"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// A session that ends while something is being opened in it, because nobody answers there any more,
// is no reason to fail: it is opened in the next one.
func TestSessionEndsWhileOpening(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	far.HandleBasics()
	var holds atomic.Bool // whoever makes a link
	held, let := make(chan struct{}, 1), make(chan struct{})
	near := w.node(t, func(c *Config) {
		c.Proxy = func(wire.Address) *transport.Proxy {
			if holds.Load() {
				select {
				case held <- struct{}{}:
				default:
				}
				<-let
			}
			return nil
		}
	})
	to := Route{at, secure(), svc(EchoName)}
	first, err := near.Session(testkit.Context(t), to)
	if err != nil {
		t.Fatal(err)
	}
	holds.Store(true)
	opened := make(chan netio.Conn)
	for range prewarmedLinks + 1 { // one of them needs a link that is not there
		go func() {
			s, err := near.openFlow(testkit.Context(t), to, segments(to), 1)
			if err != nil {
				t.Error(err)
			}
			opened <- s
		}()
	}
	<-held
	_ = first.Close()
	holds.Store(false)
	close(let)
	for range prewarmedLinks + 1 {
		if s := testkit.Within(t, opened, "a flow"); s != nil {
			_ = s.Close()
		}
	}
}
