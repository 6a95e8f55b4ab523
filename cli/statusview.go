package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/cli/wording"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/sorting"
)

// maxShown is how many connections, peers or names are shown of a process, unless all are to be.
const maxShown = 20

// view shows samples, one after the other.
type view struct {
	w      io.Writer
	json   bool
	all    bool
	again  bool // there will be more than one
	screen bool // each in place of the one before
	shown  bool
}

func (v *view) show(s sample) error {
	if v.json {
		answer := map[string]any{"processes": s.processes}
		if v.again {
			return json.NewEncoder(v.w).Encode(answer) // a line each
		}
		return printJSON(v.w, answer)
	}
	var text bytes.Buffer
	for i, p := range s.processes {
		if i > 0 {
			text.WriteByte('\n')
		}
		v.process(&text, p)
	}
	if len(s.processes) == 0 {
		text.WriteString("no process of this user's was found\n")
	}
	_, err := v.w.Write(v.placed(text.Bytes()))
	return err
}

// placed is a text in the place of the one before, or behind it.
func (v *view) placed(text []byte) []byte {
	const home, toEndOfLine, toEnd = "\x1b[H", "\x1b[K", "\x1b[J"
	first := !v.shown
	v.shown = true
	switch {
	case v.screen:
		lines := strings.ReplaceAll(string(text), "\n", toEndOfLine+"\n")
		return []byte(home + lines + toEnd)
	case v.again && !first:
		return append([]byte{'\n'}, text...)
	}
	return text
}

// process shows one process.
func (v *view) process(w io.Writer, p processStatus) {
	if p.Error != "" {
		fmt.Fprintf(w, "process %d: %s\n", p.PID, plain(p.Error))
		return
	}
	state := ""
	if p.Stopping {
		state = ", stopping"
	}
	fmt.Fprintf(w, "process %d, up %s%s, %s\n", p.PID, ago(p.Age), state, p.Identifier)
	for _, text := range p.Trouble {
		fmt.Fprintf(w, "  TROUBLE: %s\n", plain(text))
	}
	for _, portal := range p.Portals {
		showPortal(w, portal)
	}
	showNodes(w, p.Nodes)
	showDirectories(w, p.Directories)
	v.names(w, p.Names)
	v.peers(w, p.Peers)
	v.connections(w, p)
}

func showPortal(w io.Writer, p daemon.PortalReport) {
	text := fmt.Sprintf("  %s %s", p.Kind, plain(p.Name))
	if p.Address != "" && p.Address != p.Name {
		text += " at " + plain(p.Address)
	}
	if p.To != "" {
		text += " to " + plain(p.To)
	}
	switch {
	case p.Ready && p.Error == "":
		text += ": ready"
	case p.Ready:
		text += ": ready, but " + plain(p.Error)
	case p.Error != "":
		text += ": NOT READY: " + plain(p.Error)
	default:
		text += ": NOT READY"
	}
	fmt.Fprintln(w, text)
	for _, path := range p.Paths {
		state := "up " + ago(path.Since)
		if !path.Up {
			state = "DOWN " + ago(path.Since)
		}
		if path.RoundTrip > 0 && path.Up {
			state += ", round trip " + milliseconds(seconds(path.RoundTrip))
		}
		if path.Taken {
			state += ", taken"
		}
		switch {
		case path.Direct != "":
			state += ", direct to " + plain(path.Direct)
		case path.NotDirect != "":
			state += ", not direct (" + plain(path.NotDirect) + ")"
		}
		if path.Error != "" {
			state += ": " + plain(path.Error)
		}
		fmt.Fprintf(w, "    path %s: %s\n", plain(path.Route), state)
	}
	for _, c := range p.Claims {
		state := "held"
		if !c.Held {
			state = "NOT HELD"
		}
		if c.Error != "" {
			state += ": " + plain(c.Error)
		}
		fmt.Fprintf(w, "    name %s at %s: %s\n", plain(c.Name), plain(c.Relay), state)
		for _, at := range c.Broken() {
			fmt.Fprintf(w, "      NOT HELD at %s for %s: %s\n", plain(at.Relay), ago(at.Lost),
				plain(at.Error))
		}
	}
}

