package report

import (
	"cmp"
	"slices"
	"strconv"
)

const (
	lineWidth  = 760.0
	lineHeight = 360.0
	lineLeft   = 60.0
	lineRight  = 640.0 // names are behind it
	lineTop    = 50.0
	lineBottom = 310.0
	nameGap    = 15.0 // between names that would cover each other

	// A range of X wider than this is drawn logarithmically.
	logRange = 15
)

// drawn are the topologies that have a curve, in the order of the palette: more
// could not be told apart.
var drawn = []string{
	"sp", "sp-relay", "sp-bridge", "sp-nested", "ghostunnel", "ssh", "frp",
	"copy+aead", "copy", "splice", "none",
}

// A curve is one topology in a plot of lines.
type curve struct {
	name   string
	color  string
	points []point // in values, not yet pixels
}

// drawLines returns "" if there is nothing to draw.
func (r *Results) drawLines(g growth) string {
	var curves []curve
	for _, name := range g.names(r) {
		i := slices.Index(drawn, name)
		if i < 0 {
			continue
		}
		cv := curve{name: name, color: palette[i]}
		for _, x := range r.Xs(name, g.metric) {
			if s := g.values(r, name, x).Summary(); s.N > 0 && (s.Median > 0 || !g.logY) {
				cv.points = append(cv.points, point{float64(x), s.Median})
			}
		}
		if len(cv.points) > 0 {
			curves = append(curves, cv)
		}
	}
	if len(curves) == 0 {
		return ""
	}
	x, y := axes(curves, g.logY)
	c := newCanvas(lineWidth, lineHeight, g.title)
	c.frame(g, x, y, r.allXs(g.metric))
	c.curves(curves, x, y)
	return c.String()
}

// axes cover all curves; a linear Y begins at 0.
func axes(curves []curve, logY bool) (x, y axis) {
	first := curves[0].points[0]
	least, most := first, first
	for _, cv := range curves {
		for _, p := range cv.points {
			least = point{min(least.x, p.x), min(least.y, p.y)}
			most = point{max(most.x, p.x), max(most.y, p.y)}
		}
	}
	if !logY {
		least.y = min(0, least.y)
	}
	x = axis{
		least: least.x, most: most.x, from: lineLeft, to: lineRight,
		log: least.x > 0 && most.x > logRange*least.x,
	}
	y = axis{least: least.y, most: most.y, from: lineBottom, to: lineTop, log: logY}
	return x, y
}

// frame draws the grid and what the axes are; each X that was measured is named
// where there is room.
func (c *canvas) frame(g growth, x, y axis, xs []int) {
	c.text(10, 40, "faint", "start", g.unit)
	c.text((lineLeft+lineRight)/2, lineHeight-10, "faint", "middle", g.over)
	for _, v := range y.ticks() {
		c.line(lineLeft, y.pixel(v), lineRight, y.pixel(v), "grid")
		c.text(lineLeft-8, y.pixel(v)+4, "faint", "end", strconv.FormatFloat(v, 'g', 6, 64))
	}
	last := -lineWidth
	for _, v := range xs {
		at := x.pixel(float64(v))
		if at < last+50 {
			continue
		}
		c.text(at, lineBottom+18, "faint", "middle", count(v))
		last = at
	}
}

// curves draws each with its name behind its end, names moved apart.
func (c *canvas) curves(curves []curve, x, y axis) {
	end := func(cv curve) float64 { return y.pixel(cv.points[len(cv.points)-1].y) }
	slices.SortStableFunc(curves, func(a, b curve) int { return cmp.Compare(end(a), end(b)) })
	next := 0.0
	for i, cv := range curves {
		var pixels []point
		for _, p := range cv.points {
			at := point{x.pixel(p.x), y.pixel(p.y)}
			pixels = append(pixels, at)
			c.dot(at.x, at.y, cv.color)
		}
		c.polyline(pixels, cv.color)
		// Room is left for the names that follow.
		at := max(next, min(end(cv), lineBottom-float64(len(curves)-1-i)*nameGap))
		c.dot(lineRight+14, at, cv.color)
		c.text(lineRight+22, at+4, ours(cv.name), "start", cv.name)
		next = at + nameGap
	}
}
