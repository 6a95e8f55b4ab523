//go:build linux

package test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
)

// row is a portal through a relay in front of a service that echoes, with figures of what its
// processes use.
//
//	client ─▶ inlets ─▶ relay ◀─ outlet ─▶ target
type row struct {
	*topology
	targetRest int // descriptors of the target when it has no connection
}

func newRow(t *testing.T, p plan) *row {
	t.Helper()
	p.relay, p.program, p.inlets = true, "echo", max(p.inlets, 1)
	r := &row{topology: newTopology(t, p)}
	r.targetRest = r.targetProcess.use().descriptors // nobody has been told of its portal
	return r
}

// served returns how many connections the target has: each is a descriptor there.
func (r *row) served() int {
	r.t.Helper()
	return r.targetProcess.use().descriptors - r.targetRest
}

// dial connects to one of the inlets, to each in turn.
func (r *row) dial(number int) (conn, error) {
	return dialWhere(r.addresses[number%len(r.addresses)])
}

func (r *row) processes() map[string]*process {
	all := map[string]*process{"relay": r.relay, "outlet": r.outlet, "inlet": r.inlets[0]}
	for k, p := range r.inlets[1:] {
		all[fmt.Sprintf("inlet %d", k+2)] = p
	}
	return all
}

func (r *row) use() map[string]usage {
	all := make(map[string]usage)
	for name, p := range r.processes() {
		all[name] = p.use()
	}
	return all
}

// answers sends a number and expects it back.
func answers(c net.Conn, number uint64) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	out := binary.BigEndian.AppendUint64(nil, number)
	if _, err := c.Write(out); err != nil {
		return err
	}
	in := make([]byte, len(out))
	if _, err := io.ReadFull(c, in); err != nil {
		return err
	}
	if !bytes.Equal(in, out) {
		return fmt.Errorf("%w: %x came back for %x", errWrong, in, out)
	}
	return nil
}

// each runs work for the numbers below n, a few at a time, and fails the test with the first error.
func each(t testing.TB, n, workers int, work func(n int) error) {
	t.Helper()
	var next atomic.Int64
	var tasks sync.WaitGroup
	var once sync.Once
	for range workers {
		tasks.Go(func() {
			for k := int(next.Add(1)) - 1; k < n; k = int(next.Add(1)) - 1 {
				if err := work(k); err != nil {
					once.Do(func() { t.Errorf("connection %d: %v", k, err) })
					return
				}
			}
		})
	}
	tasks.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// hold opens n connections, has all of them answer while all are open, and closes them. It returns
// what the processes used while all were open.
func (r *row) hold(n int) map[string]usage {
	r.t.Helper()
	all := make([]conn, n)
	defer func() {
		for _, c := range all {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	each(r.t, n, 32, func(k int) (err error) {
		if all[k], err = r.dial(k); err != nil {
			return err
		}
		return answers(all[k], uint64(k))
	})
	if now := r.served(); now != n {
		r.t.Errorf("the target has %d connections, want %d", now, n)
	}
	each(r.t, n, 32, func(k int) error { return answers(all[k], uint64(k)<<32) })
	return r.use()
}

// By when links that are made ahead of demand are gone, which they are a minute after the last
// demand. The short form has fewer of them, and waits for less.
const (
	settleFull  = 100 * time.Second
	settleShort = 45 * time.Second
)

// settle waits until every process holds no more than is allowed, as long as that may take, and
// returns what they use.
func (r *row) settle(allowed func(name string, u usage) bool) map[string]usage {
	r.t.Helper()
	began := time.Now()
	look := time.NewTicker(500 * time.Millisecond)
	defer look.Stop()
	for {
		now := r.use()
		fine := true
		for name, u := range now {
			fine = fine && allowed(name, u)
		}
		if fine || !inTime(began, testenv.OfFull(settleShort, settleFull)) {
			return now
		}
		<-look.C
	}
}

// baseline returns what the processes use at rest.
func (r *row) baseline() map[string]usage {
	r.t.Helper()
	return r.settle(func(string, usage) bool { return !testenv.Full() })
}

// Memory that is not sp's own may be first touched in a later round, and a few descriptors more are
// no leak: within a tenth, and these.
const (
	spareKiB         = 4 << 10
	spareDescriptors = 4
	spareSoon        = 160 // where links that follow the demand are not waited for
)

// within tells whether u is as much as start. The race detector keeps what it has taken.
func within(u, start usage) bool {
	return closed(u, start) && (raceDetector || u.rss <= start.rss+start.rss/10+spareKiB)
}

// closed tells whether u is as many descriptors as start.
func closed(u, start usage) bool {
	return u.descriptors <= start.descriptors+start.descriptors/10+testenv.OfFull(spareSoon,
		spareDescriptors)
}

// TestHeld holds many connections at once through one relay, all of which answer; when they are
// closed, memory and descriptors are back. Where a process may have 20,000 descriptors, 10,000
// connections need the mux, with which the relay and the outlet have one for each, and an inlet for
// each half.
func TestHeld(t *testing.T) {
	if testenv.Full() { // figures are taken alone
		held(t, 10_000, muxForHalves)
		return
	}
	t.Parallel()
	for name, p := range map[string]plan{"standby links": {}, "mux": muxForHalves} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			held(t, testenv.OfRun(125, 250, 250), p)
		})
	}
}

