package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// upFile is a file for sp up: what stands at its top, and its tables, by their names.
type upFile struct {
	u      person
	top    string
	order  []string
	tables map[string]string
}

func newUpFile(u person, top string) *upFile {
	u.identifier() // is made
	if os.Geteuid() != 0 {
		top += "no-sandbox = true\n" // see person.program
	}
	return &upFile{u: u, top: top, tables: make(map[string]string)}
}

// set gives a table, like outlet.db, its keys.
func (f *upFile) set(table, keys string) {
	if _, ok := f.tables[table]; !ok {
		f.order = append(f.order, table)
	}
	f.tables[table] = keys
}

// write writes the file and returns its path.
func (f *upFile) write() string {
	f.u.t.Helper()
	text := f.top
	for _, table := range f.order {
		text += "\n[" + table + "]\n" + f.tables[table]
	}
	return f.u.file("sp.toml", text)
}

// start runs the file in a process that has no terminal, as a service.
func (f *upFile) start(args ...string) *process {
	f.u.t.Helper()
	f.u.through = func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
	args = append([]string{"up", "--config", f.write()}, args...)
	return start(f.u.t, f.u.command(args...))
}

// line waits until a portal has printed its line for the nth time, and returns what is in it.
func (p *process) line(portal string, n int) string {
	p.t.Helper()
	lines := func(s string) (all []string) {
		for line := range strings.Lines(s) {
			if rest, ok := strings.CutPrefix(line, portal+" "); ok && strings.HasSuffix(line, "\n") {
				all = append(all, strings.TrimSpace(rest))
			}
		}
		return all
	}
	if err := p.await(&p.stdout, func(s string) bool { return len(lines(s)) >= n }); err != nil {
		p.t.Fatalf("%s is not ready: %v", portal, err)
	}
	return lines(p.stdout.String())[n-1]
}

const (
	appliedText = "the file has been read again"
	refusedText = "the file is not applied"
)

// reload has the process apply the file as it is now, and waits until it has.
func (f *upFile) reload(p *process) {
	p.t.Helper()
	f.write()
	before := p.said(appliedText)
	p.signal(syscall.SIGHUP)
	p.saysAgain(appliedText, before)
}

// TestUpUnderLoad changes one portal of fifty after the other, each in another way, while all carry
// something: nobody loses a byte, those that are changed included.
func TestUpUnderLoad(t *testing.T) {
	t.Parallel()
	const pairs = 25
	u := newPerson(t)
	f := newUpFile(u, "drain = '1h'\n")
	target := steadyService(t)
	for i := range pairs {
		f.set(fmt.Sprint("outlet.o", i),
			fmt.Sprintf("listen = 'unix:o%d.sock'\ntarget = '%s'\n", i, target))
		f.set(fmt.Sprint("inlet.i", i), fmt.Sprintf("listen = '%s'\nto = 'unix:%s/o%d.sock'\n",
			anywhere, u.home, i))
	}
	p := f.start()
	var inlets []string
	for i := range pairs {
		inlets = append(inlets, p.line(fmt.Sprint("inlet i", i), 1))
	}
	all := newChorus(t, pairs, 20*time.Millisecond, inlets...)

	f.set("outlet.o0", "listen = 'unix:o0.sock'\ntarget = '"+named(t, "another")+"'\n")
	f.reload(p)
	reaches(t, inlets[0], "another")
	all.goesOn()
	f.set("inlet.i1", fmt.Sprintf("listen = '%s'\nto = 'unix:%s/o0.sock'\n", "[::1]:0", u.home))
	f.reload(p)
	reaches(t, p.line("inlet i1", 2), "another")
	all.goesOn()
	_, stranger := u.identity("stranger")
	f.set("outlet.o2", f.tables["outlet.o2"]+"deny = '"+stranger+"'\n") // another node
	f.reload(p)
	p.line("outlet o2", 2)
	all.goesOn()
	f.set("outlet.new", "listen = 'unix:new.sock'\ntarget = '"+target+"'\n")
	f.set("outlet.o0", "listen = 'unix:o0.sock'\n") // which lacks something
	f.write()
	p.signal(syscall.SIGHUP)
	p.says(refusedText)
	all.goesOn()
	reaches(t, inlets[0], "another")
	all.ends()
	if n := strings.Count(p.stdout.String(), "\n"); n != 2*pairs+3 {
		t.Errorf("%d lines were printed: something else was started anew", n)
	}
	p.signal(syscall.SIGTERM)
}

// TestUpReloads has many reloads, each of which changes something, leave nothing behind, while a
// connection goes on. SP_FULL=1 takes a thousand.
func TestUpReloads(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	f := newUpFile(u, "drain = '0s'\n")
	f.set("outlet.kept", "listen = 'unix:kept.sock'\ntarget = '"+named(t, "kept")+"'\n")
	f.set("inlet.kept", "listen = '"+anywhere+"'\nto = 'unix:"+u.home+"/kept.sock'\n")
	p := f.start()
	c := reaches(t, p.line("inlet kept", 1), "kept")
	_, stranger := u.identity("stranger")
	n := 0
	change := func() {
		n++
		target := named(t, "a")
		f.set("outlet.other", fmt.Sprintf("listen = 'unix:other%d.sock'\ntarget = '%s'\n", n%3, target))
		f.set("inlet.other", fmt.Sprintf("listen = 'unix:in.sock'\nto = 'unix:%s/other%d.sock'\n%s",
			u.home, n%3, []string{"", "deny = '" + stranger + "'\n"}[n%2]))
		f.reload(p)
	}
	for range 10 {
		change()
	}
	before := p.use()
	many := testenv.OfFull(20, 1000)
	for range many {
		change()
	}
	expectEcho(t, c)
	const (
		some  = 16       // descriptors that come and go by themselves
		slack = 12 << 10 // KiB, of what is not collected yet
	)
	eventually(t, "what has been changed is gone", func() bool {
		after := p.use()
		t.Logf("before %v, after %d changes %v", before, many, after)
		return after.descriptors <= before.descriptors+some && after.rss <= before.rss+slack
	})
}

