//go:build linux

package test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// usage is what a process has taken of the system.
type usage struct {
	rss, peak   int64 // KiB in memory now, and the most since resetPeak
	descriptors int
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f MiB, %d descriptors", float64(u.rss)/1024, u.descriptors)
}

// use returns what a process uses.
func (p *labProcess) use() usage {
	p.t.Helper()
	return usageOf(p.t, p.cmd.Process.Pid)
}

// usageOf reads proc_pid_status(5).
func usageOf(t *testing.T, pid int) usage {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		t.Fatal(err)
	}
	fds, err := filepath.Glob(dir + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	u := usage{descriptors: len(fds)}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			u.rss = kib
		case "VmHWM":
			u.peak = kib
		}
	}
	return u
}

// resetPeak begins a new peak (proc_pid_clear_refs(5)).
func (p *labProcess) resetPeak() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// echoVariable has this test binary be a target that echoes: a process has descriptors of its own.
const echoVariable = "SP_ECHO_TARGET"

func init() {
	if os.Getenv(echoVariable) != "" {
		fatal(serveTarget("127.0.0.1:0", echo))
	}
}

func echo(c *net.TCPConn) {
	defer c.Close()
	_, _ = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 1<<10))
}

// row is the processes of a portal through a relay, in front of a service that echoes.
//
//	client ─▶ inlets ─▶ relay ◀─ outlet ─▶ target
type row struct {
	*nodes
	relay, outlet *labProcess
	inlets        []*labProcess
	addresses     []string // of the inlets
	target        *process
	targetRest    int // descriptors of the target when it has no connection
}

// rowPlan says how a row differs from the plain one.
type rowPlan struct {
	as     map[string]*nodes // roles that run another program
	inlets int               // 0 is one
	mux    bool              // the outlet's
}

// newRow starts a row.
func newRow(t *testing.T, plan rowPlan, flags ...string) *row {
	t.Helper()
	r := &row{nodes: newNodes(t)}
	role := func(name string) *nodes {
		here := *r.nodes
		if other := plan.as[name]; other != nil {
			here.binary = other.binary
		}
		return &here
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), echoVariable+"=1")
	r.target = background(t, cmd)
	target := ready(t, r.target)
	r.targetRest = usageOf(t, cmd.Process.Pid).descriptors
	var relayAt string
	r.relay, relayAt = role("relay").relay(flags...)
	outlet := flags
	if plan.mux {
		outlet = append([]string{"--mux"}, flags...)
	}
	r.outlet = role("outlet").registered(relayAt, "db", target, outlet...)
	for range max(plan.inlets, 1) {
		args := []string{"inlet", "--listen", "127.0.0.1:0", "--to", "db@" + relayAt}
		inlet := role("inlet").start(append(args, flags...)...)
		r.inlets, r.addresses = append(r.inlets, inlet), append(r.addresses, inlet.ready())
	}
	return r
}

// served returns how many connections the target has: each is a descriptor there.
func (r *row) served() int {
	r.t.Helper()
	return usageOf(r.t, r.target.cmd.Process.Pid).descriptors - r.targetRest
}

// dial connects to one of the inlets, to each in turn.
func (r *row) dial(number int) (net.Conn, error) {
	return net.DialTimeout("tcp", r.addresses[number%len(r.addresses)], labPatience)
}

