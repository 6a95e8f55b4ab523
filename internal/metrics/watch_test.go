package metrics

import "testing"

// TestWatch has whoever waits be told of the first change, whatever it is of, and of no other.
func TestWatch(t *testing.T) {
	var c Counter
	var g Gauge
	var h Histogram
	isTold := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	g.Set(3)
	for what, change := range map[string]func(){
		"one more": c.Inc, "some more": func() { c.Add(2) }, "up": g.Inc, "down": g.Dec,
		"by some": func() { g.Add(-3) }, "another": func() { g.Set(7) }, "elsewhere": Changed,
	} {
		before, same := Watch(), Watch()
		if isTold(before) || before != same {
			t.Errorf("%s: it is told before, or not for all", what)
		}
		change()
		if after := Watch(); !isTold(before) || isTold(after) {
			t.Errorf("%s is not told, or for ever", what)
		}
	}
	quiet := Watch()
	g.Set(g.Value())
	g.Add(0)
	c.Add(0)
	h.Observe(1)
	if isTold(quiet) {
		t.Error("nothing has changed, and that is told")
	}
	if n := testing.AllocsPerRun(100, c.Inc); n > 0 {
		t.Errorf("a bump allocates %v times", n)
	}
}
