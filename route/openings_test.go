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

// Many sources that take all they can leave places for one that has few.
func TestOpeningsOfFewSources(t *testing.T) {
	const most, sources = 256, 16
	o := newOpenings(most)
	now := time.Now()
	admit := func(n int) error {
		now = now.Add(openingGrace / 100)
		_, displaced, err := o.admit(linkFrom(nil, n), now)
		if displaced != nil {
			t.Errorf("a link of source %d displaces another", n)
		}
		return err
	}
	for k := range sources * most {
		_ = admit(k % sources)
	}
	if want := most - most/openingShare; o.taken.all != want {
		t.Errorf("%d sources took %d places, want %d", sources, o.taken.all, want)
	}
	for k := range openingFew {
		if err := admit(sources); err != nil {
			t.Errorf("link %d of another source: %v", k, err)
		}
	}
	if admit(sources) == nil {
		t.Errorf("a source with %d has the places of those who have few", openingFew)
	}
}

// When all places are taken, by however many sources, the oldest link makes room; but not before it has had its time,
// and no more of them than may still be at work.
func TestOldestOpeningMakesRoom(t *testing.T) {
	for _, most := range []int{1, 2, 64} {
		o := newOpenings(most)
		now := time.Now()
		var links []*place
		for n := range most {
			l, displaced, err := o.admit(linkFrom(nil, n), now)
			if displaced != nil || err != nil {
				t.Fatalf("link %d of %d: %v, %v", n, most, displaced, err)
			}
			links = append(links, l)
		}
		if _, _, err := o.admit(linkFrom(nil, most), now.Add(openingGrace-1)); err == nil {
			t.Errorf("there is a place %d", most+1)
		}
		now = now.Add(openingGrace)
		leaving := max(most/openingShare, 1)
		for n := range leaving {
			l, displaced, err := o.admit(linkFrom(nil, most+n), now)
			if err != nil || displaced != links[n].conn {
				t.Errorf("link %d more of %d: %v displaces %v", n, most, err, displaced)
			}
			links = append(links, l)
		}
		if _, displaced, err := o.admit(linkFrom(nil, most+leaving), now); err == nil || displaced != nil {
			t.Errorf("more than %d links of %d leave at once", leaving, most)
		}
		for _, l := range links {
			o.leave(l)
		}
		if o.taken.all != 0 || len(o.taken.by) != 0 || o.oldest.Len() != 0 || o.leaving != 0 {
			t.Errorf("left: %+v", o)
		}
	}
}

// Who has been found to be trusted has places that nobody else can take, from the same source.
func TestOpeningsOfProvenSources(t *testing.T) {
	const most = 16
	o := newOpenings(most)
	now := time.Now()
	for n := range provenKept + most {
		o.prove(linkSource(n), now)
	}
	if n := len(o.proven); n != provenKept {
		t.Errorf("%d proven sources are kept, want %d", n, provenKept)
	}
	last := provenKept + most - 1
	admit := func(n int) bool {
		_, _, err := o.admit(linkFrom(nil, n), now)
		return err == nil
	}
	for n := range most {
		if !admit(2*provenKept + n) {
			t.Fatalf("no place for stranger %d", n)
		}
	}
	if admit(2*provenKept + most) {
		t.Errorf("there is a place for stranger %d", most+1)
	}
	for n := range most / openingShare {
		if !admit(last) {
			t.Errorf("no place for the proven source's link %d", n)
		}
	}
	if admit(last) {
		t.Error("there is no end of places for a proven source")
	}
	now = now.Add(provenFor)
	if o.leave(o.oldest.Back().Value.(*place)); admit(last) {
		t.Error("a source is proven for ever")
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