// expectEcho has a service of named's say something back.
func expectEcho(t *testing.T, c conn) {
	t.Helper()
	if _, err := c.Write([]byte("still")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len("still"))
	if _, err := c.Read(b); err != nil || string(b) != "still" {
		t.Fatalf("got %q, %v", b, err)
	}
}

// TestUpWatches applies a file that is another without being told, and says once what is wrong with
// one that stays wrong.
func TestUpWatches(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	f := newUpFile(u, "log-level = 'info'\n")
	f.set("outlet.a", "listen = '"+anywhere+"'\ntarget = ':1'\n")
	p := f.start("--watch")
	p.line("outlet a", 1)
	f.set("outlet.b", "listen = '"+anywhere+"'\ntarget = ':1'\n")
	f.write()
	p.line("outlet b", 1)
	f.set("outlet.b", "listen = '"+anywhere+"'\ntarget = 1\n")
	f.write()
	p.says("sp.toml:" + f.lineOf("target = 1") + ": outlet b: target is not a list like")
	f.set("outlet.b", "listen = '"+anywhere+"'\ntarget = ':2'\n")
	f.set("inlet.c", "listen = '"+anywhere+"'\nto = 'h:1'\nidentity = '/nowhere/key'\n")
	f.write()
	p.says("/nowhere/key")
	delete(f.tables, "inlet.c")
	f.order = f.order[:2]
	before := p.said(appliedText)
	f.write()
	p.saysAgain(appliedText, before)
	if n := p.said(refusedText); n != 2 {
		t.Errorf("it was said %d times that the file is not applied, want 2", n)
	}
	p.stop()
	p.ends(done)
}

// TestUpSystemd is ready although a far end is not there, tells systemd when it reads its file
// again and when it has, whatever came of it, and that it stops.
func TestUpSystemd(t *testing.T) {
	t.Parallel()
	s := newSystemd(t)
	f := newUpFile(newPerson(t), "drain = '0s'\n")
	f.set("inlet.a", "listen = '"+anywhere+"'\nto = '"+testkit.Address(t)+"'\n")
	f.u.through = func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
	p := s.start(f.u.command("up", "--config", f.write()))
	s.awaits("READY=1")
	reloads := func(what string) {
		t.Helper()
		began := monotonic(t)
		p.signal(syscall.SIGHUP)
		text := s.awaited("RELOADING=1\nMONOTONIC_USEC=")
		at, err := strconv.ParseInt(text, 10, 64)
		if err != nil || at < began || at > monotonic(t) {
			t.Errorf("%s: at %q, %v; it began at %d", what, text, err, began)
		}
		s.awaits("READY=1")
	}
	reloads("the same")
	f.set("inlet.b", "listen = '"+anywhere+"'\nto = '"+testkit.Address(t)+"'\n")
	f.write()
	reloads("something new")
	f.set("inlet.b", "listen = 1\n")
	f.write()
	reloads("something wrong")
	p.says(refusedText)
	p.stop()
	s.awaits("STOPPING=1")
	p.ends(done)
}

// monotonic is systemd's clock, in microseconds.
func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// TestUpUnit has systemd look at the unit that the page shows.
func TestUpUnit(t *testing.T) {
	t.Parallel()
	analyze := testenv.NeedTool(t, "systemd-analyze")
	page, err := os.ReadFile(filepath.Join("..", "docs", "config.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "<!-- unit -->\n```ini\n")
	unit, _, _ := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the page has no unit")
	}
	unit = strings.Replace(unit, "/usr/local/bin/sp", executable(t), 1)
	unit = regexp.MustCompile(`(?m)^Documentation=.*\n`).ReplaceAllString(unit, "")
	version := must(t, exec.Command(analyze, "--version"))
	if n, _ := strconv.Atoi(strings.Fields(string(version))[1]); n < 253 {
		unit = strings.Replace(unit, "Type=notify-reload", "Type=notify", 1)
	}
	path := filepath.Join(t.TempDir(), "sp.service")
	if err := os.WriteFile(path, []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "sp.service") {
		t.Errorf("%v\n%s", err, out)
	}
}

// lineOf is the number of the line of the file that has a text, as it is now.
func (f *upFile) lineOf(text string) string {
	f.u.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.u.home, "sp.toml"))
	before, _, ok := strings.Cut(string(b), text)
	if err != nil || !ok {
		f.u.t.Fatalf("%q is not in the file: %v", text, err)
	}
	return strconv.Itoa(strings.Count(before, "\n") + 1)
}
