package page

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// told is a process that says what a test wants it to.
type told struct {
	report daemon.Report
	asked  int // how often far ends were asked how far away they are
}

func (t *told) Glance() daemon.Report { return t.report }

func (t *told) Report(context.Context) daemon.Report {
	t.asked++
	return t.report
}

// shown is the page of a process.
func shown(t *testing.T, r daemon.Report) string {
	t.Helper()
	p := newPage(&told{report: r})
	defer p.rest()
	return get(t, p, "/")
}

func get(t *testing.T, p *Page, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// someReport is of a process that does some of everything.
func someReport(text string) daemon.Report {
	id := identity.Identifier{1, 2, 3}
	return daemon.Report{
		PID: 4711, Version: text, Age: 100,
		Portals: []daemon.PortalReport{
			{
				Config: text, Kind: daemon.InletKind, Name: text, Address: text, Ready: true,
				Error: text, Connections: 1, Paths: []daemon.PathReport{
					{
						Route: text, Hops: []string{text, text + "2"}, Up: true, Taken: true, Since: 3,
						Direct: text,
					},
					{Route: text, Hops: []string{text + "3", text + "2"}, Error: text, Since: 3},
				},
			},
			{
				Kind: daemon.OutletKind, Name: "outlet", To: text, Address: text,
				Claims: []daemon.Claim{{
					Name: text, Relay: text, Held: true, Error: text, At: []daemon.Home{
						{Relay: text + "4", Held: true}, {Relay: text + "5", Error: text, Lost: 4},
					},
				}},
			},
			{Kind: daemon.RelayKind, Name: text, Ready: true, Error: text},
			{Kind: daemon.BridgeKind, Name: text, Error: text},
		},
		Peers: []daemon.PeerReport{
			{Identifier: id, Name: text, Path: text, Trusted: text},
			{Identifier: id, Name: text, Source: text, Trusted: text},
		},
		Names: []daemon.NameReport{{Portal: "relay " + text, Name: text, Owner: id, Source: text}},
		Nodes: []daemon.NodeReport{
			{Portal: "relay " + text, ID: text, State: "up", Weight: 1, Addresses: []string{text}},
			{Portal: "relay " + text, State: "away", Away: 9, Addresses: []string{text}, Error: text},
		},
		Directories: []daemon.DirectoryReport{
			{Portal: "relay " + text, Servers: []string{text}, Error: text},
		},
		Connections: []daemon.ConnectionReport{
			{
				ID: 1, Portal: "inlet " + text, Client: text, Name: text, Path: text, To: text,
				Direct: true,
			},
			{ID: 2, Portal: "relay " + text, Source: text, To: text + "6", Suspended: true},
			{ID: 3, Portal: "bridge " + text, Source: text, To: text + "7", Opening: true},
		},
	}
}

// elements are what the page is made of, and nothing else.
var elements = strings.Fields("html head meta title link script noscript body header h1 h2 span " +
	"div nav a button main section svg path text g rect figure figcaption table thead tbody tr th " +
	"td ul li p footer")

// structure checks that text is made of the page's own elements only, and returns how many there
// are of each, and all ids.
func structure(t *testing.T, text string) (count map[string]int, ids []string) {
	t.Helper()
	count = make(map[string]int)
	d := xml.NewDecoder(strings.NewReader(text))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return count, ids
		}
		if err != nil {
			t.Fatalf("%v\n%.2000s", err, text)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		count[e.Name.Local]++
		if !slices.Contains(elements, e.Name.Local) {
			t.Errorf("there is an element %s", e.Name.Local)
		}
		for _, a := range e.Attr {
			switch name := strings.ToLower(a.Name.Local); {
			case strings.HasPrefix(name, "on"), name == "style", name == "srcdoc":
				t.Errorf("%s has %s=%q", e.Name.Local, name, a.Value)
			case name == "href" || name == "src":
				if !regexp.MustCompile(`^(/page/[a-z.]+|#[a-z]+|/metrics)$`).MatchString(a.Value) {
					t.Errorf("%s leads to %q", e.Name.Local, a.Value)
				}
			case name == "id":
				ids = append(ids, a.Value)
			}
		}
	}
}

