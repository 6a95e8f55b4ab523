//go:build unix

// Package test tells stories of what sp does for its users, end to end and on the program itself.
//
// What the stories share is in the files lab_*: a person who runs sp, a process, a topology of
// them, connections with one way to wait for an end or a reset, services and streams of which every
// byte is known, networks, faults, and one patience. A story starts nothing and waits for nothing
// by other means.
package test

import (
	"cmp"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// topology is a portal: its processes, and where they listen. The test is the client and, unless
// the plan says otherwise, the target:
//
//	client ─▶ sp inlet ─▶ (sp relay ◀─) sp outlet ─▶ target
type topology struct {
	person      // runs what nobody else runs
	plan   plan // a test may change its flags before it starts a part again

	// The target is the test itself, or a process, or neither: then the plan names it.
	target          *net.TCPListener
	targetAt        string
	targetProcess   *process
	targetProcesses []*process // those that were killed, too

	relay     *process
	relayAt   string                // where it listens
	nearRelay string                // its address as inlets know it
	farRelay  string                // its address as the outlet knows it
	near, far *faultnet.ProxyServer // the proxies at these two, with plan.faults

	outlet  *process
	printed string // the command of an inlet that reaches it

	inlet     *process // the latest
	address   string   // where it listens
	inlets    []*process
	addresses []string // of all inlets
	inletAt   string   // where inlets are told to listen
}

// plan says what a topology consists of. The zero plan is an outlet that listens, in front of the
// test.
type plan struct {
	who    person   // runs all of it; somebody new if nobody is named
	inlets int      // how many start at once; a test may start more
	flags  []string // of all processes
	outlet []string // more flags of the outlet's
	at     string   // where the outlet listens, without a relay; anywhere if empty

	relay      bool     // the outlet registers with one
	name       string   // of the outlet there; db if empty
	relayAt    string   // the address of a relay that runs already; else one is started
	relayOwner person   // runs the relay, if that is somebody else
	relayFlags []string // more flags of the relay's
	over       string   // by which scheme a relay in networks of its own is reached; TCP if empty

	target  string // the address of a service
	program string // or which of programs the target is

	faults   bool      // a proxy on each side of the relay; parts keep their addresses
	networks *networks // near for inlets, middle for the relay, far for the outlet
	few      string    // the part that may open few files only
}

// newTopology starts what p says.
func newTopology(t testing.TB, p plan) *topology {
	t.Helper()
	if p.who.t == nil {
		p.who = newPerson(t)
	}
	if p.name == "" {
		p.name = "db"
	}
	w := &topology{person: p.who, plan: p, relayAt: anywhere, inletAt: anywhere}
	if p.faults {
		w.relayAt, w.inletAt = testkit.Address(t), testkit.Address(t)
	}
	w.beginTarget()
	if p.relay {
		w.beginRelay()
	}
	w.beginOutlet()
	for range p.inlets {
		w.connect(w.route(), p.flags...)
	}
	return w
}

// newOutlet starts an outlet only.
func newOutlet(t testing.TB, flags ...string) *topology {
	t.Helper()
	return newTopology(t, plan{outlet: flags})
}

// newSite starts an outlet and an inlet, with more flags for both.
func newSite(t testing.TB, flags ...string) *topology {
	t.Helper()
	return newTopology(t, plan{flags: flags, inlets: 1})
}

// newDoor starts an outlet for guests, behind a relay of somebody else if it is to be reached
// through one.
func newDoor(t testing.TB, through bool, flags ...string) *topology {
	t.Helper()
	p := plan{who: newPerson(t), relay: through, outlet: flags}
	if through {
		p.relayOwner, p.relayFlags = newPerson(t), []string{"--allow", p.who.identifier()}
	}
	return newTopology(t, p)
}

func (w *topology) relayOfAnother() bool { return w.plan.relayOwner.t != nil }

// as returns who runs a part, on its machine.
func (w *topology) as(part string) person {
	u := w.person
	if part == "relay" && w.relayOfAnother() {
		u = w.plan.relayOwner
	}
	if w.plan.few == part {
		u = u.withFewFiles()
	}
	if n := w.plan.networks; n != nil {
		u = u.in(map[string]string{"inlet": n.near, "relay": n.middle, "outlet": n.far}[part])
	}
	return u
}

func (w *topology) beginTarget() {
	w.t.Helper()
	switch {
	case w.plan.target != "":
		w.targetAt = w.plan.target
	case w.plan.program != "":
		w.targetAt = anywhere
		if w.plan.faults {
			w.targetAt = testkit.Address(w.t)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), programVariable+"="+w.plan.program,
			whereVariable+"="+w.targetAt)
		w.targetProcess = start(w.t, cmd)
		w.targetProcesses = append(w.targetProcesses, w.targetProcess)
		w.targetAt = w.targetProcess.ready()
	default:
		w.target = listen(w.t)
		w.targetAt = w.target.Addr().String()
	}
}

