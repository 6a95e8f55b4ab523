package report

import (
	"fmt"
	"slices"
	"strings"
)

// compared are the figures that two builds are compared by, besides memory.
var compared = []column{
	{"CPU s/GiB, 1 stream", cpu(1)},
	{"CPU s/GiB, 8 streams", cpu(8)},
	{"1 KiB there and back, p50, µs", at(Trip, P50)},
	{"new connections a second, one at a time", at(ConnRate, 1)},
	{"new connections a second, 32 at once", at(ConnRate, 32)},
	{"CPU ms of a new connection, one at a time", at(ConnCPU, 1)},
	{"CPU ms of a new connection, 32 at once", at(ConnCPU, 32)},
}

// A comparison is one figure of a topology with both builds of sp.
type comparison struct {
	Topology string `json:"topology"`
	Figure   string `json:"figure"`
	spread          // of the ratios: after / before

	before, after, ratio Summary
}

// comparisons are of each row that was measured with the build before, too.
func (r *Results) comparisons() []comparison {
	var list []comparison
	for _, row := range r.Rows {
		if row.Before == "" {
			continue
		}
		columns := slices.Clone(compared)
		for _, n := range r.Xs(row.Before, IdleRSS) {
			title := fmt.Sprintf("KiB per idle connection, %d", n)
			columns = append(columns, column{title, at(IdleRSS, n)})
		}
		for _, c := range columns {
			before, after := c.of(r, Row{Name: row.Before}), c.of(r, row)
			ratio := Ratio(after, before)
			if len(ratio) == 0 {
				continue
			}
			list = append(list, comparison{
				Topology: row.Name, Figure: c.title, spread: spreadOf(ratio),
				before: before.Summary(), after: after.Summary(), ratio: ratio.Summary(),
			})
		}
	}
	return list
}

func (r *Results) writeComparisons(b *strings.Builder) {
	list := r.comparisons()
	if len(list) == 0 {
		return
	}
	heading(b, "Two builds of sp", "Measured in turn; ratios are taken within each repetition. "+
		"Less is better, but for connections a second.")
	line(b, []string{"", "", "before", "after", "after / before"})
	rule(b, 5)
	for _, c := range list {
		cells := []string{c.Topology, c.Figure}
		for _, s := range []Summary{c.before, c.after, c.ratio} {
			cells = append(cells, s.String())
		}
		line(b, cells)
	}
}
