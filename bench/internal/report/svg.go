package report

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// style is for a plot in an <img>, where it follows the reader's light or dark
// setting: nothing is drawn behind it.
const style = `<style>
text{font:12px system-ui,sans-serif;fill:#24292f}
.title{font-size:15px;font-weight:600}
.ours{font-weight:700}
.faint{fill:#656d76}
.grid{stroke:#8c959f;stroke-opacity:.35}
.spread{stroke:#24292f}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.faint{fill:#9198a1}
.spread{stroke:#e6edf3}
}
</style>
`

// palette has enough contrast on white and on black.
var palette = []string{
	"#2f81f7", "#e08c00", "#1a9e5c", "#e5534b", "#986ee2", "#d5568f",
	"#1b9aaa", "#a0785a", "#6b8e23", "#5b7083", "#8c8c8c",
}

// A canvas collects the elements of a plot.
type canvas struct {
	b strings.Builder
}

func newCanvas(width, height float64, title string) *canvas {
	c := &canvas{}
	fmt.Fprintf(&c.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" `+
		`width="%g" height="%g" role="img" aria-label="%s">`+"\n",
		width, height, width, height, escape(title))
	c.b.WriteString(style)
	c.text(10, 22, "title", "start", title)
	return c
}

// text puts a line of text; anchor is start, middle or end.
func (c *canvas) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(&c.b, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`+"\n",
		x, y, class, anchor, escape(text))
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(&c.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`+"\n",
		x1, y1, x2, y2, class)
}

func (c *canvas) rect(x, y, width, height float64, color string) {
	fmt.Fprintf(&c.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n",
		x, y, width, height, color)
}

func (c *canvas) dot(x, y float64, color string) {
	fmt.Fprintf(&c.b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x, y, color)
}

func (c *canvas) polyline(points []point, color string) {
	var at []string
	for _, p := range points {
		at = append(at, fmt.Sprintf("%.1f,%.1f", p.x, p.y))
	}
	fmt.Fprintf(&c.b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n",
		strings.Join(at, " "), color)
}

func (c *canvas) String() string { return c.b.String() + "</svg>\n" }

func escape(text string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(text)); err != nil {
		panic(err) // a strings.Builder takes everything
	}
	return b.String()
}

type point struct{ x, y float64 }

// ours says whether a topology is to stand out.
func ours(name string) string {
	if name == "sp" || strings.HasPrefix(name, "sp-") {
		return "ours"
	}
	return "name"
}
