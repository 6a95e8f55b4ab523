package page

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/cli/wording"
	"github.com/secureportal/sp/internal/sorting"
)

// Sizes in the drawing, in pixels.
const (
	boxWidth  = 168
	boxHeight = 52
	across    = 136 // between two columns
	bend      = 50  // of that, for lines to get from one height to another
	down      = 20  // between two boxes
	margin    = 12
	letters   = 21 // of a line in a box
)

// Where things stand in the drawing, from where connections come from to where they go. Columns
// without anything in them are left out.
const (
	clientColumn = 0
	inletColumn  = 1
	relayColumn  = 2 // and behind it as many more as there are hops
	outletColumn = 100
	targetColumn = 101
)

// How well something is. The words are classes in page.css.
const (
	isOwn   = "own" // it is in this process, and well
	isOther = "other"
	isBad   = "bad"
	isTaken = "taken" // a path that new connections take
	isIdle  = "idle"
)

// box is a portal, or a node or service that one has to do with.
type box struct {
	Kind, Name, Note string
	Full             string // all of the name
	State            string
	X, Y             int

	column int
}

// line joins two boxes.
type line struct {
	State string
	D     string // where it goes, as SVG says it
	Mark  string // a sign and a word on it
	Note  string // and below it
	X, Y  int    // of these
	a, b  *box
}

// drawing is boxes and lines between them.
type drawing struct {
	Boxes         []*box
	Lines         []*line
	Width, Height int
	Left          int // portals that are not in it

	byKey map[string]*box
}

// draw draws what a process is between.
func draw(r daemon.Report, failed []failure) drawing {
	d := drawing{byKey: make(map[string]*box)}
	portals := slices.Clone(r.Portals)
	sorting.Stable(portals, func(a, b daemon.PortalReport) int {
		return cmp.Compare(rank(a), rank(b))
	})
	n := min(len(portals), maxMade)
	d.Left = len(portals) - n
	outlets := 0
	for _, p := range portals {
		if p.Kind == daemon.OutletKind {
			outlets++
		}
	}
	for _, p := range portals[:n] {
		d.portal(p)
	}
	for _, p := range portals[:n] {
		switch p.Kind {
		case daemon.InletKind:
			d.inlet(p)
		case daemon.OutletKind:
			d.outlet(p, failed, outlets == 1)
		default:
			d.forwarder(p, r)
		}
	}
	d.arrange()
	return d
}

// rank puts what is wrong first.
func rank(p daemon.PortalReport) int {
	isDown := func(path daemon.PathReport) bool { return !path.Up }
	switch {
	case !p.Ready:
		return 0
	case p.Error != "", slices.ContainsFunc(p.Paths, isDown):
		return 1
	}
	return 2
}

func portalKey(p daemon.PortalReport) string { return "portal " + title(p) }

func at(address string) string { return "at " + address }

// named is the key of an outlet of this process that claims a name on a relay.
func named(name, relay string) string { return "name " + name + " " + at(relay) }

// box returns the box with a key, which it makes if there is none.
func (d *drawing) box(key string, column int, kind, name string) *box {
	if b := d.byKey[key]; b != nil {
		return b
	}
	b := &box{
		Kind: kind, Name: clipTo(name, letters), Full: clip(name), State: isOther, column: column,
	}
	d.byKey[key] = b
	d.Boxes = append(d.Boxes, b)
	return b
}

// portal makes the box of one of this process's.
func (d *drawing) portal(p daemon.PortalReport) {
	column := map[daemon.Kind]int{
		daemon.InletKind: inletColumn, daemon.OutletKind: outletColumn,
	}[p.Kind]
	if column == 0 {
		column = relayColumn
	}
	b := d.box(portalKey(p), column, string(p.Kind)+" here", called(p))
	b.State, b.Note = isOwn, fmt.Sprintf("connections: %d", p.Connections)
	switch {
	case !p.Ready:
		b.State, b.Note = isBad, "✕ cannot be used"
	case p.Error != "":
		b.Note = "! " + b.Note
	}
	if p.Address != "" && d.byKey[at(p.Address)] == nil {
		d.byKey[at(p.Address)] = b
	}
	for _, c := range p.Claims {
		for _, home := range homesOf(c) {
			if b.column == outletColumn {
				d.byKey[named(c.Name, home.Relay)] = b
			}
		}
	}
}

// join draws a line, or makes more of the one that is there: it is as well as the best.
func (d *drawing) join(a, b *box, state, mark, note string) {
	if a == b {
		return
	}
	better := []string{isBad, isIdle, isTaken}
	for _, l := range d.Lines {
		if l.a != a || l.b != b {
			continue
		}
		if slices.Index(better, state) > slices.Index(better, l.State) {
			l.State, l.Mark, l.Note = state, mark, note
		}
		return
	}
	d.Lines = append(d.Lines, &line{State: state, Mark: mark, Note: note, a: a, b: b})
}

