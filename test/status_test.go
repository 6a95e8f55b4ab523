//go:build unix

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// statusOf is what sp status --json says, as far as these stories want to know.
type statusOf struct {
	Processes []struct {
		PID     int
		Error   string
		Portals []struct {
			Kind, Address string
			Ready         bool
			Connections   int
			Paths         []struct {
				Up, Taken bool
				RoundTrip float64 `json:"round_trip"`
				Error     string
			}
			Claims []struct {
				Name string
				Held bool
			}
		}
		Peers []struct{ Identifier, Name, Path, Source string }
		Names []struct {
			Name, Owner string
			InUse       int `json:"in_use"`
		}
		Connections []struct {
			ID                         uint64
			Portal, Client, Identifier string
			Name, Path, Source, To     string
			ToService                  uint64 `json:"to_service"`
			ToClient                   uint64 `json:"to_client"`
			Opening, Suspended         bool
		}
	}
}

func (u person) status() (s statusOf) {
	u.t.Helper()
	if err := json.Unmarshal([]byte(u.must("status", "--json")), &s); err != nil {
		u.t.Fatal(err)
	}
	return s
}

// notShown fails the test if sp status shows a process. It may show some of this machine's that are
// nobody's here.
func (u person) notShown(all ...*process) {
	u.t.Helper()
	shown := u.run("status").stdout
	for _, p := range all {
		it := regexp.MustCompile(fmt.Sprintf(`process %d\b`, p.cmd.Process.Pid))
		if it.MatchString(shown) {
			u.t.Errorf("%v is shown:\n%s", p.cmd, shown)
		}
	}
}

// of returns the place of a process in what sp status says.
func (s statusOf) of(p *process) int {
	for i, one := range s.Processes {
		if one.PID == p.cmd.Process.Pid {
			return i
		}
	}
	p.t.Fatalf("%v is not shown in %+v", p.cmd, s)
	return 0
}

// TestStatus has sp status show all that goes on, and end it, while the processes are confined. Of
// those that have ended, however, nothing is left.
func TestStatus(t *testing.T) {
	t.Parallel()
	w := newTopology(t, plan{relay: true, flags: confined, inlets: 1})
	defer func() {
		sockets, _ := filepath.Glob(filepath.Join(w.home, "sp", "*"))
		if len(sockets) > 0 {
			t.Errorf("left: %v", sockets)
		}
	}()
	client, target := w.open()
	send(t, client, "question")
	receives(t, target, "question")
	send(t, target, "the answer")
	receives(t, client, "the answer")

	s := w.status()
	in, out, mid := s.Processes[s.of(w.inlet)], s.Processes[s.of(w.outlet)], s.Processes[s.of(w.relay)]
	if p := in.Portals[0]; !p.Ready || p.Kind != "inlet" || len(p.Paths) != 1 || !p.Paths[0].Up ||
		!p.Paths[0].Taken || p.Paths[0].RoundTrip <= 0 || p.Connections != 1 {
		t.Errorf("the inlet: %+v", p)
	}
	if p := out.Portals[0]; !p.Ready || len(p.Claims) != 1 || !p.Claims[0].Held {
		t.Errorf("the outlet: %+v", p)
	}
	if len(mid.Names) != 1 || mid.Names[0].Name != "db" || mid.Names[0].Owner != w.identifier() {
		t.Errorf("the relay's names: %+v", mid.Names)
	}
	for _, one := range [][]any{
		{in.Connections[0].Client, client.LocalAddr().String()},
		{in.Connections[0].Name, "db"},
		{out.Connections[0].Name, "db"},
		{in.Connections[0].Identifier, w.identifier()},
		{out.Connections[0].To, w.targetAt},
		{in.Connections[0].ToService, uint64(8)},
		{out.Connections[0].ToService, uint64(8)},
		{in.Connections[0].ToClient, uint64(10)},
		{out.Connections[0].ToClient, uint64(10)},
		{mid.Connections[0].To, "db"},
		{in.Peers[0].Name, "db"},
	} {
		if one[0] != one[1] {
			t.Errorf("%v, and not %v", one[0], one[1])
		}
	}
	text := w.must("status")
	for _, want := range []string{": ready", "held", "round trip", "connections: 1"} {
		if !strings.Contains(text, want) {
			t.Errorf("sp status does not say %q:\n%s", want, text)
		}
	}
	w.fails(1, "no connection", "status", "--disconnect", fmt.Sprintf("%d.99999", in.PID))
	w.must("status", "--disconnect", fmt.Sprintf("%d.%d", in.PID, in.Connections[0].ID))
	receivesReset(t, client)
	receivesReset(t, target)
	w.inlet.says(`ended="by hand, on this side"`)
	client, target = w.open()
	send(t, client, "again")
	receives(t, target, "again")
	w.must("status", "--disconnect", w.identifier())
	receivesReset(t, client)
	w.inlet.stop()
	w.inlet.ends(0)
	w.relay.stop()
	w.relay.ends(0)
	w.outlet.kill() // and who looks next removes what it leaves behind
	w.notShown(w.inlet, w.relay, w.outlet)
}

// TestStatusSocket has a process be found where somebody has said, or not at all, and run on where
// it cannot be.
func TestStatusSocket(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	role := []string{"relay", "--listen", anywhere, "--log-level", "debug"}
	at := filepath.Join(u.home, "here")
	p := u.start(append(role, "--status-socket", at)...)
	p.ready()
	if s := u.must("status", "--status-socket", at); !strings.Contains(s, "relay") {
		t.Errorf("it says %q", s)
	}
	if info, err := os.Stat(at); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	u.fails(1, "here", append(role, "--status-socket", at)...) // another one is there
	p.stop()
	p.ends(0)
	if _, err := os.Lstat(at); err == nil {
		t.Error("it is left")
	}
	u.fails(1, "socket", append(role, "--status-socket", filepath.Join(u.home, "no", "folder"))...)
	p = u.start(append(role, "--no-status")...)
	p.ready()
	u.notShown(p)
	u.fails(2, "neither", "status", "--disconnect", "x")
	p.stop()
}
