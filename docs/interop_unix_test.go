//go:build unix

// Two builds of sp in one chain: a node can be updated before the others, in any order.

package docs_test

import (
	"bytes"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// builds are the two builds of sp, by name: the one that SP_BEFORE names, and that of this tree or
// the one that SP_NOW names.
func builds(t *testing.T) map[string]string {
	t.Helper()
	before := os.Getenv("SP_BEFORE")
	if before == "" {
		t.Skip("compares two builds: SP_BEFORE names the other one")
	}
	before, err := filepath.Abs(before)
	check(t, err)
	return map[string]string{"before": before, "now": current(t)}
}

// current returns the command of this tree, or the one that SP_NOW names.
func current(t *testing.T) string {
	t.Helper()
	if now := os.Getenv("SP_NOW"); now != "" {
		now, err := filepath.Abs(now)
		check(t, err)
		return now
	}
	binary := filepath.Join(t.TempDir(), "sp")
	out, err := exec.Command("go", "build", "-C", "..", "-ldflags=-s -w", "-o", binary, ".").
		CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// mixed is a chain of processes that are not all of one build.
type mixed struct {
	*testing.T
	home   string
	key    string            // all processes are one person's
	build  map[string]string // by the name of the build
	of     map[string]string // the name of the build, by the role
	target net.Listener

	inlet   string // where it listens
	started []*process
}

// combinations plays f with each combination of builds for three roles.
func combinations(t *testing.T, roles [3]string, f func(m *mixed)) {
	build := builds(t)
	name := fmt.Sprintf("%s=%%s,%s=%%s,%s=%%s", roles[0], roles[1], roles[2])
	for _, first := range []string{"before", "now"} {
		for _, middle := range []string{"before", "now"} {
			for _, last := range []string{"before", "now"} {
				of := map[string]string{roles[0]: first, roles[1]: middle, roles[2]: last}
				t.Run(fmt.Sprintf(name, first, middle, last), func(t *testing.T) {
					f(newMixed(t, build, of))
				})
			}
		}
	}
}

func newMixed(t *testing.T, build, of map[string]string) *mixed {
	t.Helper()
	m := &mixed{T: t, home: t.TempDir(), build: build, of: of}
	m.key, _ = newKey(t, m.home, build[of["outlet"]], "own") // which the others read
	var err error
	m.target, err = net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = m.target.Close() })
	return m
}

// start starts a role, and returns what it prints.
func (m *mixed) start(role string, args ...string) string {
	m.Helper()
	args = append([]string{role, "--identity", m.key, "--listen", "127.0.0.1:0"}, args...)
	if role == "outlet" {
		args = append(args, "--target", m.target.Addr().String())
	}
	return m.run(role, args...)
}

func (m *mixed) run(role string, args ...string) string {
	m.Helper()
	p := start(m.T, m.home, m.build[m.of[role]], args...)
	m.started = append(m.started, p)
	return p.ready()
}

// TestInteropRelay has an inlet, a relay and an outlet of two builds carry connections, by spare
// links and by the mux alone.
func TestInteropRelay(t *testing.T) {
	combinations(t, [3]string{"inlet", "relay", "outlet"}, func(m *mixed) {
		relay := m.start("relay")
		claim := func(args ...string) {
			m.run("outlet", append([]string{
				"outlet", "--identity", m.key, "--relay", relay,
				"--target", m.target.Addr().String(),
			}, args...)...)
		}
		claim("--name", "db")
		claim("--name", "narrow", "--mux")
		for _, name := range []string{"db", "narrow"} {
			m.inlet = m.start("inlet", "--to", name+"@"+relay)
			m.carries()
		}
		m.stops()
	})
}

// TestInteropBridge has an inlet, a bridge and an outlet of two builds carry connections.
func TestInteropBridge(t *testing.T) {
	combinations(t, [3]string{"inlet", "bridge", "outlet"}, func(m *mixed) {
		to := flagOf(m.T, m.start("outlet"), "--to")
		next := strings.Split(to, "/") // /ip4/127.0.0.1/tcp/PORT/…
		at := m.start("bridge", "--next", net.JoinHostPort(next[2], next[4]))
		_, port, err := net.SplitHostPort(at)
		check(m.T, err)
		m.inlet = m.start("inlet", "--to", "/ip4/127.0.0.1/tcp/"+port+"/secure/api"+to)
		m.carries()
		m.stops()
	})
}

