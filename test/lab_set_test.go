//go:build unix

package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/route/transport"
)

// relaySet is relays that are one set. Each has a key of its own, knows the Identifiers of all, and
// can end and come back at its address. Not all have to run at once.
type relaySet struct {
	owner person   // starts them
	flags []string // of each
	all   []*setRelay
}

type setRelay struct {
	*process // the latest; nil before the first start
	set      *relaySet
	number   int
	id       identity.Identifier
	key      string
	at       string // where it listens, and is for the others
	inside   string // its network namespace; empty is the test's own
	up       bool
	former   []*process // those before
}

// newRelaySet makes relays of a set, one for each address, and starts none.
func newRelaySet(owner person, at []string, flags ...string) *relaySet {
	owner.t.Helper()
	s := &relaySet{owner: owner, flags: flags}
	for i, where := range at {
		key, id := owner.identity(fmt.Sprintf("relay%d", i))
		parsed, err := identity.ParseIdentifier(id)
		if err != nil {
			owner.t.Fatal(err)
		}
		s.all = append(s.all, &setRelay{set: s, number: i, id: parsed, key: key, at: where})
	}
	return s
}

// newTrio makes three relays of a set, and waits until they have met.
func newTrio(owner person) *relaySet {
	owner.t.Helper()
	at := []string{testkit.Address(owner.t), testkit.Address(owner.t), testkit.Address(owner.t)}
	s := newRelaySet(owner, at, "--allow", owner.identifier())
	for _, r := range s.all {
		r.begin(at...)
	}
	s.meets()
	return s
}

// begin starts a relay that is to find the set at these addresses, and waits until it listens.
func (r *setRelay) begin(seeds ...string) {
	r.set.owner.t.Helper()
	args := append([]string{"relay", "--listen", r.at, "--identity", r.key}, r.set.flags...)
	for _, at := range seeds {
		args = append(args, "--set", at)
	}
	for _, other := range r.set.all {
		args = append(args, "--relay-identity", other.id.String())
	}
	if r.process != nil {
		r.former = append(r.former, r.process)
	}
	r.process = r.set.owner.in(r.inside).start(args...)
	r.ready()
	r.up = true
}

// addresses returns where relays are.
func (s *relaySet) addresses() (all []string) {
	for _, r := range s.all {
		all = append(all, r.at)
	}
	return all
}

// running returns the relays that run.
func (s *relaySet) running() []*setRelay {
	return slices.DeleteFunc(slices.Clone(s.all), func(r *setRelay) bool { return !r.up })
}

// meets waits until each relay that runs knows the others that do.
func (s *relaySet) meets() {
	s.owner.t.Helper()
	for _, r := range s.running() {
		for _, other := range s.running() {
			if r != other {
				eventually(s.owner.t, fmt.Sprintf("relay %d knows relay %d", r.number, other.number),
					func() bool { return r.knows(other) })
			}
		}
	}
}

// knows tells whether a relay says that it has a session with another one.
func (r *setRelay) knows(other *setRelay) bool {
	id := "id=" + set.NodeIDOf(other.id).String()
	last := ""
	for line := range strings.Lines(r.stderr.String()) {
		if strings.Contains(line, "a relay of the set\" "+id) {
			last = line
		}
	}
	return strings.Contains(last, "met a relay")
}

// homes returns the relays that run, the first home of a name first.
func (s *relaySet) homes(name string) (all []*setRelay) {
	s.owner.t.Helper()
	var list set.List
	for _, r := range s.running() {
		at, err := transport.Parse(r.at)
		if err != nil {
			s.owner.t.Fatal(err)
		}
		list.Put(set.Node{
			ID: set.NodeIDOf(r.id), Epoch: 1, State: set.Up, Weight: 1,
			Addresses: []transport.Address{at},
		})
	}
	for _, n := range list.Homes(name) {
		i := slices.IndexFunc(s.all, func(r *setRelay) bool { return set.NodeIDOf(r.id) == n.ID })
		all = append(all, s.all[i])
	}
	return all
}

