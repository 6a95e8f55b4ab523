package page

import (
	"fmt"
	"strings"
	"time"

	"github.com/secureportal/sp/cli/wording"
)

// Sizes of a chart, in pixels.
const (
	chartWidth  = 320
	chartHeight = 72
)

// chart shows how something has changed in the last minutes.
type chart struct {
	Title   string
	Most    string // what the top stands for
	From    string // when it begins
	Said    string // all of it, in words
	Lines   []curve
	Nothing bool // there is nothing to draw yet
}

// curve is one line of a chart.
type curve struct {
	Name  string // a class in page.css, too
	Title string
	D     string
}

// measure is what a curve shows: how much of something there has been between two samples.
type measure struct {
	name, title string
	value       func(before, after sample) float64
}

func charts(h *history, now sample) []chart {
	perSecond := func(value func(sample) float64) func(before, after sample) float64 {
		return func(before, after sample) float64 {
			return (value(after) - value(before)) / after.at.Sub(before.at).Seconds()
		}
	}
	carried := func(direction int) func(sample) float64 {
		return func(s sample) float64 { return s.carried[direction] }
	}
	opened := func(s sample) float64 { return s.opened }
	open := func(_, after sample) float64 { return after.open }
	return []chart{
		newChart("bytes a second", wording.Size, h, now,
			measure{"one", "to service", perSecond(carried(toService))},
			measure{"two", "to client", perSecond(carried(toClient))}),
		newChart("connections open", figure, h, now, measure{"one", "open", open}),
		newChart("connections a second", figure, h, now,
			measure{"one", "opened", perSecond(opened)},
			measure{"bad", "failed", perSecond(sample.failed)}),
	}
}

// newChart draws measures, each in steps from one sample to the next.
func newChart(
	title string, say func(float64) string, h *history, now sample, all ...measure,
) chart {
	samples := h.all
	if n := len(samples); n > 0 && now.at.Sub(samples[n-1].at) >= step/2 {
		samples = append(samples[:n:n], now)
	}
	c := chart{Title: title, Nothing: len(samples) < 2}
	if c.Nothing {
		return c
	}
	most := 0.0
	values := make([][]float64, len(all))
	for i, m := range all {
		for j := 1; j < len(samples); j++ {
			v := max(m.value(samples[j-1], samples[j]), 0)
			values[i] = append(values[i], v)
			most = max(most, v)
		}
	}
	c.Most = say(most)
	span := min(max(now.at.Sub(samples[0].at), recent), kept)
	c.From = wording.Roughly(span) + " ago"
	var said []string
	for i, m := range all {
		said = append(said, m.title+" "+say(values[i][len(values[i])-1]))
		c.Lines = append(c.Lines, curve{m.name, m.title, steps(samples, values[i], most, now.at, span)})
	}
	c.Said = title + ", now: " + strings.Join(said, ", ") + "; at most: " + c.Most
	return c
}

// steps is a curve as SVG says it: each value stands from a sample to the next.
func steps(
	samples []sample, values []float64, most float64, now time.Time, span time.Duration,
) string {
	var b strings.Builder
	x := func(s sample) float64 {
		age := now.Sub(s.at).Seconds() / span.Seconds()
		return chartWidth * (1 - min(max(age, 0), 1))
	}
	for i, v := range values {
		y := float64(chartHeight - 1)
		if most > 0 {
			y -= v / most * (chartHeight - 3)
		}
		begin := byte('L')
		if i == 0 {
			begin = 'M'
		}
		fmt.Fprintf(&b, "%c%.1f %.1fH%.1f", begin, x(samples[i]), y, x(samples[i+1]))
	}
	return b.String()
}
