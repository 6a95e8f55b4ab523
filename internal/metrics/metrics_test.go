package metrics

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"
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

var testWait = NewHistogram("test_wait_seconds", "waiting of the test")

func TestHistogram(t *testing.T) {
	before := testWait.counts[len(bounds)].Load()
	for _, d := range []time.Duration{-1, 0, time.Millisecond, time.Second, time.Hour} {
		testWait.Observe(d)
	}
	Each(func(s Sample) {
		if s.Name != "test_wait_seconds" || before > 0 { // it has been run before
			return
		}
		if s.Kind != KindHistogram || s.Value != 3601.001 || len(s.Buckets) != len(bounds)+1 {
			t.Errorf("kind %d, sum %v, %d buckets", s.Kind, s.Value, len(s.Buckets))
		}
		for _, b := range s.Buckets {
			want := uint64(2)
			switch {
			case math.IsInf(b.Bound, 1):
				want = 5
			case b.Bound >= 1:
				want = 4
			case b.Bound >= 0.001:
				want = 3
			}
			if b.Count != want {
				t.Errorf("%d are no longer than %v s, want %d", b.Count, b.Bound, want)
			}
		}
	})
}

func init() {
	NewCounterFunc("test_elsewhere_total", "counted elsewhere", func() uint64 { return 7 })
	NewGaugeFunc("test_elsewhere", "measured elsewhere", func() float64 { return 1.5 })
	NewSecondsFunc("test_spent_seconds_total", "spent elsewhere",
		func() time.Duration { return time.Minute })
}

func TestFuncs(t *testing.T) {
	got := make(map[string]float64)
	Each(func(s Sample) { got[s.Name] = s.Value })
	if got["test_elsewhere_total"] != 7 || got["test_elsewhere"] != 1.5 ||
		got["test_spent_seconds_total"] != 60 {
		t.Errorf("got %v", got)
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
	var h Histogram
	bump := func() { c.Inc(); g.Set(1); h.Observe(time.Second) }
	if n := testing.AllocsPerRun(100, bump); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