// holder returns the Identifier that has a name on a relay, according to its log, or nothing.
func (r *setRelay) holder(name string) string {
	held := make(map[string]int) // of several claims of an identity, the later one takes over
	for line := range strings.Lines(r.stderr.String()) {
		change := 0
		switch {
		case strings.Contains(line, `msg="outlet registered" name=`+name+" "):
			change = 1
		case strings.Contains(line, `msg="outlet gone" name=`+name+" "):
			change = -1
		default:
			continue
		}
		_, who, _ := strings.Cut(line, "identifier=")
		who, _, _ = strings.Cut(who, " ")
		who = strings.TrimSpace(who)
		held[who] = max(held[who]+change, 0) // one that was never registered may go
	}
	var all []string
	for who, n := range held {
		if n > 0 {
			all = append(all, who)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " and ")
}

// settles waits until a name is claimed by one identity at the two relays where it is at home, and
// nowhere else.
func (s *relaySet) settles(name, who string) {
	s.owner.t.Helper()
	last := ""
	defer func() {
		if s.owner.t.Failed() {
			s.owner.t.Logf("%s: %s", name, last)
		}
	}()
	eventually(s.owner.t, name+" is at home", func() bool {
		last = s.unsettled(name, who)
		return last == ""
	})
}

const homesEach = 2

// unsettled says what keeps a name from being settled.
func (s *relaySet) unsettled(name, who string) string {
	var wrong []string
	for i, r := range s.homes(name) {
		want := who
		if i >= homesEach {
			want = ""
		}
		if got := r.holder(name); got != want {
			wrong = append(wrong, fmt.Sprintf("at relay %d (home %d): %q, want %q", r.number, i, got,
				want))
		}
	}
	return strings.Join(wrong, "; ")
}

// killed ends a relay at once.
func (r *setRelay) killed() {
	r.kill()
	r.up = false
}

// leaves has a relay end in good order, and waits for that.
func (r *setRelay) leaves() {
	r.set.owner.t.Helper()
	r.signal(syscall.SIGTERM)
	r.up = false
	r.ends(done)
}

// nameTag is what a target says first, so that whoever comes knows where he is.
func nameTag(name string) string { return name + "\n" }

// answeringTagged says its name, and answers steady connections.
func answeringTagged(name string, complain func(error)) func(conn) {
	return func(c conn) {
		if _, err := io.WriteString(c, nameTag(name)); err != nil {
			return
		}
		switch err := answerSteady(c.(*net.TCPConn)); {
		case err == nil, errors.Is(err, errNothingSaid):
		default:
			complain(fmt.Errorf("%s: %s %w", name, complaint, err))
		}
	}
}

// taggedService is a service that says its name and answers steady connections.
func taggedService(t testing.TB, name string) string {
	t.Helper()
	return service(t, answeringTagged(name, func(err error) { t.Error(err) }))
}

// errWrongTarget is what must never happen.
var errWrongTarget = errors.New("WRONG TARGET")

// readTag reads the name of the target that a connection has led to.
func readTag(c net.Conn, name string) error {
	want := nameTag(name)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("%w: %q instead of %q", errWrongTarget, got, want)
	}
	return nil
}

// tagged connects to an inlet and expects the target of that name.
func tagged(t testing.TB, inlet, name string) conn {
	t.Helper()
	c := dial(t, inlet)
	if err := readTag(c, name); err != nil {
		t.Fatalf("%s at %s: %v", name, inlet, err)
	}
	return c
}

// attemptEach is how often somebody tries who wants to know when a name can be had.
const attemptEach = 10 * time.Millisecond

// mostAttempts is how many of his tries go on at once.
const mostAttempts = 200

// firstGood tries to connect all the time, each try beside those before, and returns how long it
// was until the first of them had reached the target, and how many had failed until then.
func firstGood(t testing.TB, dial func() (conn, error), name string) (took time.Duration, bad int) {
	t.Helper()
	began := time.Now()
	trying, stop := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	tries := make(chan error, 1<<12)
	pace := time.NewTicker(attemptEach)
	defer pace.Stop()
	late := time.After(patience)
	for open := 0; ; {
		if open < mostAttempts {
			open++
			tasks.Go(func() { tries <- tryTagged(trying, dial, name) })
		}
		for more := true; more; {
			select {
			case err := <-tries:
				open--
				switch {
				case errors.Is(err, errWrongTarget):
					t.Error(err)
				case err == nil:
					return time.Since(began), bad
				default:
					bad++
				}
			case <-pace.C:
				more = false
			case <-late:
				t.Fatalf("%s is not reached within %v", name, patience)
			}
		}
	}
}

// returns is how long it was, each time that a relay was killed, until somebody had reached a
// target.
type returns struct {
	all  []time.Duration
	late int // more than returnsIn
}

// returnsIn is the time in which 99 of 100 new connections are good again.
const returnsIn = time.Second

// add notes how long it was until now.
func (r *returns) add(took time.Duration) {
	r.all = append(r.all, took)
	if !inTime(time.Now().Add(-took), returnsIn) {
		r.late++
	}
}

// fewReturns are so few that one that is late tells nothing.
const fewReturns = 20

// end says how long it was, and fails the test if more than one of 100 were late, or of few more
// than one.
func (r *returns) end(t testing.TB) {
	t.Helper()
	t.Logf("kill -9: first good connection after %s", percentiles(r.all))
	most := len(r.all) / 100
	if len(r.all) < fewReturns {
		most = 1
	}
	if r.late > most {
		t.Errorf("%d of %d were not there within %v", r.late, len(r.all), returnsIn)
	}
}

// tryTagged connects, reads the target's name, and goes.
func tryTagged(ctx context.Context, dial func() (conn, error), name string) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer abandon(c)
	defer context.AfterFunc(ctx, func() { abandon(c) })()
	return readTag(c, name)
}
