package route

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/wire"
)

// sourced is a link from somewhere else.
type sourced struct {
	netio.Conn
	from *net.TCPAddr
}

func (c sourced) RemoteAddr() net.Addr { return c.from }
func (c sourced) Reset() error         { return netio.Reset(c.Conn) }

// linkFrom returns a link from the nth of 65,536 sources.
func linkFrom(conn netio.Conn, n int) sourced {
	return sourced{conn, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 1234))}
}

func linkSource(n int) source { return sourceOf(linkFrom(nil, n).from) }

// crowded is openings of which each step takes some.
type crowded struct {
	*openings
	t   *testing.T
	now time.Time
}

func newCrowded(t *testing.T, most int) *crowded {
	return &crowded{newOpenings(most), t, time.Now()}
}

// take has links of the nth source come until there is no place, or there are enough, and returns how many got one.
func (c *crowded) take(n, enough int) (got int) {
	for ; got < enough; got++ {
		if _, _, err := c.admit(linkFrom(nil, n), c.now); err != nil {
			return got
		}
	}
	return got
}

// prove has somebody trusted have been at the nth source.
func (c *crowded) prove(n int) {
	c.proven.enter(linkSource(n))
	c.proven.leave(linkSource(n), c.now)
}

// strangers has each of ever more sources come with a link, until there is no place.
func (c *crowded) strangers() (got int) {
	for c.take(10_000+got, 1) == 1 {
		got++
	}
	return got
}

// Sources that take all they can leave places for one that has few.
func TestOpeningsOfFewSources(t *testing.T) {
	const most, sources = 256, 16
	c := newCrowded(t, most)
	for n := range sources {
		c.take(n, most)
		c.now = c.now.Add(openingGrace)
	}
	if n := c.common.taken.all; n != most-most/openingKept+(sources-1)*openingFew || c.leaving > 0 {
		t.Errorf("%d sources took %d places of %d, and %d links made room", sources, n, most, c.leaving)
	}
	if n := c.take(sources, most); n != openingFew {
		t.Errorf("another source has %d places, want %d", n, openingFew)
	}
}

// When all places are taken, by however many sources, the oldest link makes room; but not before it has had its time,
// and no more of them than may still be at work.
func TestOldestOpeningMakesRoom(t *testing.T) {
	for _, most := range []int{1, 2, 64} {
		c := newCrowded(t, most)
		if n := c.strangers(); n != most {
			t.Errorf("strangers took %d places of %d", n, most)
		}
		oldest := c.common.oldest.Front().Value.(*place)
		c.now = c.now.Add(openingGrace - 1)
		if c.take(1, 1) > 0 {
			t.Error("there is another place")
		}
		c.now = c.now.Add(1)
		l, displaced, err := c.admit(linkFrom(nil, 1), c.now)
		if l == nil || displaced != oldest || err != nil {
			t.Fatalf("%d places: %v displaces %v, %v", most, l, displaced, err)
		}
		for n := 2; c.leaving < c.mostLeaving; n++ {
			c.take(n, 1)
		}
		c.now = c.now.Add(openingGrace)
		if c.take(0, 1) > 0 {
			t.Errorf("more than %d links of %d leave at once", c.mostLeaving, most)
		}
		if c.leave(displaced); c.take(0, 1) != 1 {
			t.Errorf("the next of %d do not make room", most)
		}
	}
}

// Whoever shares the address of one that takes all it can gets the places of that one, and nobody else's.
func TestSourceSharesItsPlaces(t *testing.T) {
	const most = 64
	c := newCrowded(t, most)
	other, _, err := c.admit(linkFrom(nil, 2), c.now)
	if err != nil {
		t.Fatal(err)
	}
	c.take(1, most)
	if c.take(1, 1) > 0 {
		t.Fatal("there is no end of places")
	}
	c.now = c.now.Add(openingGrace)
	taken := c.common.taken.all
	l, displaced, err := c.admit(linkFrom(nil, 1), c.now)
	if err != nil || displaced == nil || displaced.from != l.from || other.turn == nil || c.common.taken.all != taken {
		t.Errorf("%v displaces %v, %v", l, displaced, err)
	}
}

