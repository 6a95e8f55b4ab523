package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// street is many portals of one process: outlets, and an inlet to each of them.
type street struct {
	*lab
	named []Named
}

// outletAt is a configuration of an outlet.
func (s *street) outletAt(listen, target string) config.Config {
	return config.Config{Node: s.node, Outlets: []config.Outlet{
		{Entrance: config.Entrance{Listen: listen}, Target: target},
	}}
}

func (s *street) inletAt(listen, to string) config.Config {
	return config.Config{Node: s.node, Inlets: []config.Inlet{{Listen: listen, To: []string{to}}}}
}

// newStreet starts n outlets, each with a service that says its number, and an inlet to each.
func newStreet(t *testing.T, n int) *street {
	t.Helper()
	s := &street{lab: newLab(t)}
	// A port that is listened at anew may be another connection's own meanwhile.
	dir := t.TempDir()
	for i := range n {
		at := fmt.Sprintf("unix:%s/o%d", dir, i)
		service := serviceThatSays(t, fmt.Sprint(i))
		s.named = append(s.named,
			Named{fmt.Sprint("outlet ", i), s.outletAt(at, service)},
			Named{fmt.Sprint("inlet ", i), s.inletAt(fmt.Sprintf("unix:%s/i%d", dir, i), at)})
	}
	d, err := StartAll(testkit.Context(t), s.named, Options{
		Logger: slog.New(slog.DiscardHandler), Notify: s.notify,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	s.Daemon = d
	return s
}

// at returns the configuration of a name.
func (s *street) at(name string) *config.Config {
	i := slices.IndexFunc(s.named, func(n Named) bool { return n.Name == name })
	return &s.named[i].Config
}

// changed gives the street lists of its own, so that what runs does not change.
func (s *street) changed() {
	s.named = slices.Clone(s.named)
	for i := range s.named {
		c := &s.named[i].Config
		c.Inlets, c.Outlets = slices.Clone(c.Inlets), slices.Clone(c.Outlets)
	}
}

func (s *street) goTo(t *testing.T, i int, greeting string) net.Conn {
	t.Helper()
	listen := s.at(fmt.Sprint("inlet ", i)).Inlets[0].Listen
	s.ready(t, InletKind, listen)
	return connect(t, listen, greeting)
}

func (s *street) applyAll(t *testing.T, want Change) {
	t.Helper()
	got, err := s.ApplyAll(testkit.Context(t), s.named)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("changed %+v, want %+v", got, want)
	}
}

// refuses expects that nothing is changed, for a reason that has a text in it.
func (s *street) refuses(t *testing.T, text string) {
	t.Helper()
	_, tried := s.Try(testkit.Context(t), s.named)
	c, err := s.ApplyAll(testkit.Context(t), s.named)
	for what, err := range map[string]error{"Try": tried, "ApplyAll": err} {
		if err == nil || !strings.Contains(err.Error(), text) || !c.IsEmpty() {
			t.Errorf("%s: got %v, %v, want %q", what, c, err, text)
		}
	}
}

// TestApplyAllLeavesOthersAlone changes, adds and takes away some of many, whose services and
// claims have the same names.
func TestApplyAllLeavesOthersAlone(t *testing.T) {
	s := newStreet(t, 3)
	var all []net.Conn
	for i := range 3 {
		all = append(all, s.goTo(t, i, fmt.Sprint(i)))
	}
	s.applyAll(t, Change{})
	s.changed()
	s.at("outlet 1").Outlets[0].Target = serviceThatSays(t, "another")
	s.at("inlet 2").Inlets[0].Listen += "b"
	to := s.at("inlet 0").Inlets[0].To[0]
	s.named = append(s.named, Named{"inlet new", s.inletAt(testkit.Address(t), to)})
	s.applyAll(t, Change{New: []string{"inlet new"}, Changed: []string{"outlet 1", "inlet 2"}})
	for _, c := range all {
		talk(t, c, "after")
	}
	talk(t, s.goTo(t, 1, "another"), "by the new target")
	talk(t, s.goTo(t, 2, "2"), "by the new way")
	s.changed()
	s.named = slices.DeleteFunc(s.named, func(n Named) bool { return n.Name == "inlet 1" })
	s.applyAll(t, Change{Gone: []string{"inlet 1"}})
	talk(t, all[1], "it has its time")
	talk(t, all[0], "still")
	if n := s.count(Ready, s.at("inlet 0").Inlets[0].Listen); n != 1 {
		t.Errorf("an inlet that has not changed became ready %d times", n)
	}
}

// TestApplyAllNode changes whom one of many trusts: it is another node, and the others stay.
func TestApplyAllNode(t *testing.T) {
	s := newStreet(t, 2)
	changed, other := s.goTo(t, 0, "0"), s.goTo(t, 1, "1")
	s.changed()
	s.at("outlet 0").Node.Trust.Deny = []string{testkit.NewIdentity(t).Identifier().String()}
	s.applyAll(t, Change{Changed: []string{"outlet 0"}})
	talk(t, changed, "it has its time")
	talk(t, other, "as before")
	s.changed()
	for i := range s.named { // what is the process's changes nobody
		s.named[i].Config.Node.SurviveMemory = "32M"
	}
	s.applyAll(t, Change{})
	talk(t, other, "as before")
}

// TestApplyAllSwaps has two portals take each other's address, and a third take that of one that
// has another name.
func TestApplyAllSwaps(t *testing.T) {
	s := newStreet(t, 3)
	for i := range 3 {
		s.goTo(t, i, fmt.Sprint(i))
	}
	s.changed()
	a, b := &s.at("inlet 0").Inlets[0], &s.at("inlet 1").Inlets[0]
	a.Listen, b.Listen = b.Listen, a.Listen
	for i := range s.named {
		if s.named[i].Name == "inlet 2" {
			s.named[i].Name = "inlet renamed"
		}
	}
	s.applyAll(t, Change{
		New: []string{"inlet renamed"}, Changed: []string{"inlet 0", "inlet 1"},
		Gone: []string{"inlet 2"},
	})
	talk(t, s.goTo(t, 0, "0"), "swapped")
	talk(t, s.goTo(t, 1, "1"), "swapped")
	talk(t, connect(t, s.at("inlet renamed").Inlets[0].Listen, "2"), "renamed")
}

// TestApplyAllRefuses changes nothing if one of several changes cannot be done.
func TestApplyAllRefuses(t *testing.T) {
	s := newStreet(t, 2)
	c := s.goTo(t, 0, "0")
	good := s.named
	for text, spoil := range map[string]func(){
		"address already in use": func() {
			s.at("inlet 1").Inlets[0].Listen = testkit.Listen(t).Addr().String()
		},
		"inlet 1: inlet": func() { s.at("inlet 1").Inlets[0].To = []string{"nowhere"} },
		"outlet 1: ": func() {
			s.at("outlet 1").Node.Trust.AllowFiles = []string{filepath.Join(t.TempDir(), "nowhere")}
		},
		"outlet 1: identity file": func() {
			key := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(key, []byte("none"), 0o600); err != nil {
				t.Fatal(err)
			}
			s.at("outlet 1").Node.Identity = key
		},
		"outlet 1: --target-ca": func() {
			s.at("outlet 1").Outlets[0].Target = "tls://h:1"
			s.at("outlet 1").Outlets[0].TargetCA = filepath.Join(t.TempDir(), "nowhere")
		},
	} {
		s.named = good
		s.changed()
		s.at("outlet 0").Outlets[0].Target = "127.0.0.1:1" // it would be good
		spoil()
		_, err := s.Try(testkit.Context(t), s.named)
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("want %q when it is tried, got %v", text, err)
		}
		s.refuses(t, text)
		talk(t, c, "as before")
		talk(t, s.goTo(t, 0, "0"), "and anew")
	}
}

