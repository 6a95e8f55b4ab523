package test

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

var pictures = flag.String("pictures", "", "a folder for pictures of the page, with SP_FULL=1")

// seenWithin is how soon the page shows what is wrong.
const seenWithin = 2 * time.Second

// pageStory is a set of two relays, an outlet, and an inlet whose page is looked at:
//
//	clients ─▶ inlet ─▶ two relays ◀─ outlet ─▶ target
type pageStory struct {
	*relaySet
	outlet, inlet *process
	browser       *browser
	chorus        *chorus
}

func newPageStory(t *testing.T) *pageStory {
	t.Helper()
	if !testenv.Full() {
		t.Skip("a browser takes some seconds: it is opened with SP_FULL=1")
	}
	b := newBrowser(t)
	me := survivor(t)
	at := []string{testkit.Address(t), testkit.Address(t)}
	s := &pageStory{
		relaySet: newRelaySet(me, at, append(watched, "--allow", me.identifier())...), browser: b,
	}
	for _, r := range s.all {
		r.begin(at...)
	}
	s.meets()
	s.outlet = me.startNamed(at[0], "db", taggedService(t, "db"), watched...)
	s.settles("db", me.identifier())
	s.inlet = me.start(append([]string{
		"inlet", "--listen", anywhere, "--to", "db@" + at[0],
	}, watched...)...)
	where := s.inlet.ready()
	var conns []conn
	for range 8 {
		conns = append(conns, tagged(t, where, "db"))
	}
	s.chorus = newChorusOf(t, steadyPace(len(conns)), conns...)
	return s
}

// none fails the test unless a list of what is not as it is to be, made by JavaScript, is empty.
func (s *pageStory) none(t *testing.T, what, expression string) {
	t.Helper()
	if got := s.browser.text(`JSON.stringify(` + expression + `)`); got != "[]" {
		t.Errorf("%s: %s", what, got)
	}
}

// TestPageInBrowser has a browser show a page, in light and dark, wide and narrow, with a keyboard
// and without scripts, and an outage be seen in it. Pictures are kept with
//
//	SP_FULL=1 go test -run '^TestPageInBrowser$' ./test -pictures ../docs
func TestPageInBrowser(t *testing.T) {
	s := newPageStory(t)
	b := s.browser
	b.looks("light", 1180, 1000)
	b.open(s.inlet.metricsAt() + "/")
	s.elements(t)
	s.colors(t)
	s.keyboard(t)
	if *pictures != "" { // of a process that has been looked at for a while
		b.eval(`document.activeElement.blur(), new Promise(done => setTimeout(done, 30000))`)
	}
	s.outage(t)
	if *pictures != "" {
		for _, scheme := range []string{"light", "dark"} {
			b.looks(scheme, 1180, 1000)
			b.picture(filepath.Join(*pictures, "page-"+scheme+".png"))
		}
	}
	s.withoutScripts(t)
	b.quiet()
	s.silence(t)
}

// elements are all there, have a size, and are not wider than what they are in.
func (s *pageStory) elements(t *testing.T) {
	t.Helper()
	b := s.browser
	b.is(`document.querySelectorAll("svg.chart").length === 3`)
	b.is(`document.querySelector("#rates td:nth-child(2)").textContent !== "-"`)
	s.none(t, "not seen", `["#about", "#hold", "#state .good", "#drawing svg.drawing", ".box.own",
		".line.taken", ".curve.one", "#rates table", "#portals table", "#paths tr:nth-child(2)",
		"#connections tr:nth-child(8)", "#peers table"].filter(what => {
			const part = document.querySelector(what);
			return !part || part.getBoundingClientRect().width + part.getBoundingClientRect().height < 5;
		})`)
	s.none(t, "wider than its box", `[...document.querySelectorAll(".box text")].filter(
		text => text.getBBox().x + text.getBBox().width > 165).map(text => text.textContent)`)
	s.none(t, "outside of the drawing", `[...document.querySelectorAll(".mark, .box")].filter(part => {
			const a = part.getBoundingClientRect();
			const b = part.ownerSVGElement.getBoundingClientRect();
			return a.left < b.left || a.right > b.right || a.top < b.top || a.bottom > b.bottom;
		}).map(part => part.textContent)`)
	for _, width := range []int{1180, 400} {
		b.looks("light", width, 900)
		if wide := b.eval("document.documentElement.scrollWidth"); wide.(float64) > float64(width) {
			t.Errorf("of %d columns it takes %v", width, wide)
		}
	}
	b.looks("light", 1180, 1000)
}