// Whatever others call themselves, and whatever they say, is text.
func TestHostileText(t *testing.T) {
	want, _ := structure(t, shown(t, someReport("plain")))
	for _, text := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onload='alert(1)`,
		`</title><script src=//evil>`, `--><!--`, `</svg><style>*{}</style>`, `{{.Host}}`,
		`javascript:alert(1)`, `&lt;script&gt;`, "\u202ereversed", "\x00\x1b[2J\r\n", "\xff\xfe<b>",
		strings.Repeat("A", 10000), strings.Repeat("<", 10000), strings.Repeat("\u00e9", 5000),
	} {
		page := shown(t, someReport(text))
		got, _ := structure(t, page)
		for name, n := range want {
			if got[name] != n {
				t.Errorf("with %.30q there are %d of %s, want %d", text, got[name], name, n)
			}
		}
		if most := 1 << 20; len(page) > most {
			t.Errorf("with %.30q it has %d bytes", text, len(page))
		}
		if strings.ContainsAny(page, "\u202e\x00\x1b\r") {
			t.Errorf("%.30q is shown as it is", text)
		}
	}
}

// What the script and the styles refer to is there, once.
func TestParts(t *testing.T) {
	p := newPage(&told{report: someReport("x")})
	defer p.rest()
	text := get(t, p, "/")
	_, ids := structure(t, text)
	if slices.Sort(ids); len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("an id is there twice: %v", ids)
	}
	for path, asset := range assets {
		if got := get(t, p, path); got != asset[1] || got == "" || !strings.Contains(text, path) {
			t.Errorf("%s is not told, or not asked for", path)
		}
	}
	for _, found := range regexp.MustCompile(`getElementById\("([a-z]+)"\)`).
		FindAllStringSubmatch(script, -1) {
		if !slices.Contains(ids, found[1]) {
			t.Errorf("the script wants #%s", found[1])
		}
	}
	for _, found := range regexp.MustCompile(`href="#([a-z]+)"`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(ids, found[1]) {
			t.Errorf("a link leads to #%s", found[1])
		}
	}
	if strings.Contains(styles+script+icon+text, "://") &&
		!strings.Contains(icon, "http://www.w3.org/2000/svg") {
		t.Error("something is from elsewhere")
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/page/page.html", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("what is no part of it: %d", w.Code)
	}
}

