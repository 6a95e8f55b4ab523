package mux

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
)

// parks counts how often somebody has had a socket wait without him.
type parks struct {
	*netio.Socket
	times atomic.Int32
}

func (p *parks) Park(ready func()) bool {
	p.times.Add(1)
	return p.Socket.Park(ready)
}

// A mux in which nothing goes on is read by nobody. While there are links one goroutine reads, and
// none when there have been few for a while; what comes is read in any case, and so is the end.
func TestReadThen(t *testing.T) {
	l := testkit.Listen(t)
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	carrier := &parks{Socket: netio.Wrap(near).(*netio.Socket)}
	opener := side(t, carrier, NewOpener, Config{Reads: true})
	acceptor := side(t, netio.Wrap(far), NewAcceptor, Config{})
	ended := make(chan struct{})
	opener.ReadThen(sync.OnceFunc(func() { close(ended) })) // and this returns
	first, its := link(t, opener, acceptor)
	say := func(from, to *Link) {
		t.Helper()
		testkit.Write(t, from, "hello")
		testkit.Expect(t, to, "hello")
	}
	say(its, first)
	for range 3 {
		one, other := link(t, opener, acceptor)
		say(one, other)
		before := carrier.times.Load()
		for range 10 {
			say(other, one)
		}
		if n := carrier.times.Load() - before; n > 1 { // what came before may have been its last
			t.Errorf("parked %d times while there was a link", n)
		}
		before = carrier.times.Load()
		_, _ = one.CloseWrite(), other.CloseWrite()
		testkit.Eventually(t, "the link's end", func() bool {
			opener.mu.Lock()
			defer opener.mu.Unlock()
			return len(opener.links) == calmLinks
		})
		opener.becomeCalm() // as in a while
		testkit.Eventually(t, "rest", func() bool { return carrier.times.Load() > before })
		say(its, first)
	}
	_ = acceptor.Close()
	testkit.Within(t, ended, "the end")
}
