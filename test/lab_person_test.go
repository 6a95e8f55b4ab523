//go:build unix

package test

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/testkit"
)

// person is somebody with a home, and an identity in it, who runs sp. A copy is the same person.
type person struct {
	t      testing.TB
	home   string
	binary string // the sp that this person runs
	inside string // the network namespace in which it runs; empty is the test's own

	// how long connections of this person's outlive their links; empty is not at all, as most
	// stories want it
	survive string
	// relays and bridges that this person has started, each of which can be killed and come back at
	// its address; nil are at addresses that somebody else may take meanwhile
	middle *[]*process

	through func(*exec.Cmd) // has a command of sp's run through something else; nil does not
}

func newPerson(t testing.TB) person {
	t.Helper()
	return person{t: t, home: t.TempDir(), binary: executable(t)}
}

// another returns somebody else, who is otherwise as this person.
func (u person) another() person {
	u.home = u.t.TempDir()
	return u
}

// survivor returns somebody whose connections outlive their links, for longer than a test waits,
// and whose relays and bridges may be killed and come back.
func survivor(t testing.TB) person {
	t.Helper()
	u := newPerson(t)
	u.survive, u.middle = unhurried(time.Minute).String(), new([]*process)
	return u
}

// inTheMiddle starts a relay or a bridge, with what follows --listen WHERE, and returns where it
// listens.
func (u person) inTheMiddle(role string, args ...string) (*process, string) {
	u.t.Helper()
	where := anywhere
	if u.middle != nil {
		where = testkit.Address(u.t)
	}
	p := u.start(append([]string{role, "--listen", where}, args...)...)
	if u.middle != nil {
		*u.middle = append(*u.middle, p)
	}
	return p, p.ready()
}

// in returns this person in a network namespace.
func (u person) in(namespace string) person {
	u.inside = namespace
	return u
}

// fewFiles is how many files a process may open that lacks descriptors.
const fewFiles = 256

// withFewFiles returns this person on a machine where a process may open no more than fewFiles.
func (u person) withFewFiles() person {
	u.t.Helper()
	script := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec '%s' \"$@\"\n", fewFiles, u.binary)
	u.binary = filepath.Join(u.home, "sp-with-few-files")
	syscall.ForkLock.RLock() // a process that has a copy of the open file would make it busy
	err := os.WriteFile(u.binary, []byte(script), 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		u.t.Fatal(err)
	}
	return u
}

// command returns a command of sp's that this person gives.
func (u person) command(args ...string) *exec.Cmd {
	if u.inside != "" {
		return u.program("ip", append([]string{"netns", "exec", u.inside, u.binary}, args...)...)
	}
	cmd := u.program(u.binary, args...)
	if u.through != nil {
		u.through(cmd)
	}
	return cmd
}

