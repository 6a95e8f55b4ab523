package metrics

import (
	"slices"
	"sync"
	"testing"
)

var (
	testLinks = NewCounter("test_links_total", "links of the test")
	testBusy  = NewCounter("test_refusals_total", "refusals of the test", Label{"reason", "busy"})
	_         = NewCounter("test_refusals_total", "refusals of the test", Label{"reason", "unknown"})
	testOpen  = NewGauge("test_open", "open links of the test")
)

func TestEach(t *testing.T) {
	before := make(map[string]float64)
	Each(func(s Sample) { before[identify(s.Name, s.Labels)] = s.Value })
	testLinks.Inc()
	testLinks.Add(2)
	testBusy.Inc()
	testOpen.Add(5)
	testOpen.Dec()
	var names []string
	values := make(map[string]float64)
	Each(func(s Sample) {
		id := identify(s.Name, s.Labels)
		names = append(names, id)
		values[id] = s.Value - before[id]
		if s.Help == "" || s.Kind == 0 {
			t.Errorf("%s says %q, kind %d", id, s.Help, s.Kind)
		}
	})
	if !slices.IsSorted(names) {
		t.Errorf("the order is %v", names)
	}
	for id, want := range map[string]float64{
		"test_links_total": 3, "test_open": 4,
		`test_refusals_total,reason="busy"`: 1, `test_refusals_total,reason="unknown"`: 0,
	} {
		if values[id] != want {
			t.Errorf("%s has grown by %v, want %v", id, values[id], want)
		}
	}
}

func TestConcurrentBumps(t *testing.T) {
	var c Counter
	var g Gauge
	var tasks sync.WaitGroup
	for range 8 {
		tasks.Go(func() {
			for range 1000 {
				c.Inc()
				g.Inc()
				g.Dec()
				Each(func(Sample) {})
			}
		})
	}
	tasks.Wait()
	if c.Value() != 8000 || g.Value() != 0 {
		t.Errorf("got %d and %d", c.Value(), g.Value())
	}
}

func TestSameNameTwice(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("two metrics have the same name and labels")
		}
	}()
	NewGauge("test_open", "again")
}

func TestBumpsDoNotAllocate(t *testing.T) {
	var c Counter
	var g Gauge
	if n := testing.AllocsPerRun(100, func() { c.Inc(); g.Set(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