// TestInteropTrust has what one build has signed be shown by a second one and believed by a third:
// a credential, and a ticket.
func TestInteropTrust(t *testing.T) {
	combinations(t, [3]string{"inlet", "issuer", "outlet"}, func(m *mixed) {
		issuer, authority := newKey(m.T, m.home, m.build[m.of["issuer"]], "issuer")
		host := m.output("issuer", "identity", "show", m.key)
		allowed := m.file("allowed", "")
		line := m.start("outlet", "--authority", authority, "--require", "role=db",
			"--allow-file", allowed)
		to := flagOf(m.T, line, "--to")

		key, guest := newKey(m.T, m.home, m.build[m.of["inlet"]], "guest")
		credential := m.output("issuer", "credential", "issue", "--identity", issuer,
			"--for", guest, "--attr", "role=db", "--expires", "1h")
		m.inlet = m.run("inlet", "inlet", "--identity", key, "--listen", "127.0.0.1:0",
			"--to", to, "--allow", host, "--credential", m.file("credential", credential))
		m.carries()

		key, _ = newKey(m.T, m.home, m.build[m.of["inlet"]], "visitor")
		ticket := m.output("issuer", "ticket", "create", "--identity", m.key,
			"--to", to, "--expires", "1h")
		m.inlet = m.run("inlet", "inlet", "--identity", key, "--listen", "127.0.0.1:0",
			"--ticket", m.file("ticket", ticket))
		m.carries()
		m.stops()
	})
}

// output runs a command of a role's build, and returns what it prints.
func (m *mixed) output(role string, args ...string) string {
	m.Helper()
	out, err := command(m.home, m.build[m.of[role]], args...).Output()
	check(m.T, err)
	return strings.TrimSpace(string(out))
}

// file writes a file.
func (m *mixed) file(name, text string) string {
	m.Helper()
	path := filepath.Join(m.home, name)
	check(m.T, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// carries has connections carried to their end: two that follow one another, and one that is reset.
func (m *mixed) carries() {
	m.Helper()
	for n := range uint64(2) {
		client, app := m.connect()
		m.exactly(client, app, 2*n)
		m.exactly(app, client, 2*n+1)
		m.ended(client)
	}
	client, app := m.connect()
	check(m.T, client.SetLinger(0))
	check(m.T, client.Close())
	if _, err := app.Read(make([]byte, 1)); err == nil || err == io.EOF {
		m.Errorf("a reset arrives as %v", err)
	}
}

// connect returns both ends of a connection on which both have said something.
func (m *mixed) connect() (client, app *net.TCPConn) {
	m.Helper()
	c, err := net.Dial("tcp", m.inlet)
	check(m.T, err)
	_, err = c.Write([]byte("hello"))
	check(m.T, err)
	check(m.T, m.target.(*net.TCPListener).SetDeadline(deadline()))
	a, err := m.target.Accept()
	check(m.T, err)
	for _, end := range []net.Conn{c, a} {
		m.Cleanup(func() { _ = end.Close() })
		check(m.T, end.SetDeadline(deadline()))
	}
	_, err = a.Write([]byte("HELLO"))
	check(m.T, err)
	got := make([]byte, 10)
	_, err = io.ReadFull(a, got[:5])
	check(m.T, err)
	_, err = io.ReadFull(c, got[5:])
	check(m.T, err)
	if string(got) != "helloHELLO" {
		m.Errorf("%q arrives", got)
	}
	return c.(*net.TCPConn), a.(*net.TCPConn)
}

// exactly sends a megabyte in one direction and ends it.
func (m *mixed) exactly(from, to *net.TCPConn, seed uint64) {
	m.Helper()
	want := make([]byte, 1<<20)
	_, _ = mathrand.NewChaCha8([32]byte{byte(seed)}).Read(want)
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(want)
		if err == nil {
			err = from.CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(to)
	if err != nil || !bytes.Equal(got, want) {
		m.Errorf("%d bytes arrive, %v, want %d", len(got), err, len(want))
	}
	check(m.T, <-sent)
}

// ended makes sure that nothing more comes.
func (m *mixed) ended(c net.Conn) {
	m.Helper()
	if n, err := c.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		m.Errorf("%d bytes more, %v", n, err)
	}
}

// stops has all processes end, the last one started first, and makes sure that they end well.
func (m *mixed) stops() {
	m.Helper()
	for i := len(m.started) - 1; i >= 0; i-- {
		p := m.started[i]
		p.stop()
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			m.Errorf("%v ends with %d", p.cmd, code)
		}
	}
}