// colors are another ones in the dark, and can be told from what is behind them in both.
func (s *pageStory) colors(t *testing.T) {
	t.Helper()
	seen := make(map[string]bool)
	for _, scheme := range []string{"light", "dark"} {
		s.browser.looks(scheme, 1180, 1000)
		seen[s.browser.text("getComputedStyle(document.body).backgroundColor")] = true
		s.none(t, scheme+": hard to read", `(() => {
			const bright = color => {
				const part = c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
				const [r, g, b] = color.match(/[\d.]+/g).map(Number).map(part);
				return .2126 * r + .7152 * g + .0722 * b;
			};
			const behind = part => {
				const color = getComputedStyle(part).backgroundColor;
				return part === document.body || !/, 0\)$/.test(color) ? color : behind(part.parentElement);
			};
			const bad = [];
			for (const part of document.querySelectorAll(
				"h1 span, a, #about, .state h2, th, td, .key, .hint, .axis")) {
				const [a, b] = [bright(getComputedStyle(part).color), bright(behind(part))];
				const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
				if (contrast < 4.5) bad.push(part.tagName + " " + contrast.toFixed(1));
			}
			return bad;
		})()`)
	}
	if len(seen) != 2 {
		t.Errorf("light and dark are %v", seen)
	}
	s.browser.looks("light", 1180, 1000)
}

// keyboard reaches all that can be used, and what has been reached stays so while the page changes.
func (s *pageStory) keyboard(t *testing.T) {
	t.Helper()
	b := s.browser
	var reached []string
	for range 7 {
		b.presses("Tab", "", 9)
		reached = append(reached, b.text("document.activeElement.id || "+
			"document.activeElement.className || document.activeElement.getAttribute('href')"))
	}
	want := "#drawing #charts #portals #connections #peers hold scrolls"
	if got := strings.Join(reached, " "); got != want {
		t.Errorf("the keyboard reaches %s, want %s", got, want)
	}
	b.eval(`document.getElementById("hold").focus()`)
	about := `document.getElementById("about").textContent`
	before := b.text(about)
	b.is(about + " !== " + fmt.Sprintf("%q", before))
	b.presses("Enter", "\r", 13)
	b.is(`document.getElementById("hold").getAttribute("aria-pressed") === "true"`)
	b.eval("new Promise(done => setTimeout(done, 1600))") // what was under way is there
	before = b.text(about)
	b.eval("new Promise(done => setTimeout(done, 2500))")
	if after := b.text(about); after != before {
		t.Errorf("held still, it goes from %s to %s", before, after)
	}
	b.presses("Enter", "\r", 13)
	b.is(about + " !== " + fmt.Sprintf("%q", before))
	b.is(`document.activeElement.id === "hold"`)
}

// outage is seen soon, by everything that shows it.
func (s *pageStory) outage(t *testing.T) {
	t.Helper()
	b := s.browser
	b.is(`document.title.startsWith("sp on")`)
	began := time.Now()
	s.all[0].killed()
	b.is(`document.querySelectorAll(".state.bad li, .line.bad, .box.bad, #paths tr.bad").length >= 5`)
	took := time.Since(began)
	t.Logf("seen after %v", took)
	if took > unhurried(seenWithin) {
		t.Errorf("an outage is seen after %v", took)
	}
	b.is(`document.title.startsWith("(")`)
	b.is(`document.querySelector(".state.bad li").textContent.includes("is down, for")`)
	b.is(`document.querySelector(".line.taken") !== null`)
}

// withoutScripts all can be read as well.
func (s *pageStory) withoutScripts(t *testing.T) {
	t.Helper()
	b := s.browser
	b.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true}, nil)
	b.open(s.inlet.metricsAt() + "/")
	b.is(`document.querySelector("#hold").hidden`)
	s.none(t, "not seen", `[".state.bad li", "svg.drawing", "#paths td", "#connections td"].filter(
		what => !document.querySelector(what))`)
	b.is(`document.querySelector("meta[http-equiv=refresh]") !== null`)
	b.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": false}, nil)
}

// silence of a process that is gone is told, and what is old is not shown as if it were new.
func (s *pageStory) silence(t *testing.T) {
	t.Helper()
	b := s.browser
	b.open(s.inlet.metricsAt() + "/")
	b.is(`document.getElementById("contact").textContent === ""`)
	s.chorus.ends()
	began := time.Now()
	s.inlet.kill()
	b.is(`document.getElementById("contact").textContent.includes("does not answer")`)
	if took := time.Since(began); took > unhurried(seenWithin) {
		t.Errorf("that the process is gone is seen after %v", took)
	}
	b.is(`document.body.classList.contains("old") && document.title.startsWith("✕")`)
}

// TestPageTokenInBrowser has a browser show the token by itself, for all that the page asks.
func TestPageTokenInBrowser(t *testing.T) {
	if !testenv.Full() {
		t.Skip("a browser takes some seconds: it is opened with SP_FULL=1")
	}
	b := newBrowser(t)
	u := newPerson(t)
	token := u.file("token", "0123456789abcdef\n")
	p := u.start("relay", "--listen", anywhere, "--metrics", anywhere, "--metrics-token-file", token)
	p.ready()
	url := strings.Replace(p.metricsAt(), "http://", "http://me:0123456789abcdef@", 1)
	b.open(url + "/")
	about := b.text(`document.getElementById("about").textContent`)
	b.is(`document.getElementById("about").textContent !== ` + fmt.Sprintf("%q", about))
	b.is(`getComputedStyle(document.querySelector("nav")).flexGrow === "1"`) // the styles are there
	u.file("token", "fedcba9876543210\n")
	b.is(`document.getElementById("contact").textContent.includes("token")`)
}