// TestApplyAllGoesBack has what ran before run again if something fails that could not be tried.
func TestApplyAllGoesBack(t *testing.T) {
	s := newStreet(t, 2)
	before := s.named
	c, other := s.goTo(t, 0, "0"), s.goTo(t, 1, "1")
	s.changed()
	s.at("outlet 0").Outlets[0].Target = serviceThatSays(t, "another")
	s.named = append(s.named, Named{"inlet new", s.inletAt(testkit.Address(t), testkit.Address(t))})
	s.at("inlet new").Inlets[0].NoWait = true
	if _, err := s.ApplyAll(testkit.Context(t), s.named); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	if n := len(s.Status().Portals); n != len(before) {
		t.Errorf("%d portals run, and %d did before", n, len(before))
	}
	talk(t, c, "still")
	talk(t, other, "as before")
	s.named = before
	talk(t, s.goTo(t, 0, "0"), "as before")
}

// TestTryMakesNothing says what would change, and makes no key.
func TestTryMakesNothing(t *testing.T) {
	s := newStreet(t, 1)
	key := filepath.Join(t.TempDir(), "key")
	s.changed()
	s.at("outlet 0").Node.Identity = key
	c, err := s.Try(testkit.Context(t), s.named)
	if err != nil || fmt.Sprint(c) != fmt.Sprint(Change{Changed: []string{"outlet 0"}}) {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := os.Stat(key); !os.IsNotExist(err) {
		t.Errorf("the key file: %v", err)
	}
}

// TestKeptFolders has a configuration that needs another folder than a confined process has be
// refused before it is tried.
func TestKeptFolders(t *testing.T) {
	s := newStreet(t, 1)
	home, other := filepath.Dir(s.node.Identity), t.TempDir()
	link := filepath.Join(home, "link")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(home, "below")
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	k := &keptFolders{read: realNames([]string{home}), write: realNames([]string{home})}
	for want, n := range map[string]config.Node{
		"":            s.node,
		"reading in ": {Identity: filepath.Join(other, "key"), Trust: s.node.Trust},
		"making the ": {Identity: filepath.Join(below, "new"), Trust: s.node.Trust},
		"writing in ": {Identity: s.node.Identity, Trust: config.Trust{Seen: filepath.Join(link, "x")}},
	} {
		kept := k
		if want == "making the " {
			kept = &keptFolders{read: k.read}
		}
		err := kept.allow(config.Config{Node: n}, selfFiles{key: n.Identity})
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		var problem *Error
		if err != nil && (!errors.As(err, &problem) || problem.Problem != NeedsRestart) {
			t.Errorf("%v takes no restart", err)
		}
	}
	if err := (*keptFolders)(nil).allow(config.Config{}, selfFiles{key: "/x"}); err != nil {
		t.Errorf("a process that is not confined: %v", err)
	}
}

// TestManyChanges leaves nothing behind of what has been changed many times: no goroutine, no
// descriptor, and no memory. SP_FULL=1 takes a thousand.
func TestManyChanges(t *testing.T) {
	s := newStreet(t, 3)
	s.node.Drain = config.NoDrain
	for i := range s.named {
		s.named[i].Config.Node.Drain = config.NoDrain
	}
	s.changed()
	if _, err := s.ApplyAll(testkit.Context(t), s.named); err != nil {
		t.Fatal(err)
	}
	kept := s.goTo(t, 2, "2")
	targets := []string{serviceThatSays(t, "a"), serviceThatSays(t, "b")}
	way := s.at("inlet 0").Inlets[0].Listen
	ways := []string{way, way + "b"}
	deny := []string{testkit.NewIdentity(t).Identifier().String()}
	change := func(n int) {
		s.changed()
		s.at("outlet 0").Outlets[0].Target = targets[n%2]
		s.at("inlet 0").Inlets[0].Listen = ways[n%2]
		s.at("outlet 1").Node.Trust.Deny = deny[:n%2]
		if _, err := s.ApplyAll(testkit.Context(t), s.named); err != nil {
			t.Fatal(err)
		}
	}
	works := func() {
		_ = s.goTo(t, 0, "a").Close()
		_ = s.goTo(t, 1, "1").Close()
		testkit.Hurry(t, kept)
		talk(t, kept, "not touched")
	}
	uses := func() (goroutines, files, heap int) {
		runtime.GC()
		runtime.GC() // what a pool keeps goes at the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), openFiles(t), int(m.HeapAlloc)
	}
	for n := range 10 {
		change(n + 1)
	}
	works()
	goroutines, files, heap := uses()
	for n := range testenv.OfRun(250, 500, 1000) {
		change(n + 1)
	}
	works()
	const (
		some = 100     // what sessions keep for those who may come, at most: links made ahead
		more = 4 << 20 // bytes, likewise
	)
	testkit.Eventually(t, "all that has been changed is gone", func() bool {
		g, f, h := uses()
		t.Logf("%d goroutines, %d before; %d files, %d before; %d KiB, %d before; %d nodes", g,
			goroutines, f, files, h>>10, heap>>10, len(s.allSites()))
		return g <= goroutines+some && f <= files+some && h <= heap+more &&
			len(s.allSites()) == len(s.named)
	})
}

// openFiles is how many descriptors this process has, or 0 where that is not told.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
