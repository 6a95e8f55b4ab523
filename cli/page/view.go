package page

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/cli/wording"
	"github.com/secureportal/sp/internal/sorting"
)

// view is what the layout shows. Texts in it are as they may be shown: see clip.
type view struct {
	Title string // of the window: it begins with how many things are wrong
	Host  string
	About string
	All   string // what there is, in a few words
	Wrong []string
	More  int // that are wrong as well

	Drawing drawing
	Charts  []chart
	Tables  []table
}

// table is one of the page's.
type table struct {
	ID, Title string
	Head      []string
	Rows      []row
	Left      int // rows that are not shown
	Hint      string
}

// row is cells, each below its head.
type row struct {
	Bad   bool
	Cells []string
}

func newView(
	r daemon.Report, host string, h *history, now sample, speeds map[uint64]speed,
) view {
	failed := h.since(recent, now)
	wrong := troubles(r, failed)
	v := view{
		Host: host, Drawing: draw(r, failed), Charts: charts(h, now),
		About: fmt.Sprintf("process %d, up %s, %s, version %s", r.PID, wording.Ago(r.Age),
			r.Identifier, clip(r.Version)),
		All: fmt.Sprintf("portals: %d, connections: %d, peers: %d", len(r.Portals),
			len(r.Connections), len(r.Peers)),
	}
	v.Title = "sp on " + host
	if n := len(wrong); n > 0 {
		v.Title = fmt.Sprintf("(%d) %s", n, v.Title)
		v.Wrong, v.More = wrong[:min(n, maxRows)], max(n-maxRows, 0)
	}
	v.Tables = []table{
		rateTable(h, now), portalTable(r.Portals), pathTable(r.Portals), claimTable(r.Portals),
		connectionTable(r, speeds), peerTable(r.Peers), nameTable(r.Names), nodeTable(r.Nodes),
		directoryTable(r.Directories),
		failureTable(h, now),
	}
	return v
}

// fill adds rows, those that are bad first, as far as there is room.
func (t *table) fill(all []row) {
	sorting.Stable(all, func(a, b row) int {
		switch {
		case a.Bad == b.Bad:
			return 0
		case a.Bad:
			return -1
		}
		return 1
	})
	n := min(len(all), maxRows)
	t.Rows, t.Left = all[:n], len(all)-n
}

// windows are the times over which rates are shown, besides now.
var windows = []struct {
	title string
	last  time.Duration
}{
	{"last minute", time.Minute}, {"last 5 min", 5 * time.Minute}, {"last 10 min", kept},
}

func rateTable(h *history, now sample) table {
	t := table{
		ID: "rates", Title: "Rates", Head: []string{"", "now"},
		Hint: "of times when somebody looked, here or at /metrics: the process does not wake for it",
	}
	var before []*sample // nil where there is none
	add := func(s sample, ok bool) {
		before = append(before, nil)
		if ok {
			before[len(before)-1] = &s
		}
	}
	add(h.lately(now))
	covered := time.Duration(0)
	for _, w := range windows {
		t.Head = append(t.Head, w.title)
		s, ok := h.within(w.last, now)
		add(s, ok && now.at.Sub(s.at) > covered)
		covered = w.last
	}
	t.Head = append(t.Head, "in all")
	measures := []struct {
		title string
		value func(sample) float64
		say   func(float64) string
	}{
		{"to service", func(s sample) float64 { return s.carried[toService] }, wording.Size},
		{"to client", func(s sample) float64 { return s.carried[toClient] }, wording.Size},
		{"connections opened", func(s sample) float64 { return s.opened }, figure},
		{"connections that failed", sample.failed, figure},
	}
	for _, m := range measures {
		cells := []string{m.title}
		for _, s := range before {
			text := "-"
			if s != nil {
				over := now.at.Sub(s.at).Seconds()
				text = m.say((m.value(now)-m.value(*s))/over) + "/s"
			}
			cells = append(cells, text)
		}
		t.Rows = append(t.Rows, row{Cells: append(cells, m.say(m.value(now)))})
	}
	return t
}

