package route

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
)

func TestSourceOf(t *testing.T) {
	tcp := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	same := [][2]string{{"10.0.0.1:1", "10.0.0.1:2"}, {"[2001:db8::1]:1", "[2001:db8::ffff:1]:2"}, {"[::ffff:10.0.0.1]:1", "10.0.0.1:1"}}
	for _, p := range same {
		if sourceOf(tcp(p[0])) != sourceOf(tcp(p[1])) {
			t.Errorf("%s and %s are two sources", p[0], p[1])
		}
	}
	other := [][2]string{{"10.0.0.1:1", "10.0.0.2:1"}, {"[2001:db8::1]:1", "[2001:db8:0:1::1]:1"}}
	for _, p := range other {
		if sourceOf(tcp(p[0])) == sourceOf(tcp(p[1])) {
			t.Errorf("%s and %s are one source", p[0], p[1])
		}
	}
	if sourceOf(&net.UnixAddr{}) != (source{}) || sourceOf(nil) != (source{}) {
		t.Error("what is no TCP address is not this machine")
	}
}

func TestCensus(t *testing.T) {
	c := newCensus()
	l := Limits{Connections: 3, PerIdentity: 2, PerSource: 1}
	me, there := identity.Identifier{1}, sourceOf(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)})
	for i, step := range []struct {
		key   any
		leave bool
		ok    bool
	}{
		{there, false, true},
		{there, false, false}, // PerSource
		{me, false, true},
		{me, false, true},
		{identity.Identifier{2}, false, false}, // Connections
		{there, true, true},
		{me, false, false}, // PerIdentity
		{identity.Identifier{2}, false, true},
	} {
		if step.leave {
			c.leave(step.key)
		} else if err := c.admit(l, step.key); (err == nil) != step.ok {
			t.Errorf("step %d: %v", i, err)
		}
	}
	c.leave(me)
	c.leave(me)
	c.leave(identity.Identifier{2})
	if c.all != 0 || len(c.by) != 0 {
		t.Errorf("%d are left, of %d keys", c.all, len(c.by))
	}
}

func TestBuckets(t *testing.T) {
	b := newBuckets(10, 3)
	now := time.Unix(1000, 0)
	a, other := sourceOf(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}), sourceOf(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 2)})
	for i := range 5 {
		if got, want := b.take(a, now), i < 3; got != want {
			t.Errorf("token %d: %v", i, got)
		}
	}
	if !b.take(other, now) {
		t.Error("one source used up another's tokens")
	}
	if now = now.Add(100 * time.Millisecond); !b.take(a, now) || b.take(a, now) {
		t.Error("a tenth of a second at 10 a second is not one token")
	}
	for i := range 3 * sourcesKept {
		b.take(sourceOf(&net.TCPAddr{IP: net.IPv4(11, byte(i>>16), byte(i>>8), byte(i))}), now)
	}
	if len(b.by) > sourcesKept+1 {
		t.Errorf("%d sources are kept", len(b.by))
	}
}

// However many connections a relay may have, it takes some sources to have them all.
func TestLimitsForStrangers(t *testing.T) {
	for most, want := range map[int]int{3: 1, 50: 4, 85: 7, 200: 14, 288: 19, 8848: 36, DefaultConnections: 65} {
		limits := Limits{}.withDefaults()
		limits.Connections = most
		c := newCensus()
		sources := 0
		for c.all < most {
			from := sourceOf(&net.TCPAddr{IP: net.IPv4(10, 0, byte(sources>>8), byte(sources))})
			for c.admit(limits.forStranger(c.by[from]), from) == nil {
			}
			sources++
		}
		if sources != want {
			t.Errorf("%d sources have all %d connections, want %d", sources, most, want)
		}
	}
}