// inlet draws the paths of an inlet, and those who use it.
func (d *drawing) inlet(p daemon.PortalReport) {
	here := d.byKey[portalKey(p)]
	state := isIdle
	if p.Connections > 0 {
		state = isTaken
	}
	clients := d.box("clients", clientColumn, "on this side", "applications")
	d.join(clients, here, state, fmt.Sprintf("%d open", p.Connections), "")
	for _, path := range p.Paths[:min(len(p.Paths), maxMade)] {
		state, mark, note := isIdle, "up "+wording.Ago(path.Since), ""
		switch {
		case !path.Up:
			state, mark = isBad, "✕ down "+wording.Ago(path.Since)
		case path.Taken:
			state, note = isTaken, "taken"
		}
		if path.Up && path.RoundTrip > 0 {
			note = wording.Milliseconds(wording.Seconds(path.RoundTrip))
		}
		if path.Up && path.Direct != "" {
			note = "goes directly"
		}
		last := here
		for i := range path.Hops {
			next := d.hop(path.Hops, i)
			if last.column == outletColumn { // it is asked for by its name
				break
			}
			d.join(last, next, state, mark, note)
			last, mark, note = next, "", ""
		}
	}
}

// hop returns the box of a node on the way to an outlet.
func (d *drawing) hop(hops []string, i int) *box {
	name := hops[i]
	switch {
	case i < len(hops)-1:
		return d.box(at(name), relayColumn+i, "relay or bridge", name)
	case i == 0:
		return d.box(at(name), outletColumn, "outlet at", name)
	}
	if own := d.byKey[named(name, hops[i-1])]; own != nil {
		return own
	}
	return d.box("name "+name, outletColumn, "outlet", name)
}

// outlet draws the service of an outlet, and where its name is claimed. What has failed is of this
// one if it is alone.
func (d *drawing) outlet(p daemon.PortalReport, failed []failure, alone bool) {
	here := d.byKey[portalKey(p)]
	state, mark := isIdle, fmt.Sprintf("%d open", p.Connections)
	if p.Connections > 0 {
		state = isTaken
	}
	for _, f := range failed {
		if alone && f.name == "outlet_refusals_total" {
			mark = fmt.Sprintf("✕ refused: %.0f", f.count)
			if state == isIdle {
				state = isBad
			}
		}
	}
	to := cmp.Or(p.To, "?")
	d.join(here, d.box("target "+to, targetColumn, "service", to), state, mark, "")
	for _, c := range p.Claims[:min(len(p.Claims), maxMade)] {
		d.claim(here, c)
	}
	if p.Address != "" {
		d.join(d.box("comers", inletColumn, "elsewhere", "inlets"), here, isIdle, "listens", "")
	}
}

// claim draws where a portal holds a name, or is to.
func (d *drawing) claim(here *box, c daemon.Claim) {
	all := homesOf(c)
	for _, home := range all[:min(len(all), maxMade)] {
		relay := d.box(at(home.Relay), relayColumn, "relay", home.Relay)
		state, mark := isTaken, "holds"
		if !home.Held {
			state, mark = isBad, "✕ not held"
		}
		if here.column > relay.column {
			d.join(relay, here, state, mark, clipTo(c.Name, letters/2))
			continue
		}
		d.join(here, relay, state, mark, clipTo(c.Name, letters/2))
	}
}

// forwarder draws a relay or a bridge: whom it joins, and the others of its set.
func (d *drawing) forwarder(p daemon.PortalReport, r daemon.Report) {
	here := d.byKey[portalKey(p)]
	name := string(p.Kind) + " " + p.Name
	leads := make(map[string]int) // how many connections, by where they lead
	for _, c := range r.Connections {
		if c.Portal == name {
			leads[c.To]++
		}
	}
	state := isIdle
	if p.Connections > 0 {
		state = isTaken
	}
	d.join(d.box("comers", inletColumn, "elsewhere", "inlets"), here, state,
		fmt.Sprintf("%d open", p.Connections), "")
	made := 0
	for _, n := range r.Names {
		if n.Portal != name || made >= maxMade {
			continue
		}
		made++
		outlet := d.byKey[named(n.Name, p.Address)]
		if outlet == nil {
			outlet = d.box("name "+n.Name, outletColumn, "outlet", n.Name)
			outlet.Note = clipTo(n.Source, letters)
		}
		d.join(here, outlet, used(n.InUse), fmt.Sprintf("in use %d", n.InUse), "")
		delete(leads, n.Name)
	}
	for _, to := range slices.Sorted(maps.Keys(leads)) {
		if made++; made > maxMade {
			break
		}
		next := d.box(at(to), outletColumn, "next hop", to)
		d.join(here, next, isTaken, fmt.Sprintf("%d open", leads[to]), "")
	}
	for _, c := range p.Claims[:min(len(p.Claims), maxMade)] {
		d.claim(here, c)
	}
	d.set(here, r.Nodes, name)
	d.directories(here, r.Directories, name)
}