func (r *row) processes() map[string]*labProcess {
	all := map[string]*labProcess{"relay": r.relay, "outlet": r.outlet, "inlet": r.inlets[0]}
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
	_ = c.SetDeadline(time.Now().Add(labPatience))
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
func each(t *testing.T, n, workers int, work func(n int) error) {
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

// hold opens n connections, has all of them answer while all are open, and closes them. It returns what the processes
// used while all were open.
func (r *row) hold(n int) map[string]usage {
	r.t.Helper()
	all := make([]net.Conn, n)
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

// settleFull is by when links that are made ahead of demand are gone, which they are a minute after the last demand.
const settleFull = 100 * time.Second

// settle waits until every process holds no more than is allowed, as long as that may take, and returns what they use.
func (r *row) settle(allowed func(name string, u usage) bool) map[string]usage {
	r.t.Helper()
	late := time.After(ofFull(45*time.Second, settleFull))
	look := time.NewTicker(500 * time.Millisecond)
	defer look.Stop()
	for {
		now := r.use()
		fine := true
		for name, u := range now {
			fine = fine && allowed(name, u)
		}
		if fine {
			return now
		}
		select {
		case <-look.C:
		case <-late:
			return now
		}
	}
}

// baseline returns what the processes use at rest.
func (r *row) baseline() map[string]usage {
	r.t.Helper()
	return r.settle(func(string, usage) bool { return !full() })
}

// Memory that is not sp's own may be first touched in a later round, and a few descriptors more are no leak: within a
// tenth, and these.
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
	return u.descriptors <= start.descriptors+start.descriptors/10+ofFull(spareSoon, spareDescriptors)
}

// TestHeld holds many connections at once through one relay, all of which answer; when they are closed, memory and
// descriptors are back. Where a process may have 20,000 descriptors, 10,000 connections need the mux, with which the
// relay and the outlet have one for each, and an inlet for each half.
func TestHeld(t *testing.T) {
	if full() { // figures are taken alone
		held(t, 10_000, rowPlan{inlets: 2, mux: true})
		return
	}
	t.Parallel()
	for name, plan := range map[string]rowPlan{"spare links": {}, "mux": {inlets: 2, mux: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			held(t, 500, plan)
		})
	}
}

// keptKiB is what Go keeps of each connection that a process has ever had at once: its goroutines and what polls its
// sockets are never freed. A program that does nothing else keeps 2.4.
const keptKiB = 3

// kept returns what processes that used as much at the start may use when n connections have been closed.
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

func held(t *testing.T, n int, plan rowPlan) {
	t.Helper()
	const most = "40000" // both links of a relay count
	r := newRow(t, plan, "--log-level", "error", "--max-connections", most, "--max-per-source", most,
		"--keepalive", ofFull("2s", "5s")) // links that are idle for too long end with a keepalive
	r.hold(idleKept * len(r.inlets))
	start := r.baseline()
	t.Logf("start: %v", start)
	var after map[string]usage
	for round := range 2 {
		before := after
		began := time.Now()
		open := r.hold(n)
		took := time.Since(began).Round(100 * time.Millisecond)
		eventually(t, "the target's connections have ended", func() bool { return r.served() == 0 })
		if before == nil {
			before = kept(start, n)
		}
		first := round == 0 && !full() // memory comes back later than the small version waits
		after = r.settle(func(name string, u usage) bool {
			return within(u, before[name]) || first && closed(u, before[name])
		})
		t.Logf("round %d: %d held, in %v: %v; closed: %v", round+1, n, took, open, after)
		for name, u := range after {
			if !within(u, before[name]) && !first {
				t.Errorf("round %d: the %s had %v before, and has %v", round+1, name, before[name], u)
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

// TestBurst opens many connections in one moment, again and again: an outlet has many new links at once of which it knows
// nothing yet.
func TestBurst(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"many": ofFull(1000, 4000), "few descriptors": fewFiles / 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newNodes(t)
			if n < fewFiles {
				l.limitFiles()
			}
			target := labService(t, func(c labConn) { _, _ = io.Copy(c, c) })
			_, outlet := l.outlet(target)
			l.binary = executable(t)
			burst(t, l.inlet(outlet), n)
		})
	}
}

func burst(t *testing.T, inlet string, n int) {
	t.Helper()
	for range 3 {
		each(t, n, n, func(k int) error {
			c, err := net.DialTimeout("tcp", inlet, labPatience)
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
	if !full() { // figures are taken alone
		t.Parallel()
	}
	n := ofFull(2000, 100_000)
	r := newRow(t, rowPlan{}, "--log-level", "error")
	each(t, n/10, 4, r.once)
	start := r.baseline()
	began := time.Now()
	each(t, n, 4, r.once)
	took := time.Since(began)
	after := r.settle(func(name string, u usage) bool { return within(u, start[name]) })
	t.Logf("%d connections in %v; after the first tenth: %v; after all: %v", n, took.Round(time.Millisecond), start, after)
	for name, u := range after {
		if !within(u, start[name]) {
			t.Errorf("%s has grown from %v to %v", name, start[name], u)
		}
	}
}

// TestFewDescriptors floods a process that may have 256 descriptors: it stays up, says so once, and serves again.
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
	descriptorFlood   = 600
	descriptorReports = 15 // lines about it that a flood may cost: one each ten seconds, of each kind
)

// fewFiles is how many files a process may open that lacks descriptors.
const fewFiles = 256

// limitFiles has the processes that l starts from now on open no more than fewFiles.
func (l *nodes) limitFiles() {
	l.t.Helper()
	wrapper := filepath.Join(l.dir, "sp")
	script := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec '%s' \"$@\"\n", fewFiles, executable(l.t))
	if err := os.WriteFile(wrapper, []byte(script), 0o700); err != nil {
		l.t.Fatal(err)
	}
	l.binary = wrapper
}

func fewDescriptors(t *testing.T, part string) {
	t.Helper()
	limited := newNodes(t)
	limited.limitFiles()
	r := newRow(t, rowPlan{as: map[string]*nodes{part: limited}}, "--connect-timeout", "2s",
		"--max-connections", fmt.Sprint(2*descriptorFlood)) // a relay refuses by default what it has no descriptors for
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
	p.says("too many open files", 1)
	eventually(t, "the flood fills it", func() bool { return p.use().descriptors > 200 })
	during := p.use()
	for _, c := range flood {
		_ = c.Close()
	}
	began := time.Now()
	for r.once(0) != nil {
		if time.Since(began) > labPatience {
			t.Fatal("it does not serve any more")
		}
	}
	took := time.Since(began).Round(time.Millisecond)
	reports := strings.Count(p.log.String(), "too many open files")
	t.Logf("%s: %d descriptors before, %d in the flood of %d; serves again after %v; %d lines about it of %d",
		part, before.descriptors, during.descriptors, descriptorFlood, took, reports, strings.Count(p.log.String(), "\n"))
	if reports > descriptorReports {
		t.Errorf("%s has said %d times that it lacks descriptors", part, reports)
	}
	for name, other := range r.processes() {
		if name != part {
			t.Logf("meanwhile the %s has logged %d lines", name, strings.Count(other.log.String(), "\n"))
		}
	}
}
