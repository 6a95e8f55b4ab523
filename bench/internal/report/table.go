package report

import (
	"fmt"
	"io"
	"strings"
)

// reference is what each topology is compared with, by whether it is relayed.
var reference = map[bool]string{false: "ghostunnel", true: "frp"}

const toWhat = "The ratio is to ghostunnel, and to frp for what is relayed."

// figureOf computes one figure of a row.
type figureOf func(r *Results, row Row) Series

// A column is one figure of each row.
type column struct {
	title string
	of    figureOf
}

// A table has a row for each topology that was measured.
type table struct {
	title, note string
	metric      string // a row is left out without it
	columns     []column
}

var tables = []table{
	{
		title: "CPU seconds per GiB",
		note: "All tunnel processes together, user and system, upload and download averaged. " +
			toWhat,
		metric: CPUUp,
		columns: []column{
			{"1 stream", cpu(1)},
			{"8 streams", cpu(8)},
			{"× ref, 1", toReference(cpu(1))},
			{"× ref, 8", toReference(cpu(8))},
			{"of it user, 1", user(1)},
		},
	},
	{
		title:  "Throughput, Gbit/s",
		note:   "Up is from client to service. " + toWhat,
		metric: GbitUp,
		columns: []column{
			{"1 up", at(GbitUp, 1)},
			{"1 down", at(GbitDown, 1)},
			{"8 up", at(GbitUp, 8)},
			{"8 down", at(GbitDown, 8)},
			{"× ref, 1 up", toReference(at(GbitUp, 1))},
			{"× ref, 1 down", toReference(at(GbitDown, 1))},
		},
	},
	{
		title:  "Latency of 1 KiB there and back, µs",
		note:   "Idle, and beside a bulk transfer on another connection in either direction.",
		metric: Trip,
		columns: []column{
			{"p50", at(Trip, P50)},
			{"p99", at(Trip, P99)},
			{"p99.9", at(Trip, P999)},
			{"beside upload p50", at(TripBesideUp, P50)},
			{"p99", at(TripBesideUp, P99)},
			{"beside download p50", at(TripBesideDn, P50)},
			{"p99", at(TripBesideDn, P99)},
		},
	},
	{
		title:  "New connections",
		note:   "Connect, one byte there and back, close.",
		metric: ConnRate,
		columns: []column{
			{"a second, one at a time", at(ConnRate, 1)},
			{"32 at once", at(ConnRate, 32)},
			{"CPU ms each, one at a time", at(ConnCPU, 1)},
			{"32 at once", at(ConnCPU, 32)},
			{"× ref, 1", toReference(at(ConnRate, 1))},
			{"× ref, 32", toReference(at(ConnRate, 32))},
		},
	},
	{
		title: "One stream over 1 Gbit/s and 100 ms there and back, Gbit/s",
		note: "The line is a delaying proxy between the two ends; for what is relayed, " +
			"between the relay and the end beside the service. TCP ends at it: " +
			"the windows of what runs inside are measured, not TCP's.",
		metric: FarUp,
		columns: []column{
			{"up", at(FarUp, 1)},
			{"down", at(FarDown, 1)},
		},
	},
}

func at(metric string, x int) figureOf {
	return func(r *Results, row Row) Series { return r.Get(row.Name, metric, x) }
}

func cpu(streams int) figureOf {
	return func(r *Results, row Row) Series {
		return Mean(r.Get(row.Name, CPUUp, streams), r.Get(row.Name, CPUDown, streams))
	}
}

func user(streams int) figureOf {
	return func(r *Results, row Row) Series {
		return Mean(r.Get(row.Name, UserUp, streams), r.Get(row.Name, UserDown, streams))
	}
}

func toReference(of figureOf) figureOf {
	return func(r *Results, row Row) Series {
		return Ratio(of(r, row), of(r, Row{Name: reference[row.Relayed]}))
	}
}

// WriteMarkdown writes every table that has something in it.
func (r *Results) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintln(&b, r.Host)
	r.writeCiphers(&b)
	r.writeComparisons(&b)
	for _, t := range tables {
		t.write(&b, r)
	}
	r.writeIdle(&b)
	r.writeGrowth(&b)
	r.writeGoals(&b)
	if len(r.Failures) > 0 {
		fmt.Fprintf(&b, "\n### Not measured\n\n")
		for _, f := range r.Failures {
			fmt.Fprintf(&b, "- %s\n", strings.ReplaceAll(f, "\n", " / "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t table) write(b *strings.Builder, r *Results) {
	names := r.Names(t.metric)
	if len(names) == 0 {
		return
	}
	heading(b, t.title, t.note)
	header := []string{"", ""}
	for _, c := range t.columns {
		header = append(header, c.title)
	}
	line(b, header)
	rule(b, len(header))
	for _, name := range names {
		row := r.row(name)
		cells := []string{row.Name, row.About}
		for _, c := range t.columns {
			cells = append(cells, c.of(r, row).Summary().String())
		}
		line(b, cells)
	}
}

// writeIdle has a column for each number of connections that was reached.
func (r *Results) writeIdle(b *strings.Builder) {
	names := r.Names(IdleRSS)
	if len(names) == 0 {
		return
	}
	heading(b, "Memory per idle connection, KiB", "All tunnel processes together: "+
		"growth of resident memory (RSS; PSS in brackets), divided by the connections. "+
		"Lost are those that no longer answered at the end.")
	xs := r.allXs(IdleRSS)
	header := []string{"", ""}
	for _, x := range xs {
		header = append(header, fmt.Sprintf("%d", x))
	}
	line(b, append(header, "lost"))
	rule(b, len(header)+1)
	for _, name := range names {
		row := r.row(name)
		cells := []string{row.Name, row.About}
		lost := "–"
		for _, x := range xs {
			cells = append(cells, r.idleCell(name, x))
			if s := r.Get(name, IdleLost, x).Summary(); s.N > 0 {
				lost = fmt.Sprintf("%.0f of %d", s.Max, x)
			}
		}
		line(b, append(cells, lost))
	}
}

func (r *Results) idleCell(name string, x int) string {
	rss, pss := r.Get(name, IdleRSS, x).Summary(), r.Get(name, IdlePSS, x).Summary()
	if rss.N == 0 {
		return "–"
	}
	return fmt.Sprintf("%s [%s]", number(rss.Median), number(pss.Median))
}

func (r *Results) row(name string) Row {
	for _, row := range r.Rows {
		if row.Name == name {
			return row
		}
	}
	return Row{Name: name}
}

// String is "median (least–most)", or a dash.
func (s Summary) String() string {
	switch s.N {
	case 0:
		return "–"
	case 1:
		return number(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Min), number(s.Max))
}

// number has about three digits.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 1:
		return fmt.Sprintf("%.3f", v)
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func heading(b *strings.Builder, title, note string) {
	fmt.Fprintf(b, "\n### %s\n\n", title)
	if note != "" {
		fmt.Fprintf(b, "%s\n\n", note)
	}
}

func line(b *strings.Builder, cells []string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func rule(b *strings.Builder, n int) {
	b.WriteString(strings.Repeat("| --- ", n) + "|\n")
}