func used(n int) string {
	if n > 0 {
		return isTaken
	}
	return isIdle
}

// set draws the other relays of one's set, below it.
func (d *drawing) set(here *box, nodes []daemon.NodeReport, name string) {
	made := 0
	for _, n := range nodes {
		if n.Portal != name || n.Self || made >= maxMade {
			continue
		}
		made++
		where := "?"
		if len(n.Addresses) > 0 {
			where = n.Addresses[0]
		}
		b := d.box(at(where), relayColumn, "relay of the set", where)
		state, mark := isIdle, ""
		b.Note = n.State
		if n.Away > 0 {
			state, mark = isBad, "✕"
			b.State, b.Note = isBad, "✕ away "+wording.Ago(n.Away)
		}
		d.join(here, b, state, mark, "")
	}
}

// directories draws by what one finds the names of other sets, below its own.
func (d *drawing) directories(here *box, all []daemon.DirectoryReport, name string) {
	for _, one := range all {
		if one.Portal != name || len(one.Servers) == 0 {
			continue
		}
		b := d.box(at(strings.Join(one.Servers, " ")), relayColumn, "directory", one.Servers[0])
		state, mark := isIdle, ""
		b.Note = "up " + wording.Ago(one.Since)
		if !one.Up {
			state, mark = isBad, "✕"
			b.State, b.Note = isBad, "✕ down "+wording.Ago(one.Since)
		}
		d.join(here, b, state, mark, "")
	}
}

// arrange finds a place for everything.
func (d *drawing) arrange() {
	columns := make(map[int][]*box)
	for _, b := range d.Boxes {
		columns[b.column] = append(columns[b.column], b)
	}
	most := 0
	for _, all := range columns {
		most = max(most, len(all))
	}
	for i, column := range slices.Sorted(maps.Keys(columns)) {
		all := columns[column]
		top := margin + (most-len(all))*(boxHeight+down)/2
		for j, b := range all {
			b.X, b.Y = margin+i*(boxWidth+across), top+j*(boxHeight+down)
		}
	}
	d.Width = 2*margin + len(columns)*(boxWidth+across) - across
	d.Height = 2*margin + most*(boxHeight+down) - down
	leave, reach := make(map[*box]int), make(map[*box]int)
	for _, l := range d.Lines {
		leave[l.a]++
		reach[l.b]++
	}
	reached := make(map[*box]string)
	marks := make(map[[2]int]bool) // where there is one
	for _, l := range d.Lines {
		atEnd := reach[l.b] <= leave[l.a]
		l.place(atEnd)
		if l.Mark != "" && marks[[2]int{l.X, l.Y}] {
			l.place(!atEnd)
		}
		marks[[2]int{l.X, l.Y}] = true
		for _, b := range []*box{l.a, l.b} {
			if reached[b] != isTaken && reached[b] != isIdle {
				reached[b] = l.State
			}
		}
	}
	for b, state := range reached { // nothing of others is seen but by what leads there
		if b.State == isOther && state == isBad {
			b.State = isBad
		}
	}
}

// place says where a line goes: from one column to another, or beside one. Its mark stands where
// it is level, at its end or at its beginning.
func (l *line) place(atEnd bool) {
	a, b := l.a, l.b
	x1, y1, x2, y2 := a.X+boxWidth, a.Y+boxHeight/2, b.X, b.Y+boxHeight/2
	switch {
	case a.column == b.column:
		x := a.X + boxWidth
		l.D = fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x, y1, x+bend, y1, x+bend, y2, x, y2)
		l.X, l.Y = x+bend*3/4, (y1+y2)/2
	case !atEnd:
		turn := x2 - bend
		l.D = fmt.Sprintf("M%d %dH%dC%d %d %d %d %d %d", x1, y1, turn, turn+bend/2, y1,
			x2-bend/2, y2, x2, y2)
		l.X, l.Y = x1+(across-bend)/2, y1
	default:
		turn := x1 + bend
		l.D = fmt.Sprintf("M%d %dC%d %d %d %d %d %dH%d", x1, y1, x1+bend/2, y1,
			turn-bend/2, y2, turn, y2, x2)
		l.X, l.Y = x2-(across-bend)/2, y2
	}
}

// Summary says in words what is drawn, for those who do not see it.
func (d drawing) Summary() string {
	var bad []string
	for _, b := range d.Boxes {
		if b.State == isBad {
			bad = append(bad, b.Kind+" "+b.Full)
		}
	}
	text := fmt.Sprintf("%d boxes and %d lines between them; the tables below say the same.",
		len(d.Boxes), len(d.Lines))
	if len(bad) > 0 {
		text += " Broken: " + strings.Join(bad[:min(len(bad), maxRows)], "; ") + "."
	}
	return text
}
