package report

// bars is a plot with a group of horizontal bars for each topology.
type bars struct {
	file, title string
	metric      string // a topology is left out without it
	series      []column
}

var barPlots = []bars{
	{
		"cpu", "CPU seconds per GiB, both directions (less is better)", CPUUp,
		[]column{{"1 stream", cpu(1)}, {"8 streams", cpu(8)}},
	},
	{
		"throughput", "Gbit/s of one stream (more is better)", GbitUp,
		[]column{{"up", at(GbitUp, 1)}, {"down", at(GbitDown, 1)}},
	},
	{
		"throughput-8", "Gbit/s of eight streams (more is better)", GbitUp,
		[]column{{"up", at(GbitUp, 8)}, {"down", at(GbitDown, 8)}},
	},
	{
		"latency", "µs for 1 KiB there and back (less is better)", Trip,
		[]column{{"p50", at(Trip, P50)}, {"p99", at(Trip, P99)}},
	},
	{
		"latency-loaded",
		"µs for 1 KiB there and back beside a bulk transfer, p99 (less is better)", TripBesideUp,
		[]column{{"upload", at(TripBesideUp, P99)}, {"download", at(TripBesideDn, P99)}},
	},
	{
		"connections", "New connections a second (more is better)", ConnRate,
		[]column{{"one at a time", at(ConnRate, 1)}, {"32 at once", at(ConnRate, 32)}},
	},
	{
		"idle", "KiB per idle connection, all processes (less is better)", IdleRSS,
		[]column{{"1,000", at(IdleRSS, 1000)}, {"5,000", at(IdleRSS, idleGoal)}},
	},
}

const (
	barWidth  = 760.0
	barLeft   = 120.0
	barRight  = 60.0 // for the value behind the longest
	barTop    = 58.0
	barHeight = 11.0
	barGap    = 9.0 // between groups
	barMargin = 10.0
	cutAt     = 6 // times the median bar
)

// drawBars returns "" if there is nothing to draw.
func (r *Results) drawBars(p bars) string {
	names := r.Names(p.metric)
	most := p.extent(r, names)
	if most == 0 {
		return ""
	}
	group := barHeight*float64(len(p.series)) + barGap
	bottom := barTop + group*float64(len(names))
	x := axis{least: 0, most: most, from: barLeft, to: barWidth - barRight}
	c := newCanvas(barWidth, bottom+barMargin, p.title)
	for i, s := range p.series {
		left := barLeft + float64(i)*130
		c.rect(left, 32, 10, 10, palette[i])
		c.text(left+16, 41, "faint", "start", s.title)
	}
	for _, v := range x.ticks() {
		c.line(x.pixel(v), barTop-4, x.pixel(v), bottom, "grid")
	}
	for i, name := range names {
		y := barTop + group*float64(i)
		c.text(barLeft-8, y+group/2, ours(name), "end", name)
		for j, s := range p.series {
			c.bar(x, y+float64(j)*barHeight, s.of(r, r.row(name)).Summary(), palette[j])
		}
	}
	return c.String()
}

// extent is the end of the axis. A bar much longer than most is cut there, not to
// make all others too short to compare; its number tells.
func (p bars) extent(r *Results, names []string) float64 {
	medians := make(Series)
	most := 0.0
	for _, name := range names {
		for _, s := range p.series {
			if sum := s.of(r, r.row(name)).Summary(); sum.N > 0 {
				medians[len(medians)] = sum.Median
				most = max(most, sum.Max)
			}
		}
	}
	return min(most, cutAt*medians.Summary().Median)
}

// bar draws the median, a thin line from the least to the most, and the number.
func (c *canvas) bar(x axis, y float64, s Summary, color string) {
	if s.N == 0 {
		return
	}
	least, median, most := x.within(s.Min), x.within(s.Median), x.within(s.Max)
	c.rect(x.from, y, max(median-x.from, 1), barHeight-1, color)
	middle := y + barHeight/2
	if most > least {
		c.line(least, middle, most, middle, "spread")
	}
	text := number(s.Median)
	if s.Median > x.most {
		text = "› " + text
	}
	c.text(most+5, y+barHeight-1.5, "faint", "start", text)
}
