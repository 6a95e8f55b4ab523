// Package metrics counts what happens in a process, and how long it takes. Every room may bump a
// counter, a gauge or a histogram without knowing who reads it; whoever reads them all calls Each.
//
// It has no HTTP, no text format and no clock, and a bump takes no lock and allocates nothing. Who
// waits for the next one is told (Watch): the first bump after that costs it a channel's lock.
package metrics

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/internal/sorting"
)

// Counter is a number that only grows. It is safe for concurrent use. The zero value counts, and
// nobody reads it: NewCounter makes one that Each shows.
type Counter struct{ n atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) {
	c.n.Add(n)
	if n != 0 {
		Changed()
	}
}

// Value returns what has been counted since the process began.
func (c *Counter) Value() uint64 { return c.n.Load() }

// Gauge is a number that goes up and down. It is safe for concurrent use. The zero value counts,
// and nobody reads it: NewGauge makes one that Each shows.
type Gauge struct{ n atomic.Int64 }

// Inc adds one.
func (g *Gauge) Inc() { g.Add(1) }

// Dec takes one away.
func (g *Gauge) Dec() { g.Add(-1) }

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) {
	g.n.Add(n)
	if n != 0 {
		Changed()
	}
}

// Set makes n the value.
func (g *Gauge) Set(n int64) {
	if g.n.Swap(n) != n {
		Changed()
	}
}

// Value returns the number as it is now.
func (g *Gauge) Value() int64 { return g.n.Load() }

// Kind tells a counter from a gauge.
type Kind uint8

// The kinds of metric.
const (
	KindCounter Kind = iota + 1
	KindGauge
	KindHistogram
)

// Label tells apart metrics of one name, such as the reason of a refusal.
type Label struct{ Name, Value string }

// Sample is one metric as Each sees it.
type Sample struct {
	Name   string // like links_accepted_total, without the program's name in front
	Help   string // what is counted, in a few words
	Kind   Kind
	Labels []Label // in the order in which they were given; not to be changed
	Value  float64 // of a histogram, the sum of what has been observed, in seconds

	Buckets []Bucket // of a histogram, the last of which has all
}

// metric is what the registry knows of a counter or a gauge.
type metric struct {
	Sample
	read func() (value float64, buckets []Bucket)
}

// registry holds all metrics of the process.
var registry struct {
	sync.Mutex
	byID map[string]metric
}

// NewCounter returns a counter that Each shows. It is meant for package variables: it panics if
// there is one of that name with those labels already.
func NewCounter(name, help string, labels ...Label) *Counter {
	c := new(Counter)
	NewCounterFunc(name, help, c.Value, labels...)
	return c
}

// NewCounterFunc is NewCounter for what is counted elsewhere: value returns it, whenever somebody
// reads. It may be called by several at once, and must not call this package.
func NewCounterFunc(name, help string, value func() uint64, labels ...Label) {
	register(name, help, KindCounter, labels, alone(func() float64 { return float64(value()) }))
}

// NewSecondsFunc is NewCounterFunc for time that has been spent.
func NewSecondsFunc(name, help string, spent func() time.Duration, labels ...Label) {
	seconds := func() float64 { return spent().Seconds() }
	register(name, help, KindCounter, labels, alone(seconds))
}

// NewGauge is NewCounter for a gauge.
func NewGauge(name, help string, labels ...Label) *Gauge {
	g := new(Gauge)
	NewGaugeFunc(name, help, func() float64 { return float64(g.Value()) }, labels...)
	return g
}

// NewGaugeFunc is NewCounterFunc for a gauge.
func NewGaugeFunc(name, help string, value func() float64, labels ...Label) {
	register(name, help, KindGauge, labels, alone(value))
}

// alone reads a metric that is one number.
func alone(value func() float64) func() (float64, []Bucket) {
	return func() (float64, []Bucket) { return value(), nil }
}

func register(
	name, help string, kind Kind, labels []Label, read func() (float64, []Bucket),
) {
	registry.Lock()
	defer registry.Unlock()
	id := identify(name, labels)
	if _, twice := registry.byID[id]; twice {
		panic("metrics: there is a " + id + " already")
	}
	if registry.byID == nil {
		registry.byID = make(map[string]metric)
	}
	of := Sample{Name: name, Help: help, Kind: kind, Labels: labels}
	registry.byID[id] = metric{of, read}
}

func identify(name string, labels []Label) string {
	var b strings.Builder
	b.WriteString(name)
	for _, l := range labels {
		fmt.Fprintf(&b, ",%s=%q", l.Name, l.Value)
	}
	return b.String()
}

// Each calls f with all metrics of the process, those of one name one after the other. Bumps go on
// meanwhile: the values are not of one instant.
func Each(f func(Sample)) {
	registry.Lock()
	all := make([]metric, 0, len(registry.byID))
	for _, m := range registry.byID {
		all = append(all, m)
	}
	registry.Unlock()
	sorting.Func(all, func(a, b metric) int {
		return strings.Compare(identify(a.Name, a.Labels), identify(b.Name, b.Labels))
	})
	for _, m := range all {
		s := m.Sample
		s.Value, s.Buckets = m.read()
		f(s)
	}
}