// A process may have very much of everything, and the page says how much it does not show.
func TestBounded(t *testing.T) {
	r := someReport("x")
	id := identity.Identifier{9}
	for i := range 10_000 {
		name := fmt.Sprintf("%d", i)
		r.Connections = append(r.Connections, daemon.ConnectionReport{
			ID: uint64(10 + i), Portal: "relay x", Identifier: &id, To: name, ToService: uint64(i),
		})
		r.Peers = append(r.Peers, daemon.PeerReport{Identifier: id, Name: name})
		r.Names = append(r.Names, daemon.NameReport{Portal: "relay x", Name: name})
		r.Nodes = append(r.Nodes, daemon.NodeReport{Portal: "relay x", Addresses: []string{name}})
		r.Portals = append(r.Portals, daemon.PortalReport{
			Kind: daemon.InletKind, Name: name,
			Paths:  []daemon.PathReport{{Hops: []string{name, "y"}, Error: "away"}},
			Claims: []daemon.Claim{{Name: name, Relay: name}},
		})
	}
	text := shown(t, r)
	count, _ := structure(t, text)
	if len(text) > 128<<10 || count["tr"] > 200 || count["rect"] > 120 {
		t.Errorf("%d bytes, %d rows, %d boxes", len(text), count["tr"], count["rect"])
	}
	for _, want := range []string{
		"Connections: 10003", "and 9983 more", "9988 portals more", "connections: 10003",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}

// Each thing that may be wrong is said in words, in the window's title, and drawn.
func TestWrong(t *testing.T) {
	well := daemon.Report{Portals: []daemon.PortalReport{{
		Kind: daemon.InletKind, Name: ":6000", Ready: true,
		Paths: []daemon.PathReport{{Hops: []string{"relay:4000", "db"}, Up: true, Taken: true}},
	}}}
	text := shown(t, well)
	if !strings.Contains(text, "Nothing is wrong") || strings.Contains(text, `box bad`) ||
		strings.Contains(text, "<title>(") {
		t.Errorf("all is well, and it says\n%s", text)
	}
	portal := func(p daemon.PortalReport) daemon.Report {
		return daemon.Report{Portals: []daemon.PortalReport{p}}
	}
	for _, one := range []struct {
		report daemon.Report
		drawn  bool
		want   string
	}{
		{
			portal(daemon.PortalReport{Kind: "relay", Name: ":1", Error: "in use"}), true,
			"relay :1 cannot be used: in use",
		},
		{
			portal(daemon.PortalReport{Kind: "outlet", Name: "a", Ready: true, Error: "half"}), false,
			"outlet a: half",
		},
		{portal(daemon.PortalReport{Kind: "inlet", Name: ":2", Paths: []daemon.PathReport{{
			Hops: []string{"r:4", "db"}, Since: 3, Error: "refused",
		}}}), true, "inlet :2: the path to db by r:4 is down, for 3 s: refused"},
		{portal(daemon.PortalReport{Kind: "outlet", Name: "outlet", Claims: []daemon.Claim{{
			Name: "db", Relay: "r:4", Error: "taken",
		}}}), true, "outlet db: the name db is not held at r:4: taken"},
		{portal(daemon.PortalReport{Kind: "outlet", Name: "x", Ready: true, Claims: []daemon.Claim{{
			Name: "db", Relay: "r:4", Held: true,
			At: []daemon.Home{{Relay: "r:4", Held: true}, {Relay: "r:5", Lost: 7, Error: "gone"}},
		}}}), true, "outlet x: the name db has not been held at r:5 for 7 s: gone"},
		{daemon.Report{Nodes: []daemon.NodeReport{{
			Portal: "relay :1", Addresses: []string{"r:5"}, Away: 8, Error: "gone",
		}}}, false, "relay :1: the relay r:5 of its set has been away for 8 s: gone"},
		{
			daemon.Report{Connections: []daemon.ConnectionReport{{Suspended: true}}},
			false,
			"connections that have lost their link and wait for another one: 1",
		},
		{daemon.Report{Stopping: true}, false, "the process is stopping"},
	} {
		text := shown(t, one.report)
		if !strings.Contains(text, one.want) || !strings.Contains(text, "<title>(") {
			t.Errorf("it does not say %q, but %v", one.want, troubles(one.report, nil))
		}
		if drawn := strings.Contains(text, `class="box bad"`); drawn != one.drawn {
			t.Errorf("%s: drawn %v", one.want, drawn)
		}
	}
}

// Who looks often costs little, and what is kept for him goes with him.
func TestCheap(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		of := &told{report: someReport("x")}
		p := newPage(of)
		for range 50 {
			get(t, p, "/")
			time.Sleep(190 * time.Millisecond)
		}
		if of.asked != 1 {
			t.Errorf("in 10 s far ends were asked %d times", of.asked)
		}
		if n := len(p.history.all); n > 7 {
			t.Errorf("in 10 s there are %d samples", n)
		}
		time.Sleep(2 * speedsLast)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.made != nil || p.speeds.carried != nil {
			t.Error("something is kept for nobody")
		}
		for range 100 { // as a scraper does
			p.history.add(takeSample(time.Now()))
			time.Sleep(15 * time.Second)
		}
		if n := len(p.history.all); n > 45 {
			t.Errorf("there are %d samples of ten minutes", n)
		}
	})
}