// What has had a place gives it back, however it lost it.
func TestOpeningsLeave(t *testing.T) {
	const most = 16
	c := newCrowded(t, most)
	c.prove(1)
	var links []*place
	for n := range 3 * most {
		c.now = c.now.Add(openingGrace)
		if l, _, err := c.admit(linkFrom(nil, n%5), c.now); err == nil {
			links = append(links, l)
		}
	}
	for _, l := range links {
		c.openings.leave(l)
	}
	for _, p := range []pool{c.common, c.reserve} {
		if p.taken.all != 0 || len(p.taken.by) != 0 || p.oldest.Len() != 0 {
			t.Errorf("left: %+v", p)
		}
	}
	if c.openings.leaving != 0 {
		t.Errorf("%d are leaving", c.openings.leaving)
	}
}

// Sources that somebody trusted has come from have places that strangers cannot take, nor a few of their own kind.
func TestOpeningsOfProvenSources(t *testing.T) {
	const most = 64
	t.Run("beside strangers", func(t *testing.T) {
		c := newCrowded(t, most)
		c.prove(1)
		c.strangers()
		if n := c.take(1, most); n != most-most/openingKept {
			t.Errorf("a proven source has %d places", n)
		}
		c.now = c.now.Add(openingGrace)
		if c.strangers() == 0 {
			t.Error("strangers do not displace each other any more")
		}
		if n := c.reserve.taken.all; n != most-most/openingKept {
			t.Errorf("strangers displaced a proven source, which has %d places", n)
		}
	})
	t.Run("beside their own kind", func(t *testing.T) {
		c := newCrowded(t, most)
		for n := range 5 {
			c.prove(n)
			if n < 4 {
				c.take(n, 2*most)
			}
		}
		if n := c.take(4, 1); n == 0 {
			t.Error("four sources keep the fifth out")
		}
		if n := c.strangers(); n == 0 {
			t.Error("four sources keep strangers out")
		}
	})
	t.Run("never worse than strangers", func(t *testing.T) {
		for _, most := range []int{1, 2, 3, 4, most} {
			for n := range most { // so many that have taken what is for them
				c := newCrowded(t, most)
				c.prove(99)
				for k := range n {
					c.prove(k)
					c.take(k, openingFew)
				}
				c.strangers()
				c.now = c.now.Add(openingGrace)
				if c.take(99, 1) == 0 {
					t.Errorf("%d places, %d other proven sources: no place", most, n)
				}
			}
		}
	})
}

// A source is known for as long as it has links, and a while longer; of too many, those go that had none for longest.
func TestProven(t *testing.T) {
	p, now := newProven(), time.Now()
	p.enter(linkSource(0))
	p.enter(linkSource(1))
	p.enter(linkSource(1))
	p.leave(linkSource(1), now)
	now = now.Add(2 * provenFor)
	if !p.has(linkSource(0), now) || !p.has(linkSource(1), now) || p.has(linkSource(2), now) {
		t.Error("not those are known that have links")
	}
	p.leave(linkSource(1), now)
	if !p.has(linkSource(1), now.Add(provenFor-1)) || p.has(linkSource(1), now.Add(provenFor)) {
		t.Errorf("a source is not known for %v", provenFor)
	}
	for n := range provenKept {
		p.enter(linkSource(2 + n))
		p.leave(linkSource(2+n), now)
	}
	if len(p.by) != provenKept+1 || p.has(linkSource(1), now) || !p.has(linkSource(0), now) || !p.has(linkSource(2), now) {
		t.Errorf("%d are known, and not those that had links last", len(p.by))
	}
}

// pipes is a listener for what is put on it.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, io.EOF
	}
	return c, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Strangers from ever so many sources, who say nothing, do not keep out who has something to say.
func TestStrangersMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 16
		w := newWorld(t)
		n := w.node(t, func(c *Config) { c.Limits.Opening = most })
		arriving := make(pipes)
		served := make(chan struct{})
		go func() {
			defer close(served)
			n.Serve(t.Context(), arriving)
		}()
		var ends []*faultnet.Conn
		connect := func() *faultnet.Conn {
			near, far := faultnet.Pipe()
			arriving <- linkFrom(far, len(ends))
			ends = append(ends, near)
			synctest.Wait()
			return near
		}
		for range most {
			connect()
		}
		asks := opening(t, wire.Message{Return: Route{w.node(t).label}})
		time.Sleep(openingGrace)
		honest := connect()
		if _, err := honest.Write(asks); err != nil {
			t.Fatal(err)
		}
		status := make([]byte, 3)
		if _, err := io.ReadFull(honest, status); err != nil || wire.Code(status[0]) != wire.OK {
			t.Errorf("it hears %x, %v", status, err)
		}
		if _, err := ends[0].Read(status); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the oldest stranger hears %v", err)
		}
		for _, c := range ends {
			_ = c.Close()
		}
		close(arriving)
		<-served
	})
}