func showDirectories(w io.Writer, all []daemon.DirectoryReport) {
	for _, d := range all {
		at := plain(strings.Join(d.Servers, ", "))
		if !d.Up {
			fmt.Fprintf(w, "  directory %s: DOWN %s: %s\n", at, ago(d.Since), plain(d.Error))
			continue
		}
		fmt.Fprintf(w, "  directory %s: up %s, names looked up lately: %d\n", at, ago(d.Since), d.Found)
	}
}

func showNodes(w io.Writer, nodes []daemon.NodeReport) {
	for _, n := range nodes {
		text := fmt.Sprintf("%s, weight %d", n.State, n.Weight)
		switch {
		case n.Away > 0:
			text = "AWAY " + ago(n.Away)
		case n.Self:
			text += ", this one"
		}
		text += ", at " + plain(strings.Join(n.Addresses, ", "))
		if n.Error != "" {
			text += ": " + plain(n.Error)
		}
		id := "?"
		if n.ID != "" {
			id = n.ID + "…"
		}
		fmt.Fprintf(w, "  node %s: %s\n", id, text)
	}
}

func (v *view) names(w io.Writer, names []daemon.NameReport) {
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(w, "  names: %d\n", len(names))
	t := table(w)
	for _, n := range names[:v.limit(len(names))] {
		fmt.Fprintf(t, "    %s\t%s\t%s\tfrom %s\tin use %d\n",
			plain(n.Name), short(&n.Owner), ago(n.Age), plain(n.Source), n.InUse)
	}
	v.rest(t, len(names))
}

func (v *view) peers(w io.Writer, peers []daemon.PeerReport) {
	if len(peers) == 0 {
		return
	}
	fmt.Fprintf(w, "  peers: %d\n", len(peers))
	t := table(w)
	for _, p := range peers[:v.limit(len(peers))] {
		where := "from " + plain(p.Source)
		if p.Path != "" {
			where = "by " + plain(p.Path)
		}
		took := "-"
		if p.RoundTrip > 0 {
			took = milliseconds(seconds(p.RoundTrip))
		}
		fmt.Fprintf(t, "    %s\t%s\t%s\t%s\t%s\n",
			short(&p.Identifier), cmp.Or(plain(p.Name), "-"), ago(p.Age), took, where)
	}
	v.rest(t, len(peers))
}

// connections shows the fastest first, and then those that have carried most.
func (v *view) connections(w io.Writer, p processStatus) {
	all := slices.Clone(p.Connections)
	fmt.Fprintf(w, "  connections: %d\n", len(all))
	if len(all) == 0 {
		return
	}
	sorting.Stable(all, func(a, b connectionStatus) int {
		return cmp.Or(
			cmp.Compare(b.ToServiceRate+b.ToClientRate, a.ToServiceRate+a.ToClientRate),
			cmp.Compare(b.ToService+b.ToClient, a.ToService+a.ToClient))
	})
	t := table(w)
	fmt.Fprintln(t, "    id\tage\tto service\t\tto client\t\tpeer\tfrom\tto")
	for _, c := range all[:v.limit(len(all))] {
		to := plain(c.To)
		switch {
		case c.Opening:
			to += " (opening)"
		case c.Suspended:
			to += " (SUSPENDED: its link is lost)"
		case c.Direct:
			to += " (goes directly)"
		}
		fmt.Fprintf(t, "    %d.%d\t%s\t%s\t%s/s\t%s\t%s/s\t%s\t%s\t%s\n",
			p.PID, c.ID, ago(c.Age), size(float64(c.ToService)), size(c.ToServiceRate),
			size(float64(c.ToClient)), size(c.ToClientRate), short(c.Identifier),
			plain(cmp.Or(c.Client, c.Source, "-")), to)
	}
	v.rest(t, len(all))
}

func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// limit is how many of n are shown.
func (v *view) limit(n int) int {
	if v.all {
		return n
	}
	return min(n, maxShown)
}

// rest ends a table, and says how many are not in it.
func (v *view) rest(t *tabwriter.Writer, n int) {
	if more := n - v.limit(n); more > 0 {
		fmt.Fprintf(t, "    … and %d more: see --all\n", more)
	}
	_ = t.Flush()
}

func short(id *identity.Identifier) string { return wording.Short(id) }

func plain(text string) string { return wording.Plain(text) }

func seconds(s float64) time.Duration { return wording.Seconds(s) }

func ago(s float64) string { return wording.Ago(s) }

func size(bytes float64) string { return wording.Size(bytes) }