// throughSelf returns this person whose commands are run by this test binary, which is told by a
// variable in the environment to do something before.
func (u person) throughSelf(variable, what string) person {
	u.t.Helper()
	self, err := os.Executable()
	if err != nil {
		u.t.Fatal(err)
	}
	u.through = func(cmd *exec.Cmd) {
		cmd.Args = append([]string{self, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = self
		cmd.Env = append(cmd.Env, variable+"="+what)
	}
	return u
}

// program returns a command that this person gives.
func (u person) program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); name != "XDG_CONFIG_HOME" &&
			name != "XDG_RUNTIME_DIR" && !strings.HasPrefix(name, "SP_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	path := filepath.Dir(executable(u.t)) + ":" + os.Getenv("PATH")
	cmd.Env = append(cmd.Env, "HOME="+u.home, "XDG_RUNTIME_DIR="+u.home, raceOptions, "PATH="+path)
	cmd.Env = append(cmd.Env, "SP_SURVIVE="+cmp.Or(u.survive, "0"))
	if os.Geteuid() != 0 {
		// Only root can look at the memory and the descriptors of a process that is not dumpable.
		cmd.Env = append(cmd.Env, "SP_NO_SANDBOX=true")
	}
	return cmd
}

// start starts sp in the background.
func (u person) start(args ...string) *process {
	u.t.Helper()
	return start(u.t, u.command(args...))
}

// outcome is how a command has ended.
type outcome struct {
	code           int
	stdout, stderr string
}

// run runs sp to its end.
func (u person) run(args ...string) outcome {
	u.t.Helper()
	p := u.start(args...)
	code, err := p.exitCode()
	if err != nil {
		u.t.Fatal(err)
	}
	return outcome{code, p.stdout.String(), p.stderr.String()}
}

// answered runs sp to its end, and again if that was not good because this machine is too slow for
// sp's own timers.
func (u person) answered(good func(outcome) bool, args ...string) outcome {
	u.t.Helper()
	for left := attempts; ; left-- {
		began := time.Now()
		r := u.run(args...)
		late := strings.Contains(r.stderr, "timeout") || strings.Contains(r.stderr, "in time")
		if good(r) || !late || left == 0 || pulse.Slowness(began) < tooSlow {
			return r
		}
		u.t.Logf("sp %s: once more on this slow machine, after\n%s", strings.Join(args, " "),
			r.stderr)
	}
}

const (
	attempts = 5 // how often a test tries what time decides
	tooSlow  = 2 // times slower than a quiet machine
)

// must runs sp, which must succeed, and returns what it printed.
func (u person) must(args ...string) string {
	u.t.Helper()
	r := u.answered(func(r outcome) bool { return r.code == done }, args...)
	if r.code != done {
		u.t.Fatalf("sp %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// fails runs sp, which must end with this exit code, with nothing on stdout and with this text in
// its one error, which may be followed by a hint.
func (u person) fails(code int, text string, args ...string) {
	u.t.Helper()
	good := func(r outcome) bool {
		lines := withoutLog(r.stderr)
		return r.code == code && r.stdout == "" && errorLines(lines) == nil &&
			strings.Contains(lines[0], text)
	}
	if r := u.answered(good, args...); !good(r) {
		u.t.Errorf("sp %s\nexit code %d, want %d; stdout %q; want one error with %q:\n%s",
			strings.Join(args, " "), r.code, code, r.stdout, text, r.stderr)
	}
}

// withoutLog returns the lines that a process has printed on stderr beside its log.
func withoutLog(stderr string) []string {
	var lines []string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "time=") && !strings.HasPrefix(line, "{") {
			lines = append(lines, line)
		}
	}
	return lines
}

// errorLines says what is wrong with lines as the report of an error: one line, and perhaps one
// with a hint.
func errorLines(lines []string) error {
	switch {
	case len(lines) == 0:
		return errors.New("no error is printed")
	case len(lines) > 2, len(lines) == 2 && !strings.HasPrefix(lines[1], "sp: hint: "):
		return errors.New("more than an error and a hint")
	case !strings.HasPrefix(lines[0], "sp: ") || strings.HasPrefix(lines[0], "sp: hint: "):
		return errors.New("it does not begin with sp:")
	}
	return nil
}

// saysError checks that p has printed nothing but an error of one line, which contains text, and
// perhaps a hint.
func (p *process) saysError(text string) {
	p.t.Helper()
	if out := p.stdout.String(); out != "" {
		p.t.Errorf("%v printed on stdout: %q", p.cmd, out)
	}
	lines := withoutLog(p.stderr.String())
	if err := errorLines(lines); err != nil || !strings.Contains(lines[0], text) {
		p.t.Errorf("%v: %v, want %q in\n%s", p.cmd, err, text, strings.Join(lines, ""))
	}
}

// keyFile is where sp keeps this person's identity if nothing else is said.
func (u person) keyFile() string { return filepath.Join(u.home, ".config", "sp", "identity") }

// identifier returns this person's Identifier, and makes the identity if there is none yet.
func (u person) identifier() string {
	u.t.Helper()
	if id, ok := u.known(u.keyFile()); ok {
		return id
	}
	if err := os.MkdirAll(filepath.Dir(u.keyFile()), 0o700); err != nil {
		u.t.Fatal(err)
	}
	return u.must("identity", "create")
}

// known returns the Identifier in a key file, if there is one.
func (u person) known(file string) (identifier string, ok bool) {
	u.t.Helper()
	id, err := identity.Load(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false
	} else if err != nil {
		u.t.Fatal(err)
	}
	return id.Identifier().String(), true
}

// identity makes one more key file in this person's home, and returns it with its Identifier.
func (u person) identity(name string) (file, identifier string) {
	u.t.Helper()
	file = filepath.Join(u.home, name+".identity")
	return file, u.newKey(file)
}

// newKey makes a key file that is not this person's own, and returns its Identifier.
func (u person) newKey(file string) string {
	u.t.Helper()
	id, err := identity.New(rand.Reader, time.Now())
	if err == nil {
		err = id.Save(file, false)
	}
	if err != nil {
		u.t.Fatal(err)
	}
	return id.Identifier().String()
}

// rotated gives the identity in a file a new key.
func rotated(t testing.TB, file string) {
	t.Helper()
	if _, err := identity.RotateFile(file, rand.Reader, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
}

// file writes a file in this person's home, as an editor does: whole or not at all.
func (u person) file(name, content string) string {
	u.t.Helper()
	path := filepath.Join(u.home, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		u.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		u.t.Fatal(err)
	}
	return path
}

// contains fails the test unless this person's file has this content.
func (u person) contains(path, content string) {
	u.t.Helper()
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, []byte(content)) {
		u.t.Errorf("%s contains %q, %v, want %q", path, b, err, content)
	}
}

// vouch has this person issue a credential for somebody, and returns its text.
func (u person) vouch(about string, flags ...string) string {
	u.t.Helper()
	u.identifier() // is made
	return u.must(append([]string{"credential", "issue", "--for", about}, flags...)...)
}

// confined has a process confine itself, where that can be and whatever its environment says, and
// say so.
var confined = []string{"--no-sandbox=false", "--log-level", "debug"}

// anywhere is where a role listens that takes a free port.
const anywhere = "127.0.0.1:0"

// startRelay starts a relay and returns where it listens.
func (u person) startRelay(args ...string) (*process, string) {
	u.t.Helper()
	return u.inTheMiddle("relay", args...)
}

// relayAt is the command of a relay with a key of its own, which is for this person unless args say
// whom it is for.
func (u person) relayAt(where string, args ...string) []string {
	return append([]string{"relay", "--listen", where}, args...)
}

// ownKey has a relay have this person's own key: a route may then end a channel there.
func (u person) ownKey() []string {
	u.t.Helper()
	u.identifier() // is made
	return []string{"--identity", u.keyFile()}
}

// relayIdentifier returns the Identifier of this person's relays, and makes the key if there is
// none.
func (u person) relayIdentifier() string {
	u.t.Helper()
	file := u.relayKeyFile()
	if id, ok := u.known(file); ok {
		return id
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		u.t.Fatal(err)
	}
	return u.newKey(file)
}

func (u person) relayKeyFile() string {
	return filepath.Join(filepath.Dir(u.keyFile()), "relay", "identity")
}

// startBridge starts a bridge to one next hop and returns where it listens.
func (u person) startBridge(next string, args ...string) (*process, string) {
	u.t.Helper()
	return u.inTheMiddle("bridge", append([]string{"--next", next}, args...)...)
}

// startOutlet starts an outlet that listens, and returns where.
func (u person) startOutlet(target string, args ...string) (*process, string) {
	u.t.Helper()
	p := u.start(append([]string{"outlet", "--listen", anywhere, "--target", target}, args...)...)
	return p, hostPortOf(wordBehind(u.t, p.ready(), "--to"))
}

// startNamed starts an outlet that is reached through a relay.
func (u person) startNamed(relay, name, target string, args ...string) *process {
	u.t.Helper()
	p := u.start(append([]string{"outlet", "--relay", relay, "--name", name, "--target", target},
		args...)...)
	p.ready()
	return p
}

// inletTo starts an inlet and returns where it listens.
func (u person) inletTo(to string, args ...string) string {
	u.t.Helper()
	return u.start(append([]string{"inlet", "--listen", anywhere, "--to", to}, args...)...).ready()
}

// wordBehind returns the word behind a flag in a command that sp has printed.
func wordBehind(t testing.TB, printed, flag string) string {
	t.Helper()
	words := strings.Fields(printed)
	for i, word := range words[:max(len(words)-1, 0)] {
		if word == flag {
			return words[i+1]
		}
	}
	t.Fatalf("no %s in %q", flag, printed)
	return ""
}

// Ends of routes.
const (
	toChannel   = "/secure/api"
	toOutlet    = toChannel + "/service/outlet"
	toUppercase = toChannel + "/service/uppercase"
	toAgain     = toChannel + "/service/hop" // a channel, and the rest inside it on the same node
)

// step returns host:port as a step of a route.
func step(address string) string {
	ap := netip.MustParseAddrPort(address)
	return fmt.Sprintf("/ip4/%s/tcp/%d", ap.Addr(), ap.Port())
}

// forwardTo returns the step from a relay to the outlet of that name.
func forwardTo(name string) string { return "/service/forward_to_" + name }

// hostPortOf returns the short form of a route that begins with /ip4/HOST/tcp/PORT, and the route
// itself if it does not.
func hostPortOf(long string) string {
	words := strings.Split(long, "/")
	if len(words) < 5 || words[1] != "ip4" || words[3] != "tcp" {
		return long
	}
	return words[2] + ":" + words[4]
}

// sendTo is a command that says hello to the service at the end of a route.
func sendTo(to string) []string { return []string{"send", "--to", to, "hello"} }

// hello is a command that has the node at the end of a route say hello in upper case.
func hello(to string) []string { return sendTo(to + toUppercase) }

// saysHello fails the test unless the node at the end of a route answers hello.
func (u person) saysHello(to string) {
	u.t.Helper()
	good := func(r outcome) bool { return r.stdout == "HELLO\n" }
	if r := u.answered(good, hello(to)...); !good(r) {
		u.t.Errorf("hello to %s: %+v", to, r)
	}
}
