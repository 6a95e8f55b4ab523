package test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// site is a relay, an outlet and an inlet in some environment, with a client and a mirror outside
// of it:
//
//	client ─▶ inlet ─▶ relay ◀─ outlet ─▶ mirror
type site struct {
	who           person // runs all of them
	inlet, outlet person // run these, where they are somewhere else
	at            string // where the relay listens; a free port if empty
	near, far     string // its address as the inlet and the outlet know it; at if empty
	size          int64  // what is carried each way; siteSize if 0
	flags         []string
}

const siteSize = 256 << 10

// visit is a site whose processes run.
type visit struct {
	person
	mirror    *mirror
	processes []*process // the relay, the outlet, the inlet
	to        string     // the outlet's route
	address   string     // where the inlet listens
}

// begin starts a site. Where that is another network, the client and the mirror are at Unix
// sockets.
func (w site) begin(t *testing.T) *visit {
	t.Helper()
	if w.inlet.t == nil {
		w.inlet = w.who
	}
	if w.outlet.t == nil {
		w.outlet = w.who
	}
	if w.at == "" {
		w.at = anywhere
	}
	if w.size == 0 {
		w.size = siteSize
	}
	s := &visit{person: w.who}
	listens := anywhere
	if w.who.inside == "" {
		s.mirror = newMirror(t, w.size)
	} else {
		s.mirror = w.who.unixMirror(w.size)
		listens = "unix:" + w.who.home + "/inlet"
	}
	run := func(u person, args ...string) string {
		p := u.start(args...)
		s.processes = append(s.processes, p)
		return p.ready()
	}
	at := run(w.who, w.who.relayAt(w.at, w.flags...)...)
	if w.near == "" {
		w.near = at
	}
	if w.far == "" {
		w.far = w.near
	}
	run(w.outlet, append([]string{
		"outlet", "--relay", w.far, "--name", "db", "--target", s.mirror.address,
	}, w.flags...)...)
	s.to = "db@" + w.near
	s.address = run(w.inlet, append([]string{"inlet", "--listen", listens, "--to", s.to},
		w.flags...)...)
	return s
}

// carries has bytes go both ways at once, beyond the client's end, and beyond the mirror's.
func (s *visit) carries() {
	s.t.Helper()
	if err := s.mirror.once(s.address); err != nil {
		s.t.Error(err)
	}
	if err := s.mirror.afterEnd(dial(s.t, s.address), s.mirror.size); err != nil {
		s.t.Error(err)
	}
}

// end tells each role to stop, and expects that it does so in good order.
func (s *visit) end() {
	s.t.Helper()
	for i := range s.processes {
		p := s.processes[len(s.processes)-1-i]
		p.signalRole(syscall.SIGTERM)
		p.ends(done)
	}
}

// endedIn expects that the year in which the roles said that they stop was that one.
func (s *visit) endedIn(year time.Time) {
	s.t.Helper()
	for _, p := range s.processes {
		lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, year.UTC().Format("time=2006-")) {
			s.t.Errorf("its clock does not say %d: %s", year.Year(), last)
		}
	}
}

// lived has a site be begun, carry and end.
func (w site) lived(t *testing.T) {
	t.Helper()
	s := w.begin(t)
	s.carries()
	s.end()
}

// signalRole signals the process that somebody has started who waits for it, such as a shell:
// the last of its children's children.
func (p *process) signalRole(s syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(p.role(), s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) role() int {
	p.t.Helper()
	for pid := p.cmd.Process.Pid; ; {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			p.t.Fatal(err)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(children)), " ")
		if first == "" {
			return pid
		}
		if pid, err = strconv.Atoi(first); err != nil {
			p.t.Fatal(err)
		}
	}
}
