package page

import (
	"bytes"
	"fmt"
	"html"
)

// long is from how many bytes on a cell is one that may be broken anywhere.
const long = 40

// markup is HTML that is written in this file. A text from elsewhere has another type, and does not
// become one by itself. There is no template, for html/template looks methods up by their names: a
// program in which that is done has each exported method of whatever is in it.
type markup string

// writer makes the page.
type writer struct{ bytes.Buffer }

// add writes markup, in which each %s is a text, and each %d a number. Texts are escaped, so that
// they are nothing but text, between elements and in attributes in double quotes.
func (w *writer) add(format markup, values ...any) {
	for i, v := range values {
		switch v := v.(type) {
		case string:
			values[i] = html.EscapeString(v)
		case int:
		default:
			panic(fmt.Sprintf("%T is neither text nor number", v))
		}
	}
	fmt.Fprintf(w, string(format), values...)
}

// layout is the page that shows v.
func layout(v *view) []byte {
	var w writer
	w.add(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%s</title>
<link rel="icon" href="/page/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/page/page.css">
<script src="/page/page.js" defer></script>
<noscript><meta http-equiv="refresh" content="5"></noscript>
</head>
<body>
<header>
<h1>sp <span>on %s</span></h1>
<div id="about" data-live>%s</div>
<nav aria-label="on this page">
<a href="#drawing">topology</a> <a href="#charts">rates</a> <a href="#portals">portals</a>
<a href="#connections">connections</a> <a href="#peers">peers</a>
</nav>
<button type="button" id="hold" aria-pressed="false" hidden>hold still</button>
<div id="contact" role="status"></div>
</header>
<main>
`, v.Title, v.Host, v.About)
	w.state(v)
	w.drawing(&v.Drawing)
	w.add(`<section aria-labelledby="charts-title">
<h2 id="charts-title">The last ten minutes</h2>
<div id="charts" data-live>`)
	for i := range v.Charts {
		w.chart(&v.Charts[i])
	}
	w.add("</div>\n</section>\n")
	for i := range v.Tables {
		w.table(&v.Tables[i])
	}
	w.add(`</main>
<footer>Nothing can be changed here. Programs read <a href="/metrics">/metrics</a>, ` +
		`or sp status --json.</footer>
</body>
</html>
`)
	return w.Bytes()
}

// state says what is wrong.
func (w *writer) state(v *view) {
	w.add(`<div id="state" role="status" data-live>`)
	if len(v.Wrong) == 0 {
		w.add(`<div class="state good"><h2>✓ Nothing is wrong</h2></div>`)
	} else {
		w.add(`<div class="state bad"><h2>✕ Wrong: %d`, len(v.Wrong))
		if v.More > 0 {
			w.add(` and %d more`, v.More)
		}
		w.add("</h2>\n<ul>")
		for _, text := range v.Wrong {
			w.add(`<li>%s</li>`, text)
		}
		w.add(`</ul></div>`)
	}
	w.add("<p>%s</p></div>\n", v.All)
}

func (w *writer) drawing(d *drawing) {
	w.add(`<section aria-labelledby="drawing-title">
<h2 id="drawing-title">Topology, as this process sees it</h2>
<div class="scrolls" tabindex="0" role="region" aria-labelledby="drawing-title">`)
	w.add(`<div id="drawing" data-live>`)
	w.add(`<svg class="drawing" width="%d" height="%d" viewBox="0 0 %d %d" role="img"`,
		d.Width, d.Height, d.Width, d.Height)
	w.add(` aria-label="%s">`, d.Summary())
	for _, l := range d.Lines {
		w.add("\n"+`<path class="line %s" d="%s"/>`, l.State, l.D)
	}
	for _, l := range d.Lines {
		if l.Mark != "" {
			w.add("\n"+`<text class="mark %s" x="%d" y="%d" dy="-7">%s</text>`,
				l.State, l.X, l.Y, l.Mark)
		}
		if l.Note != "" {
			w.add("\n"+`<text class="mark note" x="%d" y="%d" dy="15">%s</text>`, l.X, l.Y, l.Note)
		}
	}
	for _, b := range d.Boxes {
		w.add("\n"+`<g class="box %s" transform="translate(%d %d)">`, b.State, b.X, b.Y)
		w.add(`<title>%s %s %s</title><rect width="%d" height="%d" rx="6"/>`,
			b.Kind, b.Full, b.Note, boxWidth, boxHeight)
		w.add("\n"+`<text class="kind" x="10" y="15">%s</text>`, b.Kind)
		w.add(`<text class="name" x="10" y="31">%s</text>`, b.Name)
		w.add(`<text class="note" x="10" y="45">%s</text></g>`, b.Note)
	}
	w.add("\n</svg>")
	if d.Left > 0 {
		w.add(`<p>… and %d portals more, which are in the tables of sp status</p>`, d.Left)
	}
	w.add("</div></div>\n</section>\n")
}

func (w *writer) chart(c *chart) {
	w.add(`<figure><figcaption>%s`, c.Title)
	for _, l := range c.Lines {
		w.add(` <span class="key %s">%s</span>`, l.Name, l.Title)
	}
	w.add(`</figcaption>`)
	if c.Nothing {
		w.add(`<p class="none">known when somebody has looked for some seconds</p></figure>`)
		return
	}
	w.add(`<svg class="chart" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img"`,
		chartWidth, chartHeight)
	w.add(` aria-label="%s">`, c.Said)
	for _, l := range c.Lines {
		w.add(`<path class="curve %s" d="%s"/>`, l.Name, l.D)
	}
	w.add("</svg>\n"+`<div class="axis"><span>%s</span><span>at most %s</span><span>now</span></div>`,
		c.From, c.Most)
	w.add(`</figure>`)
}

func (w *writer) table(t *table) {
	w.add(`<section aria-labelledby="%s-title" class="table"><div id="%s" data-live>`, t.ID, t.ID)
	if len(t.Rows) > 0 {
		w.add(`<h2 id="%s-title">%s</h2>`+"\n<table><thead><tr>", t.ID, t.Title)
		for _, text := range t.Head {
			w.add(`<th scope="col">%s</th>`, text)
		}
		w.add("</tr></thead>\n<tbody>")
		for _, r := range t.Rows {
			w.row(r)
		}
		w.add("\n</tbody></table>")
		if t.Left > 0 {
			w.add(`<p>… and %d more: sp status --all shows them</p>`, t.Left)
		}
		if t.Hint != "" {
			w.add(`<p class="hint">%s</p>`, t.Hint)
		}
	}
	w.add("</div></section>\n")
}

func (w *writer) row(r row) {
	if r.Bad {
		w.add("\n" + `<tr class="bad">`)
	} else {
		w.add("\n<tr>")
	}
	for _, text := range r.Cells {
		if len(text) > long {
			w.add(`<td class="long">%s</td>`, text)
		} else {
			w.add(`<td>%s</td>`, text)
		}
	}
	w.add(`</tr>`)
}