func (w *topology) beginRelay() {
	w.t.Helper()
	if at := w.plan.relayAt; at != "" {
		w.relayAt, w.nearRelay, w.farRelay = at, at, at
		return
	}
	const port = ":4000"
	at := w.relayAt
	if w.plan.networks != nil {
		at = w.plan.reached(port)
	}
	args := w.person.relayAt(at, append(slices.Clone(w.plan.flags), w.plan.relayFlags...)...)
	w.relay = w.as("relay").start(args...)
	w.relayAt = w.relay.ready()
	w.nearRelay, w.farRelay = w.relayAt, w.relayAt
	if n := w.plan.networks; n != nil {
		w.nearRelay = w.plan.reached(n.nearNet + ".1" + port)
		w.farRelay = w.plan.reached(n.farNet + ".1" + port)
	}
	if w.plan.faults {
		w.near = proxy(w.t, w.relayAt, faultnet.ProxyConfig{})
		w.far = proxy(w.t, w.relayAt, faultnet.ProxyConfig{})
		w.nearRelay, w.farRelay = w.near.Addr(), w.far.Addr()
	}
}

// reached is how a relay at host:port is reached.
func (p plan) reached(at string) string {
	switch p.over {
	case "":
		return at
	case "ws", "wss":
		at += "/sp"
	}
	return p.over + "://" + at
}

func (w *topology) beginOutlet() {
	w.t.Helper()
	where := []string{"--listen", cmp.Or(w.plan.at, anywhere)}
	if w.plan.relay {
		where = []string{"--relay", w.farRelay, "--name", w.plan.name}
	}
	flags := append(slices.Clone(w.plan.flags), w.plan.outlet...)
	if w.plan.relay && slices.Contains(flags, "--authority") {
		// It is for the inlets, and has not vouched for the relay.
		where = append(where, "--relay-identity", w.as("relay").relayIdentifier())
	}
	args := append([]string{"outlet", "--target", w.targetAt}, where...)
	w.outlet = w.as("outlet").start(append(args, flags...)...)
	w.printed = w.outlet.ready()
}

// connect starts one more inlet and waits until it is ready.
func (w *topology) connect(route string, flags ...string) {
	w.t.Helper()
	w.connected(w.as("inlet").start(append([]string{"inlet", "--listen", w.inletAt, "--to", route},
		flags...)...))
}

// connected waits until an inlet that somebody has started is ready.
func (w *topology) connected(inlet *process) {
	w.t.Helper()
	w.inlet, w.address = inlet, inlet.ready()
	w.inlets, w.addresses = append(w.inlets, w.inlet), append(w.addresses, w.address)
}

// route returns the outlet's route for this topology's inlets.
func (w *topology) route() string {
	w.t.Helper()
	if w.nearRelay != w.farRelay {
		return w.plan.name + "@" + w.nearRelay
	}
	return w.word("--to")
}

// word returns the word behind a flag in the command that the outlet printed.
func (w *topology) word(flag string) string {
	w.t.Helper()
	return wordBehind(w.t, w.printed, flag)
}

// open opens a connection through the portal and returns its two ends.
func (w *topology) open() (client, target conn) {
	w.t.Helper()
	client = w.dial()
	return client, w.accept()
}

func (w *topology) dial() conn {
	w.t.Helper()
	return dial(w.t, w.address)
}

func (w *topology) accept() conn {
	w.t.Helper()
	return accept(w.t, w.target)
}

// carries has one connection carry a word each way.
func (w *topology) carries() {
	w.t.Helper()
	client, target := w.open()
	send(w.t, client, "hello")
	receives(w.t, target, "hello")
	send(w.t, target, "welcome")
	receives(w.t, client, "welcome")
	_ = client.Close()
	_ = target.Close()
}

// untouched fails the test if somebody has connected to the target.
func (w *topology) untouched() {
	w.t.Helper()
	raw, err := w.target.SyscallConn()
	if err != nil {
		w.t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		if c, _, err := syscall.Accept(int(fd)); err == nil {
			_ = syscall.Close(c)
			w.t.Error("the target has seen a connection")
		}
	})
}

// parts are the processes of a topology with a relay whose target is a program.
var parts = []string{"relay", "outlet", "inlet", "target"}

// part returns where the process of that name is kept.
func (w *topology) part(name string) **process {
	return map[string]**process{
		"relay": &w.relay, "outlet": &w.outlet, "inlet": &w.inlet, "target": &w.targetProcess,
	}[name]
}

// kill kills one part with SIGKILL.
func (w *topology) kill(part string) { (*w.part(part)).kill() }

