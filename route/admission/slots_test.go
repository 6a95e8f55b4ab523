package admission

import (
	"net/netip"
	"testing"
	"time"
)

// linkSource returns the nth of 65,536 sources.
func linkSource(n int) Source {
	return FromIP(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}))
}

// crowded is slots of which each step takes some.
type crowded struct {
	slots
	t   *testing.T
	now time.Time
}

func newCrowded(t *testing.T, most int) *crowded {
	return &crowded{newSlots(most), t, time.Now()}
}

// take has links of the nth source come until there is no slot, or there are enough, and returns
// how many got one.
func (c *crowded) take(n, enough int) (got int) {
	for ; got < enough; got++ {
		if _, _, err := c.admit(linkSource(n), c.now); err != nil {
			return got
		}
	}
	return got
}

// know has an authenticated peer have been at the nth source.
func (c *crowded) know(n int) {
	c.known.enter(linkSource(n))
	c.known.leave(linkSource(n), c.now)
}

// anonymous has each of ever more sources come with a link, until there is no slot.
func (c *crowded) anonymous() (got int) {
	for c.take(10_000+got, 1) == 1 {
		got++
	}
	return got
}

// Sources that take all they can leave slots for one that has few.
func TestSlotsOfFewSources(t *testing.T) {
	const most, sources = 256, 16
	c := newCrowded(t, most)
	for n := range sources {
		c.take(n, most)
		c.now = c.now.Add(slotGrace)
	}
	if n := c.common.taken.all; n != most-most/slotsKept+(sources-1)*slotsFew || c.leaving > 0 {
		t.Errorf("%d sources took %d slots of %d, and %d links made room", sources, n, most,
			c.leaving)
	}
	if n := c.take(sources, most); n != slotsFew {
		t.Errorf("another source has %d slots, want %d", n, slotsFew)
	}
}

// When all slots are taken, by however many sources, the oldest link makes room; but not before it
// has had its time, and no more of them than may still be at work.
func TestOldestSlotMakesRoom(t *testing.T) {
	for _, most := range []int{1, 2, 64} {
		c := newCrowded(t, most)
		if n := c.anonymous(); n != most {
			t.Errorf("anonymous sources took %d slots of %d", n, most)
		}
		oldest := c.common.oldest.Front().Value.(*Slot)
		c.now = c.now.Add(slotGrace - 1)
		if c.take(1, 1) > 0 {
			t.Error("there is another slot")
		}
		c.now = c.now.Add(1)
		l, displaced, err := c.admit(linkSource(1), c.now)
		if l == nil || displaced != oldest || err != nil {
			t.Fatalf("%d slots: %v displaces %v, %v", most, l, displaced, err)
		}
		for n := 2; c.leaving < c.mostLeaving; n++ {
			c.take(n, 1)
		}
		c.now = c.now.Add(slotGrace)
		if c.take(0, 1) > 0 {
			t.Errorf("more than %d links of %d leave at once", c.mostLeaving, most)
		}
		if c.end(displaced, c.now); c.take(0, 1) != 1 {
			t.Errorf("the next of %d do not make room", most)
		}
	}
}

// Whoever shares the address of one that takes all it can gets the slots of that one, and nobody
// else's.
func TestSourceSharesItsSlots(t *testing.T) {
	const most = 64
	c := newCrowded(t, most)
	other, _, err := c.admit(linkSource(2), c.now)
	if err != nil {
		t.Fatal(err)
	}
	c.take(1, most)
	if c.take(1, 1) > 0 {
		t.Fatal("there is no end of slots")
	}
	c.now = c.now.Add(slotGrace)
	taken := c.common.taken.all
	l, displaced, err := c.admit(linkSource(1), c.now)
	if err != nil || displaced == nil || displaced.from != l.from || other.turn == nil ||
		c.common.taken.all != taken {
		t.Errorf("%v displaces %v, %v", l, displaced, err)
	}
}

// What has had a slot gives it back, however it lost it.
func TestSlotsEnd(t *testing.T) {
	const most = 16
	c := newCrowded(t, most)
	c.know(1)
	var links []*Slot
	for n := range 3 * most {
		c.now = c.now.Add(slotGrace)
		if l, _, err := c.admit(linkSource(n%5), c.now); err == nil {
			links = append(links, l)
		}
	}
	for _, l := range links {
		c.end(l, c.now)
	}
	for _, p := range []pool{c.common, c.reserve} {
		if p.taken.all != 0 || len(p.taken.by) != 0 || p.oldest.Len() != 0 {
			t.Errorf("left: %+v", p)
		}
	}
	if c.leaving != 0 {
		t.Errorf("%d are leaving", c.leaving)
	}
}

// Sources that an authenticated peer has come from have slots that anonymous sources cannot take,
// nor a few of their own kind.
func TestSlotsOfKnownSources(t *testing.T) {
	const most = 64
	t.Run("beside anonymous sources", func(t *testing.T) {
		c := newCrowded(t, most)
		c.know(1)
		c.anonymous()
		if n := c.take(1, most); n != most-most/slotsKept {
			t.Errorf("a known source has %d slots", n)
		}
		c.now = c.now.Add(slotGrace)
		if c.anonymous() == 0 {
			t.Error("anonymous sources do not displace each other any more")
		}
		if n := c.reserve.taken.all; n != most-most/slotsKept {
			t.Errorf("anonymous sources displaced a known source, which has %d slots", n)
		}
	})
	t.Run("beside their own kind", func(t *testing.T) {
		c := newCrowded(t, most)
		for n := range 5 {
			c.know(n)
			if n < 4 {
				c.take(n, 2*most)
			}
		}
		if n := c.take(4, 1); n == 0 {
			t.Error("four sources keep the fifth out")
		}
		if n := c.anonymous(); n == 0 {
			t.Error("four sources keep anonymous sources out")
		}
	})
	t.Run("never worse than anonymous sources", func(t *testing.T) {
		for _, most := range []int{1, 2, 3, 4, most} {
			for n := range most { // so many that have taken what is for them
				c := newCrowded(t, most)
				c.know(99)
				for k := range n {
					c.know(k)
					c.take(k, slotsFew)
				}
				c.anonymous()
				c.now = c.now.Add(slotGrace)
				if c.take(99, 1) == 0 {
					t.Errorf("%d slots, %d other known sources: no slot", most, n)
				}
			}
		}
	})
}

// A source is known for as long as it has links, and a while longer; of too many, those go that had
// none for longest.
func TestKnown(t *testing.T) {
	p, now := newKnown(), time.Now()
	p.enter(linkSource(0))
	p.enter(linkSource(1))
	p.enter(linkSource(1))
	p.leave(linkSource(1), now)
	now = now.Add(2 * knownFor)
	if !p.has(linkSource(0), now) || !p.has(linkSource(1), now) || p.has(linkSource(2), now) {
		t.Error("not those are known that have links")
	}
	p.leave(linkSource(1), now)
	if !p.has(linkSource(1), now.Add(knownFor-1)) || p.has(linkSource(1), now.Add(knownFor)) {
		t.Errorf("a source is not known for %v", knownFor)
	}
	for n := range knownKept {
		p.enter(linkSource(2 + n))
		p.leave(linkSource(2+n), now)
	}
	if len(p.by) != knownKept+1 || p.has(linkSource(1), now) || !p.has(linkSource(0), now) ||
		!p.has(linkSource(2), now) {
		t.Errorf("%d are known, and not those that had links last", len(p.by))
	}
}