// figure is a number that is whole, or small.
func figure(n float64) string {
	if n == float64(int64(n)) || n >= 100 {
		return strconv.FormatInt(int64(n), 10)
	}
	return strconv.FormatFloat(n, 'f', 2, 64)
}

func portalTable(all []daemon.PortalReport) table {
	t := table{
		ID: "portals", Title: "Portals",
		Head: []string{"portal", "state", "listens at", "leads to", "connections", "what is wrong"},
	}
	var rows []row
	for _, p := range all {
		state := "ready"
		switch {
		case !p.Ready:
			state = "NOT READY"
		case p.Error != "":
			state = "ready, but"
		}
		rows = append(rows, row{!p.Ready || p.Error != "", []string{
			title(p), state, clip(p.Address), leadsTo(p), strconv.Itoa(p.Connections), clip(p.Error),
		}})
	}
	t.fill(rows)
	return t
}

// leadsTo is where a portal's new connections go: an inlet's by the path that they take, or by the
// first, if they take none.
func leadsTo(p daemon.PortalReport) string {
	taken := slices.IndexFunc(p.Paths, func(path daemon.PathReport) bool { return path.Taken })
	switch {
	case taken >= 0:
		return by(p.Paths[taken].Hops)
	case len(p.Paths) > 0:
		return by(p.Paths[0].Hops)
	}
	return clip(p.To)
}

func pathTable(all []daemon.PortalReport) table {
	t := table{
		ID: "paths", Title: "Paths of inlets",
		Head: []string{"inlet", "path", "state", "round trip", "route", "what is wrong"},
	}
	var rows []row
	for _, p := range all {
		for _, path := range p.Paths {
			rows = append(rows, row{!path.Up, []string{
				title(p), by(path.Hops), pathState(path), roundTrip(path.RoundTrip),
				clip(path.Route), clip(path.Error),
			}})
		}
	}
	t.fill(rows)
	return t
}

func pathState(p daemon.PathReport) string {
	state := "up " + wording.Ago(p.Since)
	if !p.Up {
		return "DOWN " + wording.Ago(p.Since)
	}
	if p.Taken {
		state += ", taken"
	}
	switch {
	case p.Direct != "":
		state += ", direct to " + clip(p.Direct)
	case p.NotDirect != "":
		state += ", not direct: " + clip(p.NotDirect)
	}
	return state
}

func roundTrip(seconds float64) string {
	if seconds <= 0 {
		return "-"
	}
	return wording.Milliseconds(wording.Seconds(seconds))
}

func claimTable(all []daemon.PortalReport) table {
	t := table{
		ID: "claims", Title: "Names that are claimed",
		Head: []string{"portal", "name", "relay", "state", "what is wrong"},
	}
	var rows []row
	for _, p := range all {
		for _, c := range p.Claims {
			for _, at := range homesOf(c) {
				state := "held"
				if !at.Held {
					state = "NOT HELD " + wording.Ago(at.Lost)
				}
				rows = append(rows, row{!at.Held, []string{
					title(p), clip(c.Name), clip(at.Relay), state, clip(at.Error),
				}})
			}
		}
	}
	t.fill(rows)
	return t
}

// homesOf are the relays where a name is claimed: that which was named, if none are known.
func homesOf(c daemon.Claim) []daemon.Home {
	if len(c.At) > 0 {
		return c.At
	}
	return []daemon.Home{{Relay: c.Relay, Held: c.Held, Error: c.Error}}
}

