package page

import (
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/cli/daemon"
)

// past is a history of samples a second or more apart, each with so much carried.
func past(at time.Time, apart time.Duration, carried ...float64) (h history, last sample) {
	for i, n := range carried {
		last = sample{at: at.Add(time.Duration(i) * apart), opened: n, open: n}
		last.carried[toService], last.carried[toClient] = n, 2*n
		last.failures = []failure{{failing[0], "refused", n / 10}, {"flows_resumed_total", "again", 1}}
		h.add(last)
	}
	return h, last
}

func cells(t table, first string) []string {
	for _, r := range t.Rows {
		if r.Cells[0] == first {
			return r.Cells
		}
	}
	return nil
}

func TestRates(t *testing.T) {
	h, now := past(time.Now(), 10*time.Second, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 500, 1000)
	want := "to service|50 B/s|17 B/s|9 B/s|-|1.0 kB"
	if got := strings.Join(cells(rateTable(&h, now), "to service"), "|"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := cells(rateTable(&h, now), "connections that failed"); got[2] != "1.67/s" {
		t.Errorf("failed: %v", got)
	}
	lately := h.since(recent, now)
	if len(lately) != 1 || lately[0].count != 100 {
		t.Errorf("in the last minute: %v", lately)
	}
	bad := cells(failureTable(&h, now), "refused")
	if strings.Join(bad, "|") != "refused|100|100" {
		t.Errorf("got %v", bad)
	}
	all := strings.Join(troubles(daemon.Report{}, lately), "|")
	if all != "refused: 100 in the last minute" {
		t.Errorf("wrong is %q", all)
	}
	var empty history
	if got := cells(rateTable(&empty, now), "to client"); got[1] != "-" || got[2] != "-" {
		t.Errorf("without a history: %v", got)
	}
}

func TestCharts(t *testing.T) {
	h, now := past(time.Now(), time.Minute, 0, 60, 180, 180)
	all := charts(&h, now)
	if c := all[0]; c.Most != "4 B" || c.From != "3 min ago" || len(c.Lines) != 2 {
		t.Errorf("got %+v", c)
	}
	// A third of the width each: half as high as the top, the top, and nothing.
	want := "M0.0 36.5H106.7L106.7 2.0H213.3L213.3 71.0H320.0"
	if got := all[0].Lines[1].D; got != want {
		t.Errorf("to client: %s, want %s", got, want)
	}
	var empty history
	if c := charts(&empty, now)[0]; !c.Nothing {
		t.Errorf("of nothing: %+v", c)
	}
}

func TestSpeeds(t *testing.T) {
	var s speeds
	now := time.Now()
	at := func(id, there, back uint64, age float64) daemon.ConnectionReport {
		return daemon.ConnectionReport{ID: id, ToService: there, ToClient: back, Age: age}
	}
	if known := s.since([]daemon.ConnectionReport{at(1, 100, 0, 9)}, now); len(known) != 0 {
		t.Errorf("at first: %v", known)
	}
	now = now.Add(2 * time.Second)
	known := s.since([]daemon.ConnectionReport{
		at(1, 300, 50, 11), at(2, 40, 0, 0.5), at(3, 7, 7, 20),
	}, now)
	if known[1] != (speed{100, 25}) || known[2] != (speed{80, 0}) || len(known) != 2 {
		t.Errorf("then: %v", known)
	}
	soon := s.since([]daemon.ConnectionReport{at(1, 900, 50, 11)}, now.Add(time.Millisecond))
	if soon[1] != (speed{100, 25}) {
		t.Errorf("again at once: %v", soon)
	}
	late := s.since([]daemon.ConnectionReport{at(1, 900, 50, 99)}, now.Add(time.Minute))
	if len(late) != 0 {
		t.Errorf("after a minute: %v", late)
	}
}

// Boxes do not cover each other, lines lead from the one to the other, and what is the same is one
// box.
func TestDrawing(t *testing.T) {
	path := func(relay string, up bool) daemon.PathReport {
		return daemon.PathReport{Hops: []string{relay, "db"}, Up: up, Taken: up}
	}
	d := draw(daemon.Report{
		Portals: []daemon.PortalReport{
			{
				Kind: daemon.InletKind, Name: ":6000", Ready: true, Connections: 2,
				Paths: []daemon.PathReport{path("r1:4000", false), path("r2:4000", true)},
			},
			{Kind: daemon.RelayKind, Name: ":4000", Address: "r2:4000", Ready: true},
			{
				Kind: daemon.OutletKind, Name: "outlet", To: "db:5432", Ready: true,
				Claims: []daemon.Claim{{
					Name: "db", Relay: "r2:4000", Held: true,
					At: []daemon.Home{{Relay: "r1:4000"}, {Relay: "r2:4000", Held: true}},
				}},
			},
		},
		Nodes: []daemon.NodeReport{
			{Portal: "relay :4000", Self: true, Addresses: []string{"r2:4000"}},
			{Portal: "relay :4000", Away: 5, Addresses: []string{"r1:4000"}},
		},
		Directories: []daemon.DirectoryReport{
			{Portal: "relay :4000", Servers: []string{"nats://n:1", "nats://n:2"}},
		},
	}, nil)
	states := make(map[string]string)
	for i, a := range d.Boxes {
		states[a.Kind+" "+a.Name] = a.State
		if a.X < 0 || a.Y < 0 || a.X+boxWidth > d.Width || a.Y+boxHeight > d.Height {
			t.Errorf("%s is outside, at %d %d", a.Name, a.X, a.Y)
		}
		for _, b := range d.Boxes[:i] {
			if a.X == b.X && a.Y < b.Y+boxHeight && b.Y < a.Y+boxHeight {
				t.Errorf("%s covers %s", a.Name, b.Name)
			}
		}
	}
	for box, want := range map[string]string{
		"inlet here :6000": isOwn, "relay here :4000": isOwn, "outlet here db": isOwn,
		"relay or bridge r1:4000": isBad, "service db:5432": isOther, "directory nats://n:1": isBad,
		"on this side applications": isOther,
	} {
		if states[box] != want {
			t.Errorf("%s is %q, want %q: %v", box, states[box], want, states)
		}
	}
	if len(states) != 8 {
		t.Errorf("what is the same is not one box: %v", states)
	}
	marks := make(map[[2]int]string)
	for _, l := range d.Lines {
		if other := marks[[2]int{l.X, l.Y}]; l.Mark != "" && other != "" {
			t.Errorf("%q is on %q", l.Mark, other)
		}
		marks[[2]int{l.X, l.Y}] = l.Mark
		if l.a == l.b || l.D == "" {
			t.Errorf("a line from %s to %s", l.a.Name, l.b.Name)
		}
	}
	if !strings.Contains(d.Summary(), "Broken: relay or bridge r1:4000") {
		t.Errorf("in words: %s", d.Summary())
	}
}

// TestLeadsTo has the table of portals name the path that is taken, and not one that is down.
func TestLeadsTo(t *testing.T) {
	path := func(relay string, up bool) daemon.PathReport {
		return daemon.PathReport{Hops: []string{relay, "db"}, Up: up, Taken: up}
	}
	inlet := daemon.PortalReport{
		Kind: daemon.InletKind, Paths: []daemon.PathReport{path("r1:4000", false), path("r2:4000", true)},
	}
	if got := leadsTo(inlet); got != "to db by r2:4000" {
		t.Errorf("it leads %s", got)
	}
	inlet.Paths = inlet.Paths[:1]
	if got := leadsTo(inlet); got != "to db by r1:4000" {
		t.Errorf("with none that is up it leads %s", got)
	}
}