var muxForHalves = plan{inlets: 2, outlet: []string{"--mux"}}

// keptKiB is what Go keeps of each connection that a process has ever had at once: its goroutines
// and what polls its sockets are never freed. A program that does nothing else keeps 2.4.
const keptKiB = 3

// kept returns what processes that used as much at the start may use when n connections have been
// closed.
func kept(start map[string]usage, n int) map[string]usage {
	all := make(map[string]usage, len(start))
	for name, u := range start {
		u.rss += int64(n * keptKiB)
		all[name] = u
	}
	return all
}

// idleKept is how many links an inlet keeps for good once it has needed them.
const idleKept = 2

func held(t *testing.T, n int, p plan) {
	t.Helper()
	const most = "40000" // both links of a relay count
	p.flags = []string{
		"--log-level", "error", "--max-connections", most, "--max-per-source", most,
		// links that are idle for too long end with a keepalive
		"--keepalive", testenv.OfFull(unhurried(2*time.Second), 5*time.Second).String(),
	}
	r := newRow(t, p)
	free := func() {
		t.Helper()
		eventually(t, "the target's connections have ended", func() bool { return r.served() == 0 })
	}
	r.hold(idleKept * len(r.inlets))
	free()
	start := r.baseline()
	t.Logf("start: %v", start)
	var after map[string]usage
	for round := range 2 {
		before := after
		began := time.Now()
		open := r.hold(n)
		took := time.Since(began).Round(100 * time.Millisecond)
		free()
		if before == nil {
			before = kept(start, n)
		}
		// memory comes back later than the small version waits
		first := round == 0 && !testenv.Full()
		after = r.settle(func(name string, u usage) bool {
			return within(u, before[name]) || first && closed(u, before[name])
		})
		t.Logf("round %d: %d held, in %v: %v; closed: %v", round+1, n, took, open, after)
		for name, u := range after {
			if !within(u, before[name]) && !first {
				t.Errorf("round %d: the %s had %v before, and has %v", round+1, name, before[name],
					u)
			}
		}
	}
}

// once opens a connection, has it answer, and closes it.
func (r *row) once(number int) error {
	c, err := r.dial(number)
	if err != nil {
		return err
	}
	defer c.Close()
	return answers(c, 1)
}