func connectionTable(r daemon.Report, speeds map[uint64]speed) table {
	t := table{
		ID: "connections", Title: fmt.Sprintf("Connections: %d", len(r.Connections)),
		Head: []string{
			"id", "age", "to service", "rate", "to client", "rate", "peer", "from", "to", "state",
		},
		Hint: "sp status --disconnect ID ends one",
	}
	all := slices.Clone(r.Connections)
	sorting.Stable(all, func(a, b daemon.ConnectionReport) int {
		x, y := speeds[a.ID], speeds[b.ID]
		return cmp.Or(
			cmp.Compare(y.toService+y.toClient, x.toService+x.toClient),
			cmp.Compare(b.ToService+b.ToClient, a.ToService+a.ToClient))
	})
	for _, c := range all[:min(len(all), maxRows)] {
		state := "open"
		switch {
		case c.Opening:
			state = "opening"
		case c.Suspended:
			state = "SUSPENDED: its link is lost"
		case c.Direct:
			state = "open, goes directly"
		}
		there, back := "-", "-"
		if s, ok := speeds[c.ID]; ok {
			there, back = wording.Size(s.toService)+"/s", wording.Size(s.toClient)+"/s"
		}
		t.Rows = append(t.Rows, row{c.Suspended, []string{
			fmt.Sprintf("%d.%d", r.PID, c.ID), wording.Ago(c.Age),
			wording.Size(float64(c.ToService)), there, wording.Size(float64(c.ToClient)), back,
			wording.Short(c.Identifier), clip(cmp.Or(c.Client, c.Source, "-")), clip(c.To), state,
		}})
	}
	t.Left = len(all) - len(t.Rows)
	return t
}

func peerTable(all []daemon.PeerReport) table {
	t := table{
		ID: "peers", Title: fmt.Sprintf("Peers: %d", len(all)),
		Head: []string{"Identifier", "name", "since", "round trip", "where", "trusted by"},
	}
	for _, p := range all[:min(len(all), maxRows)] {
		where := "from " + clip(p.Source)
		if p.Path != "" {
			where = "by " + clip(p.Path)
		}
		t.Rows = append(t.Rows, row{false, []string{
			p.Identifier.String(), cmp.Or(clip(p.Name), "-"), wording.Ago(p.Age),
			roundTrip(p.RoundTrip), where, clip(p.Trusted),
		}})
	}
	t.Left = len(all) - len(t.Rows)
	return t
}

func nameTable(all []daemon.NameReport) table {
	t := table{
		ID: "names", Title: fmt.Sprintf("Names that outlets hold here: %d", len(all)),
		Head: []string{"name", "owner", "since", "from", "in use", "standby links"},
	}
	for _, n := range all[:min(len(all), maxRows)] {
		t.Rows = append(t.Rows, row{false, []string{
			clip(n.Name), n.Owner.String(), wording.Ago(n.Age), clip(n.Source),
			strconv.Itoa(n.InUse), strconv.Itoa(n.Standby),
		}})
	}
	t.Left = len(all) - len(t.Rows)
	return t
}

func directoryTable(all []daemon.DirectoryReport) table {
	t := table{
		ID: "directories", Title: "Directories of names",
		Head: []string{"servers", "state", "names looked up lately", "what is wrong"},
	}
	var rows []row
	for _, d := range all {
		state := "up " + wording.Ago(d.Since)
		if !d.Up {
			state = "DOWN " + wording.Ago(d.Since)
		}
		rows = append(rows, row{!d.Up, []string{
			clip(strings.Join(d.Servers, ", ")), state, strconv.Itoa(d.Found), clip(d.Error),
		}})
	}
	t.fill(rows)
	return t
}

func nodeTable(all []daemon.NodeReport) table {
	t := table{
		ID: "nodes", Title: "Relays of the set",
		Head: []string{"relay", "state", "weight", "at", "what is wrong"},
	}
	var rows []row
	for _, n := range all {
		state := n.State
		switch {
		case n.Away > 0:
			state = "AWAY " + wording.Ago(n.Away)
		case n.Self:
			state += ", this one"
		}
		rows = append(rows, row{n.Away > 0, []string{
			cmp.Or(clip(n.ID), "?"), state, strconv.Itoa(n.Weight),
			clip(strings.Join(n.Addresses, ", ")), clip(n.Error),
		}})
	}
	t.fill(rows)
	return t
}

func failureTable(h *history, now sample) table {
	t := table{
		ID: "failures", Title: "What went wrong, or was made good",
		Head: []string{"", "last minute", "in all"},
	}
	lately := make(map[string]float64)
	for _, f := range h.since(recent, now) {
		lately[f.what] = f.count
	}
	for _, f := range now.failures {
		if f.count > 0 {
			n := lately[f.what]
			bad := n > 0 && slices.Contains(failedOpening, f.name)
			t.Rows = append(t.Rows, row{bad, []string{f.what, figure(n), figure(f.count)}})
		}
	}
	return t
}
