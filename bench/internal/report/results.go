// Package report holds what was measured and shows it: tables in Markdown,
// figures in JSON, plots in SVG.
package report

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"math"
	"slices"
)

// A Key names a figure. X is what it depends on: the number of streams, of
// connections, of hops.
type Key struct {
	Topology string `json:"topology"`
	Metric   string `json:"metric"`
	X        int    `json:"x"`
}

// Series is one figure's value in each repetition that has one.
type Series map[int]float64

// Results is all that one run measured.
type Results struct {
	Host     Host
	Rows     []Row // topologies, in the order of the tables
	Failures []string

	figures map[Key]Series
}

// A Row is one topology of the tables.
type Row struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Cipher  string `json:"cipher"` // "" for none
	Relayed bool   `json:"relayed"`
	Before  string `json:"before,omitempty"` // the same with the build before, if that is measured
}

// Add records a value of a repetition.
func (r *Results) Add(key Key, rep int, value float64) {
	if r.figures == nil {
		r.figures = make(map[Key]Series)
	}
	if r.figures[key] == nil {
		r.figures[key] = make(Series)
	}
	r.figures[key][rep] = value
}

// Get is empty for what was not measured.
func (r *Results) Get(topology, metric string, x int) Series {
	return r.figures[Key{topology, metric, x}]
}

// Xs are the values of X that a metric was measured at, in order.
func (r *Results) Xs(topology, metric string) []int {
	var xs []int
	for key := range r.figures {
		if key.Topology == topology && key.Metric == metric {
			xs = append(xs, key.X)
		}
	}
	slices.Sort(xs)
	return xs
}

// Names are the topologies that a metric was measured of: those of the tables
// in their order, then others.
func (r *Results) Names(metric string) []string {
	found := make(map[string]bool)
	for key := range r.figures {
		if key.Metric == metric {
			found[key.Topology] = true
		}
	}
	var names []string
	for _, row := range r.Rows {
		if found[row.Name] {
			names = append(names, row.Name)
			delete(found, row.Name)
		}
	}
	return append(names, slices.Sorted(maps.Keys(found))...)
}

// A spread is what the JSON says of a series.
type spread struct {
	Median  float64   `json:"median"`
	Min     float64   `json:"min"`
	Max     float64   `json:"max"`
	Samples []float64 `json:"samples"`
}

// A figure is one entry of the JSON.
type figure struct {
	Key
	spread
}

func spreadOf(series Series) spread {
	s := series.Summary()
	sp := spread{Median: s.Median, Min: s.Min, Max: s.Max}
	for _, rep := range slices.Sorted(maps.Keys(series)) {
		sp.Samples = append(sp.Samples, series[rep])
	}
	return sp
}

// WriteJSON writes every sample.
func (r *Results) WriteJSON(w io.Writer) error {
	var figures []figure
	for key, series := range r.figures {
		figures = append(figures, figure{key, spreadOf(series)})
	}
	slices.SortFunc(figures, func(a, b figure) int {
		return cmp.Or(
			cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Topology, b.Topology), cmp.Compare(a.X, b.X))
	})
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Host        Host         `json:"host"`
		Rows        []Row        `json:"topologies"`
		Failures    []string     `json:"failures"`
		Comparisons []comparison `json:"comparisons,omitempty"`
		Figures     []figure     `json:"figures"`
	}{r.Host, r.Rows, r.Failures, r.comparisons(), figures})
}

// Mean is the mean of two figures in each repetition that has both.
func Mean(a, b Series) Series {
	return combine(a, b, func(x, y float64) float64 { return (x + y) / 2 })
}

// Ratio is a / b in each repetition that has both: what disturbed a repetition
// disturbed both.
func Ratio(a, b Series) Series {
	return combine(a, b, func(x, y float64) float64 { return x / y })
}

func combine(a, b Series, f func(x, y float64) float64) Series {
	both := make(Series)
	for rep, x := range a {
		y, ok := b[rep]
		if v := f(x, y); ok && !math.IsNaN(v) && !math.IsInf(v, 0) {
			both[rep] = v
		}
	}
	return both
}