// revive starts a part again that was killed, and waits until it is ready.
func (w *topology) revive(part string) {
	w.t.Helper()
	w.begun(part, (*w.part(part)).again())
}

// begun takes note of a process that has taken the place of a part that was killed.
func (w *topology) begun(part string, p *process) {
	*w.part(part) = p
	switch part {
	case "target":
		w.targetProcesses = append(w.targetProcesses, w.targetProcess)
	case "inlet":
		w.inlets[len(w.inlets)-1] = w.inlet
	}
}

// replaceTarget kills the program that is the target, and listens in its place until that is
// revived. It returns a function that takes one connection, and no more.
func (w *topology) replaceTarget() (accept1 func() conn) {
	w.t.Helper()
	w.kill("target")
	l, err := net.Listen("tcp", w.targetAt)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	return func() conn {
		w.t.Helper()
		defer l.Close()
		return accept(w.t, l.(*net.TCPListener))
	}
}

// inletArgs are those of a guest who wants to get in.
func (w *topology) inletArgs(flags ...string) []string { return w.inletArgsAt(anywhere, flags...) }

func (w *topology) inletArgsAt(where string, flags ...string) []string {
	return append([]string{
		"inlet", "--listen", where, "--to", w.route(),
		"--allow", w.identifier(),
	}, flags...)
}

// admits lets a guest in, and a connection through.
func (w *topology) admits(guest person, flags ...string) {
	w.t.Helper()
	w.connected(guest.start(w.inletArgs(flags...)...))
	w.carries()
}

// refuses expects that a guest is turned away: that it hears nothing but that, and the outlet logs
// the reason.
func (w *topology) refuses(guest person, reason string, flags ...string) {
	w.t.Helper()
	w.turnsAway(guest, reason, w.inletArgs(append(flags,
		"--no-wait", "--log-level", "debug")...)...)
}

// turnsAway is refuses for any command.
func (w *topology) turnsAway(guest person, reason string, args ...string) {
	w.t.Helper()
	before := w.outlet.said(reason)
	r := guest.answered(func(r outcome) bool { return r.code == notTrusted }, args...)
	if r.code != notTrusted || r.stdout != "" {
		w.t.Fatalf("%v: exit code %d, stdout %q\n%s", args, r.code, r.stdout, r.stderr)
	}
	if !strings.Contains(r.stderr, "not trusted by the far end") ||
		strings.Contains(r.stderr, reason) {
		w.t.Errorf("the guest is to hear that it is not trusted, and not that %q:\n%s", reason,
			r.stderr)
	}
	w.outlet.saysAgain(reason, before)
	w.untouched()
}

// cutLimit is how long a transfer may go on after trust has ended.
const cutLimit = time.Second

// cutSlack is how much longer in the short form, where other tests run at the same time.
const cutSlack = 4 * time.Second

// transfer is bytes on their way to a client until somebody cuts them off.
type transfer struct {
	t              testing.TB
	client, target <-chan ending
}

// transfer opens a connection on which the target sends without end, and waits until some of it has
// arrived.
func (w *topology) transfer() *transfer {
	w.t.Helper()
	client, target := w.open()
	failed := make(chan ending, 1)
	go func() { failed <- sendSlowly(target) }()
	first := make([]byte, 1<<10)
	if _, err := io.ReadFull(client, first); err != nil {
		w.t.Fatal(err)
	}
	return &transfer{w.t, ended(client), failed}
}

// sendSlowly sends until that fails.
func sendSlowly(c conn) ending {
	pace := time.NewTicker(50 * time.Millisecond)
	defer pace.Stop()
	for {
		if _, err := c.Write(make([]byte, 8<<10)); err != nil {
			return ending{err: err, at: time.Now()}
		}
		<-pace.C
	}
}

// isCut expects both ends to be cut off soon after since, and not before.
func (f *transfer) isCut(since time.Time) {
	f.t.Helper()
	for who, ended := range map[string]<-chan ending{"client": f.client, "target": f.target} {
		e := testkit.Within(f.t, ended, "the transfer goes on at the "+who)
		limit := testenv.OfFull(cutLimit+cutSlack, cutLimit)
		if took := e.at.Sub(since); took < 0 || !inTimeAt(since, e.at, limit) {
			f.t.Errorf("the %s was cut off %v after trust ended", who, took)
		}
		if e.err == nil {
			f.t.Errorf("the %s takes it for an end", who)
		}
	}
}

// goesOn expects that nothing is cut off until then.
func (f *transfer) goesOn(until time.Time) {
	f.t.Helper()
	select {
	case e := <-f.client:
		f.t.Fatalf("the client was cut off: %v", e.err)
	case e := <-f.target:
		f.t.Fatalf("the target was cut off: %v", e.err)
	case <-time.After(time.Until(until)):
	}
}