// TestBurst opens many connections in one moment, again and again: an outlet has many new links at
// once of which it knows nothing yet.
func TestBurst(t *testing.T) {
	t.Parallel()
	for name, few := range map[string]bool{"many": false, "few descriptors": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := testenv.OfRun(bearable(300), bearable(1000), 4000)
			p := plan{target: service(t, echo), inlets: 1}
			if few {
				// One identity may have three quarters of what an outlet has for links and
				// targets; while one burst ends and the next begins a connection takes four.
				n, p.few = fewFiles/8, "outlet"
			}
			burst(t, newTopology(t, p).address, n)
		})
	}
}

func burst(t *testing.T, inlet string, n int) {
	t.Helper()
	for range 3 {
		each(t, n, n, func(k int) error {
			c, err := dialWhere(inlet)
			if err != nil {
				return err
			}
			defer c.Close()
			return answers(c, uint64(k))
		})
	}
}

// TestOneAfterAnother opens and closes many connections, a few at a time: nothing grows.
func TestOneAfterAnother(t *testing.T) {
	alone(t)
	n := testenv.OfRun(500, 2000, 100_000)
	r := newRow(t, plan{flags: []string{"--log-level", "error"}})
	each(t, n/10, 4, r.once)
	start := r.baseline()
	began := time.Now()
	each(t, n, 4, r.once)
	took := time.Since(began)
	after := r.settle(func(name string, u usage) bool { return within(u, start[name]) })
	t.Logf("%d connections in %v; after the first tenth: %v; after all: %v", n,
		took.Round(time.Millisecond), start, after)
	for name, u := range after {
		if !within(u, start[name]) {
			t.Errorf("%s has grown from %v to %v", name, start[name], u)
		}
	}
}

// TestFewDescriptors floods a process that may have 256 descriptors: it stays up, says so once, and
// serves again.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"inlet", "relay", "outlet"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			fewDescriptors(t, part)
		})
	}
}

const (
	descriptorFlood   = 400
	descriptorReports = 15 // lines about it that a flood may cost: one at once, of each kind
	reportEvery       = 10 * time.Second
)

// lacking is what a process says that lacks descriptors. An outlet keeps some for its targets, and
// refuses before.
func lacking(part string) string {
	if part == "outlet" {
		return "too many connections"
	}
	return "too many open files"
}

func fewDescriptors(t *testing.T, part string) {
	t.Helper()
	r := newRow(t, plan{few: part, flags: []string{
		"--connect-timeout", unhurried(2 * time.Second).String(),
		// a relay refuses by default what it has no descriptors for
		"--max-connections", fmt.Sprint(2 * descriptorFlood),
	}})
	start := time.Now()
	if err := r.once(0); err != nil {
		t.Fatal(err)
	}
	p := r.processes()[part]
	before := p.use()
	var flood []net.Conn
	for range descriptorFlood {
		c, err := r.dial(0)
		if errors.Is(err, syscall.ECONNRESET) {
			continue // refused before it was told that it is connected
		}
		if err != nil {
			t.Fatal(err)
		}
		flood = append(flood, c)
		_, _ = c.Write([]byte("flood!!!"))
	}
	p.says(lacking(part))
	eventually(t, "the flood fills it", func() bool { return p.use().descriptors > 200 })
	during := p.use()
	for _, c := range flood {
		_ = c.Close()
	}
	began := time.Now()
	for r.once(0) != nil {
		if time.Since(began) > patience {
			t.Fatal("it does not serve any more")
		}
	}
	took := time.Since(began).Round(time.Millisecond)
	reports := p.said(lacking(part))
	t.Logf("%s: %d descriptors before, %d in the flood of %d; "+
		"serves again after %v; %d lines about it of %d",
		part, before.descriptors, during.descriptors, descriptorFlood, took, reports, p.said("\n"))
	if reports > descriptorReports+3*int(time.Since(start)/reportEvery) {
		t.Errorf("%s has said %d times that it lacks descriptors", part, reports)
	}
	for name, other := range r.processes() {
		if name != part {
			t.Logf("meanwhile the %s has logged %d lines", name, other.said("\n"))
		}
	}
}
