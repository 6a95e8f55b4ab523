//go:build unix

package test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// recordingMachines have a terminal each, from above.
var recordingMachines = []string{"relay", "server", "client"}

// The classes of lines in a recording.
const (
	drawnCommand = "c"
	drawnOutput  = "o"
	drawnMore    = "m" // what did not fit on the line before
)

// Sizes in a recording are pixels, but for columns.
const (
	recordedColumns = 96
	columnWidth     = 8 // at least that of the widest of the fonts that are asked for
	rowHeight       = 17
	titleHeight     = 24
	terminalMargin  = 10
)

// How long things take in a recording.
const (
	wordTakes   = 130 * time.Millisecond
	outputTakes = 500 * time.Millisecond
	beforeTyped = 900 * time.Millisecond
	atTheEnd    = 6 * time.Second
)

const recordingStyle = `
svg { --back: #fff; --bar: #eaeef2; --line: #d0d7de; --text: #1f2328; --dim: #57606a;
  --prompt: #0969da; font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media (prefers-color-scheme: dark) { svg { --back: #0d1117; --bar: #21262d; --line: #30363d;
  --text: #e6edf3; --dim: #9198a1; --prompt: #4493f8; } }
text { fill: var(--text); white-space: pre; }
text.o, text.m, text.t { fill: var(--dim); }
tspan.p { fill: var(--prompt); }
rect { fill: var(--back); stroke: var(--line); }
rect.b { fill: var(--bar); }
.a { animation: %s step-end infinite; }
@media (prefers-reduced-motion: reduce) { .a { animation: none !important; } }
`

// drawing is a recording that is being drawn.
type drawing struct {
	now   time.Duration
	moves []time.Duration // at which something appears
	lines map[string]*bytes.Buffer
	rows  map[string]int
}

// drawRecording draws what was said as an SVG that moves: three terminals, in which words and lines
// appear when they were typed or printed.
func drawRecording(all []said) []byte {
	d := &drawing{lines: make(map[string]*bytes.Buffer), rows: make(map[string]int)}
	for _, machine := range recordingMachines {
		d.lines[machine] = new(bytes.Buffer)
	}
	for _, s := range all {
		if s.command {
			d.typed(s)
		} else {
			d.printed(s)
		}
	}
	d.now += atTheEnd
	return d.svg()
}

// class returns the attributes of what appears now.
func (d *drawing) class() string {
	if len(d.moves) == 0 || d.moves[len(d.moves)-1] != d.now {
		d.moves = append(d.moves, d.now)
	}
	return fmt.Sprintf(`class="a" style="animation-name: a%d"`, len(d.moves)-1)
}

// line begins a line of a terminal.
func (d *drawing) line(machine, kind string) *bytes.Buffer {
	d.rows[machine]++
	w := d.lines[machine]
	fmt.Fprintf(w, `<text class="%s" x="%d" y="%d">`, kind, terminalMargin,
		titleHeight+d.rows[machine]*rowHeight)
	return w
}

// typed draws a command, word by word.
func (d *drawing) typed(s said) {
	d.now += beforeTyped
	w := d.line(s.machine, drawnCommand)
	fmt.Fprintf(w, `<tspan %s><tspan class="p">%s$ </tspan></tspan>`, d.class(), s.machine)
	for i, word := range strings.Split(s.text, " ") {
		d.now += wordTakes
		if i > 0 {
			word = " " + word
		}
		fmt.Fprintf(w, `<tspan %s>%s</tspan>`, d.class(), escaped(word))
	}
	w.WriteString("</text>\n")
}

// printed draws a line of output, or as many as it takes.
func (d *drawing) printed(s said) {
	d.now += outputTakes
	kind := drawnOutput
	for text := s.text; text != ""; kind = drawnMore {
		part, rest := text, ""
		if utf8.RuneCountInString(text) > recordedColumns {
			runes := []rune(text)
			part, rest = string(runes[:recordedColumns]), string(runes[recordedColumns:])
		}
		w := d.line(s.machine, kind)
		fmt.Fprintf(w, "<tspan %s>%s</tspan></text>\n", d.class(), escaped(part))
		text = rest
	}
}

func escaped(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a buffer takes everything
	return b.String()
}

// svg puts the terminals together.
func (d *drawing) svg() []byte {
	const width = recordedColumns*columnWidth + 2*terminalMargin
	var terminals bytes.Buffer
	y := 1
	for _, machine := range recordingMachines {
		height := titleHeight + d.rows[machine]*rowHeight + terminalMargin
		fmt.Fprintf(&terminals, `<g id="%s" transform="translate(1 %d)">`+"\n", machine, y)
		fmt.Fprintf(&terminals, `<rect width="%d" height="%d" rx="6"/>`, width, height)
		fmt.Fprintf(&terminals, `<rect class="b" width="%d" height="%d" rx="6"/>`, width, titleHeight-4)
		fmt.Fprintf(&terminals, `<text class="t" x="%d" y="14">%s</text>`+"\n", terminalMargin, machine)
		terminals.Write(d.lines[machine].Bytes())
		terminals.WriteString("</g>\n")
		y += height + terminalMargin
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" `+
		`height="%[2]d" role="img">`+"\n", width+2, y-terminalMargin+1)
	b.WriteString("<title>Three terminals: a connection goes on while its relay is killed and " +
		"started again</title>\n<style>")
	fmt.Fprintf(&b, recordingStyle, fmt.Sprintf("%.2fs", d.now.Seconds()))
	for i, at := range d.moves {
		fmt.Fprintf(&b, "@keyframes a%d { 0%% { visibility: hidden; } %.2f%% { visibility: visible; } }",
			i, 100*at.Seconds()/d.now.Seconds())
		b.WriteString("\n")
	}
	b.WriteString("</style>\n")
	b.Write(terminals.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}
