package report

import (
	"fmt"
	"slices"
	"strings"
)

// A growth is how one figure depends on its X: a table with a column for each X,
// and a plot with a line for each topology.
type growth struct {
	file, title string
	unit, over  string
	metric      string
	both        string // averaged with metric, if set
	logY        bool
}

var growths = []growth{
	{
		"streams-cpu", "CPU by number of streams",
		"CPU s/GiB", "streams", CPUUp, CPUDown, false,
	},
	{
		"streams-gbit", "Throughput by number of streams",
		"Gbit/s", "streams", GbitUp, GbitDown, false,
	},
	{
		"sizes-cpu", "CPU by size of a write",
		"CPU µs per write", "bytes", SizeCPU, "", true,
	},
	{
		"sizes-gbit", "Throughput by size of a write",
		"Gbit/s", "bytes", SizeGbit, "", true,
	},
	{
		"idle-rss", "Memory by number of idle connections",
		"KiB each", "connections", IdleRSS, "", true,
	},
	{
		"idle-trip", "Latency beside idle connections",
		"µs, 1 KiB p50", "connections", IdleTrip, "", false,
	},
	{
		"idle-conn", "CPU of one more connection",
		"CPU ms each", "connections", IdleConn, "", true,
	},
	{
		"hops-cpu", "CPU by number of hops between the ends",
		"CPU s/GiB", "hops", HopCPU, "", false,
	},
	{
		"hops-gbit", "Throughput by number of hops",
		"Gbit/s", "hops", HopGbit, "", false,
	},
	{
		"hops-trip", "Latency by number of hops",
		"µs, 1 KiB p50", "hops", HopTrip, "", false,
	},
	{
		"hops-conn", "New connections by number of hops",
		"a second", "hops", HopConn, "", false,
	},
	{
		"nested-cpu", "CPU by channels inside the first",
		"CPU s/GiB", "channels inside", NestCPU, "", false,
	},
	{
		"nested-gbit", "Throughput by channels inside the first",
		"Gbit/s", "channels inside", NestGbit, "", false,
	},
	{
		"nested-trip", "Latency by channels inside the first",
		"µs, 1 KiB p50", "channels inside", NestTrip, "", false,
	},
	{
		"nested-conn", "New connections by channels inside the first",
		"a second", "channels inside", NestConn, "", false,
	},
}

// minPoints is how many values of X make a growth: 1 and 8 streams do not.
const minPoints = 3

// values is the series of a topology at x.
func (g growth) values(r *Results, name string, x int) Series {
	if g.both == "" {
		return r.Get(name, g.metric, x)
	}
	return Mean(r.Get(name, g.metric, x), r.Get(name, g.both, x))
}

// names are the topologies measured at enough values of X.
func (g growth) names(r *Results) []string {
	return slices.DeleteFunc(r.Names(g.metric), func(name string) bool {
		return len(r.Xs(name, g.metric)) < minPoints
	})
}

func (r *Results) writeGrowth(b *strings.Builder) {
	for _, g := range growths {
		names := g.names(r)
		if len(names) == 0 {
			continue
		}
		xs := r.allXs(g.metric)
		heading(b, g.title+", "+g.unit, "")
		header := []string{g.over}
		for _, x := range xs {
			header = append(header, fmt.Sprintf("%d", x))
		}
		line(b, header)
		rule(b, len(header))
		for _, name := range names {
			cells := []string{name}
			for _, x := range xs {
				cell := "–"
				if s := g.values(r, name, x).Summary(); s.N > 0 {
					cell = number(s.Median)
				}
				cells = append(cells, cell)
			}
			line(b, cells)
		}
	}
}

// allXs are the values of X that any topology was measured at.
func (r *Results) allXs(metric string) []int {
	var xs []int
	for _, name := range r.Names(metric) {
		xs = append(xs, r.Xs(name, metric)...)
	}
	slices.Sort(xs)
	return slices.Compact(xs)
}
