package admission

import (
	"testing"

	"github.com/secureportal/sp/identity"
)

func TestCounter(t *testing.T) {
	c := newCounter()
	l := Limits{Connections: 3, PerIdentity: 2, PerSource: 1}
	me, another := ByIdentity(identity.Identifier{1}), ByIdentity(identity.Identifier{2})
	there := BySource(linkSource(1))
	for i, step := range []struct {
		party Party
		leave bool
		ok    bool
	}{
		{there, false, true},
		{there, false, false}, // PerSource
		{me, false, true},
		{me, false, true},
		{another, false, false}, // Connections
		{there, true, true},
		{me, false, false}, // PerIdentity
		{another, false, true},
	} {
		if step.leave {
			c.leave(step.party.key)
		} else if err := c.admit(l, step.party); (err == nil) != step.ok {
			t.Errorf("step %d: %v", i, err)
		}
	}
	c.leave(me.key)
	c.leave(me.key)
	c.leave(another.key)
	if c.all != 0 || len(c.by) != 0 {
		t.Errorf("%d are left, of %d keys", c.all, len(c.by))
	}
}

// However many connections a relay may have, it takes some sources to have them all.
func TestLimitsForAnonymous(t *testing.T) {
	for most, want := range map[int]int{
		3: 1, 50: 4, 85: 7, 200: 14, 288: 19, 8848: 36, DefaultConnections: 65,
	} {
		limits := Limits{}.WithDefaults()
		limits.Connections = most
		c := newCounter()
		sources := 0
		for c.all < most {
			from := Anonymous(linkSource(sources))
			for c.admit(limits, from) == nil {
			}
			sources++
		}
		if sources != want {
			t.Errorf("%d sources have all %d connections, want %d", sources, most, want)
		}
	}
}
