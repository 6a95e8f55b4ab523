package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// patient is a Health that a test decides.
type patient struct {
	mu      sync.Mutex
	sick    bool
	changed chan struct{}
}

func (p *patient) IsSick() (bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.sick, p.changed
}

func (p *patient) is(sick bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sick = sick
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// shared is processes that share the name x on a relay.
type shared struct {
	*holders
	all    []*Client
	health []*patient
}

func newShared(t *testing.T, n int) *shared {
	t.Helper()
	s := &shared{holders: newHolders(t)}
	for range n {
		s.join()
	}
	return s
}

// join adds a process.
func (s *shared) join() *Client {
	s.t.Helper()
	c, h := s.process(), &patient{}
	c.Share, c.Health = true, h
	s.all, s.health = append(s.all, c), append(s.health, h)
	registered(s.t, c)
	return c
}

// to is the route to the name, and to one process if that is not nil.
func (s *shared) to(c *Client) route.Route {
	r := route.Route{s.at, route.Forward("x")}
	if c != nil {
		r = append(r, route.Instance(c.Instance))
	}
	return append(r, secure(), svc(route.EchoName))
}

// led returns which process a new session is with that asks by a route.
func (s *shared) led(to route.Route) (*route.Node, Instance) {
	s.t.Helper()
	n := s.node(s.t)
	session, err := n.Session(testkit.Context(s.t), to)
	if err != nil {
		s.t.Fatal(err)
	}
	step := wire.Address{Kind: wire.Service, Name: route.InstancePrefix + session.FarInstance()}
	of, ok := route.InstanceOf(step)
	if !ok {
		s.t.Fatalf("the process says that it is %q", session.FarInstance())
	}
	return n, of
}

// lease returns the lease of a process.
func (s *shared) lease(c *Client) *Lease {
	s.t.Helper()
	a, err := s.names.Lookup(s.t.Context(), "x")
	if err != nil {
		s.t.Fatal(err)
	}
	i := slices.IndexFunc(a.Shared, func(l *Lease) bool { return l.instance == c.Instance })
	if i < 0 {
		s.t.Fatalf("%x does not share the name: %d do", c.Instance, len(a.Shared))
	}
	return a.Shared[i]
}

// Sessions that ask for nobody are spread over the processes that share a name, and each one's
// links lead to the process that it is with.
func TestSharedNameIsSpread(t *testing.T) {
	s := newShared(t, 3)
	count := make(map[Instance]int)
	for range 9 {
		n, with := s.led(s.to(nil))
		count[with]++
		for range 4 {
			if got, err := ask(t, n, s.to(nil), "hello"); got != "hello" || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
		}
	}
	for _, c := range s.all {
		if count[c.Instance] != 3 {
			t.Errorf("they are spread like %v", count)
		}
		if _, with := s.led(s.to(c)); with != c.Instance {
			t.Errorf("asked for %x, and led to %x", c.Instance, with)
		}
	}
}

// A process that is not there cannot be asked for, and nobody is led to another one in its place:
// neither where the name is shared nor where it is not.
func TestAbsentProcess(t *testing.T) {
	s := newShared(t, 2)
	nobody := &Client{Instance: Instance{1}}
	_, err := s.node(t).Session(testkit.Context(t), s.to(nobody))
	expectStatus(t, err, wire.Unreachable, 1, testAddress(s.at))
	l := &Lease{claim: claim{name: "x", instance: nobody.Instance}}
	s.server.left.add(l, time.Now().Add(-leftAfter))
	_, err = s.node(t).Session(testkit.Context(t), s.to(nobody))
	expectStatus(t, err, wire.NoService, 1, testAddress(s.at))

	alone := newHolders(t)
	c := alone.process()
	registered(t, c)
	n := alone.node(t)
	to := route.Route{
		alone.at, route.Forward("x"), route.Instance(nobody.Instance), secure(),
		svc(route.EchoName),
	}
	_, err = n.Session(testkit.Context(t), to)
	expectStatus(t, err, wire.Unreachable, 1, testAddress(alone.at))
}

// Of a process of which nobody knows, as on a relay that has just begun, nobody says that it is
// gone; also where nobody else has the name. A relay that has seen it go says so then, and of no
// other.
func TestAbsentWithItsName(t *testing.T) {
	h := newHolders(t)
	gone, other := Instance{1}, Instance{2}
	n := h.node(t)
	asks := func(code wire.Code, steps ...wire.Address) {
		t.Helper()
		to := append(route.Route{h.at, route.Forward("x")}, steps...)
		_, err := n.Session(testkit.Context(t), append(to, secure(), svc(route.EchoName)))
		expectStatus(t, err, code, 1, testAddress(h.at))
	}
	asks(wire.NoService)
	asks(wire.Unreachable, route.Instance(gone))
	l := &Lease{claim: claim{name: "x", instance: gone}}
	h.server.left.add(l, time.Now().Add(-leftAfter))
	asks(wire.NoService)
	asks(wire.NoService, route.Instance(gone))
	asks(wire.Unreachable, route.Instance(other))
}

// A relay that passes on says that a process is gone if the one that it asks has seen that, and not
// because that has not got the name.
func TestAbsentWherePassedOn(t *testing.T) {
	r := newRelays(t)
	gone, other := Instance{1}, Instance{2}
	node, at := r.listening(t)
	home := NewServer(node, ServerConfig{})
	r.answer(Answer{Where: PassOn, Routes: []route.Route{{at}}})
	asks := func(code wire.Code, of Instance) {
		t.Helper()
		to := route.Route{
			r.frontAt, route.Forward("x"), route.Instance(of), secure(), svc(route.EchoName),
		}
		_, err := r.inlet.Session(testkit.Context(t), to)
		expectStatus(t, err, code, 1, testAddress(r.frontAt))
	}
	asks(wire.Unreachable, gone)
	home.left.add(&Lease{claim: claim{name: "x", instance: gone}}, time.Now().Add(-leftAfter))
	asks(wire.NoService, gone)
	asks(wire.Unreachable, other)
}

// A process that leaves is remembered as one that has left, but not at once; one that comes back is
// not.
func TestLeft(t *testing.T) {
	s := newShared(t, 2)
	gone := s.all[0]
	l := s.lease(gone)
	_, _ = gone.Serve.Close(), gone.Dial.Close()
	testkit.Eventually(t, "its claim is over", func() bool {
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		return len(s.server.leases) == 1
	})
	if s.server.left.add(l, time.Now()); len(s.server.left.at) != 1 { // if it has ended in order
		t.Fatalf("%d have left", len(s.server.left.at))
	}
	key := sharerKey{"x", gone.Instance}
	since := func() (at time.Time, ok bool) {
		s.server.left.mu.Lock()
		defer s.server.left.mu.Unlock()
		at, ok = s.server.left.at[key]
		return at, ok
	}
	at, _ := since()
	left := &s.server.left
	if left.has("x", gone.Instance, at.Add(leftAfter-1)) ||
		!left.has("x", gone.Instance, at.Add(leftAfter)) ||
		left.has("x", gone.Instance, at.Add(leftFor)) {
		t.Error("it has left too early, or for too long")
	}
	again := s.process()
	again.Share, again.Instance = true, gone.Instance
	registered(t, again)
	testkit.Eventually(t, "it is back", func() bool { _, ok := since(); return !ok })
	for i := range maxLeft + 1 {
		l := &Lease{claim: claim{name: fmt.Sprint("n", i)}}
		left.add(l, time.Now())
	}
	if n := len(left.at); n > maxLeft {
		t.Errorf("%d are remembered", n)
	}
}

// Who ends in order keeps his name elsewhere, or has told those who were with him.
func TestReasonToLeave(t *testing.T) {
	s := newShared(t, 1)
	l := s.lease(s.all[0])
	for _, test := range []struct {
		reason error
		left   bool
	}{
		{nil, false},
		{errClaimedAnew, false},
		{errNameLost, false},
		{channel.ErrGoingAway, true},
		{io.ErrUnexpectedEOF, true},
		{trust.ErrNotTrusted, true},
	} {
		if reasonToLeave(l, test.reason) != test.left {
			t.Errorf("%v: %v", test.reason, !test.left)
		}
	}
}

// Who is not well is left out until he is; where nobody is, somebody is asked all the same, who
// says so himself.
func TestSickIsLeftOut(t *testing.T) {
	s := newShared(t, 2)
	isSick := func(i int) func() bool { return s.lease(s.all[i]).sharing.sick.Load }
	s.health[0].is(true)
	testkit.Eventually(t, "the relay knows", isSick(0))
	for range 4 {
		if _, with := s.led(s.to(nil)); with != s.all[1].Instance {
			t.Error("led to the one that is not well")
		}
	}
	list, err := s.sharers()
	want := []Sharer{{s.all[0].Instance, true}, {s.all[1].Instance, false}}
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("%v, %v", list, err)
	}
	s.health[1].is(true)
	testkit.Eventually(t, "the relay knows", isSick(1))
	s.led(s.to(nil))
	s.health[0].is(false)
	testkit.Eventually(t, "it is well again", func() bool { return !isSick(0)() })
	if _, with := s.led(s.to(nil)); with != s.all[0].Instance {
		t.Error("led to the one that is not well")
	}
}

// sharers asks the relay who shares the name.
func (s *shared) sharers() ([]Sharer, error) {
	s.t.Helper()
	to := route.Route{s.at, svc(route.SharedPrefix + "x")}
	b, err := ask(s.t, s.node(s.t), to, "")
	if err != nil {
		return nil, err
	}
	return ParseSharers([]byte(b))
}

// A name that is not shared has nobody who shares it, and one that nobody has is not there.
func TestNotShared(t *testing.T) {
	s := newShared(t, 0)
	_, err := s.sharers()
	expectStatus(t, err, wire.NoService, 1, testAddress(s.at))
	registered(t, s.process())
	if list, err := s.sharers(); len(list) > 0 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
}

// One that goes away is not asked for any more by those who ask for nobody.
func TestLeavingSharer(t *testing.T) {
	s := newShared(t, 2)
	to := s.to(s.all[0])
	open, err := s.node(t).OpenAndAwait(testkit.Context(t), to, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.all[0].Serve.Shutdown(testkit.Context(t))
	}()
	l := s.lease(s.all[0])
	testkit.Eventually(t, "it goes away", l.isLeaving)
	list, err := s.sharers()
	if len(list) != 1 || list[0].Instance != s.all[1].Instance || err != nil {
		t.Errorf("%v, %v", list, err)
	}
	for range 3 {
		if _, with := s.led(s.to(nil)); with != s.all[1].Instance {
			t.Error("led to the one that goes away")
		}
	}
	testkit.Write(t, open, "hello")
	testkit.Expect(t, open, "hello")
	_ = open.Close()
	testkit.Within(t, ended, "Shutdown")
}

// Who is told that a way goes away are those to whom links have come by it, one after the other.
func TestToldOfLeaving(t *testing.T) {
	var all []*Lease
	for range 3 {
		all = append(all, &Lease{sharing: newSharing()})
	}
	by := route.WayOf(route.Route{{Kind: wire.Label, Name: "12345678"}})
	if told(all, by) != nil {
		t.Error("nobody has come by it")
	}
	defer all[0].sharing.comes(by)()
	ended := all[1].sharing.comes(by)
	count := make(map[*Lease]int)
	for range 10 {
		count[told(all, by)]++
	}
	if count[all[0]] != 5 || count[all[1]] != 5 {
		t.Errorf("%d and %d", count[all[0]], count[all[1]])
	}
	ended()
	if told(all, by) != all[0] || len(all[1].sharing.ways)+len(all[1].sharing.told) > 0 {
		t.Error("what has ended is kept")
	}
}

// sharedLease is a lease that no outlet has made.
func sharedLease(name string, instance byte, like *Lease) *Lease {
	return &Lease{
		claim: claim{name: name, shares: true, instance: Instance{instance}}, owner: like.owner,
		session: like.session, sharing: newSharing(),
	}
}

// Only those of one identity share a name, of which each has said that it does, and so many at
// most.
func TestMemoryShares(t *testing.T) {
	s := newShared(t, 1) // whose session answers
	d, first := s.names, s.lease(s.all[0])
	claim := func(l *Lease, want wire.Code) func() {
		t.Helper()
		release, err := d.Claim(t.Context(), l)
		var status *route.StatusError
		if errors.As(err, &status) && status.Code != want || (err == nil) != (want == wire.OK) {
			t.Errorf("%v, want %v", err, want)
		}
		return release
	}
	has := func(want int) {
		t.Helper()
		a, _ := d.Lookup(t.Context(), "x")
		if len(a.Shared) != want || d.held != max(want, 1) || d.owners[first.owner] != max(want, 1) ||
			want > 0 && !slices.Contains(a.Shared, a.Lease) {
			t.Errorf("%d share it, %d leases, %v", len(a.Shared), d.held, d.owners)
		}
	}
	other := sharedLease("x", 2, first)
	other.owner = newWorld(t).id.Identifier()
	claim(other, wire.NameTaken)
	release := claim(sharedLease("x", 2, first), wire.OK)
	has(2)
	again := claim(sharedLease("x", 2, first), wire.OK) // the same process
	has(2)
	release()
	has(2)
	again()
	has(1)
	for i := range byte(maxSharers - 1) {
		claim(sharedLease("x", 10+i, first), wire.OK)
	}
	claim(sharedLease("x", 100, first), wire.Busy)
	has(maxSharers)

	alone := sharedLease("x", 3, first)
	alone.shares, alone.sharing = false, nil
	claim(alone, wire.NameTaken)
	alone.replace = true
	claim(alone, wire.OK)
	has(0)
	claim(sharedLease("x", 4, first), wire.NameTaken) // as any other that is not alone
	joins := sharedLease("x", 4, first)
	joins.replace = true
	claim(joins, wire.OK)
	has(1)
	joins = sharedLease("x", 5, first)
	joins.replace = true
	claim(joins, wire.OK)
	has(2)
	d.Revoke("x", first.owner)
	if a, _ := d.Lookup(t.Context(), "x"); a.Where != Nobody || len(d.shared)+len(d.owners) > 0 {
		t.Errorf("%+v, %v", a, d.owners)
	}
}

// Names that are shared count as often as they are.
func TestMemoryCountsSharers(t *testing.T) {
	s := newShared(t, 1)
	first := s.lease(s.all[0])
	d := NewMemory(MemoryConfig{Names: 3, NamesPerIdentity: 2})
	for i, want := range []bool{true, true, false} {
		if _, err := d.Claim(t.Context(), sharedLease("x", byte(i), first)); (err == nil) != want {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// exampleSharers is a list, and its bytes.
var exampleSharers = []Sharer{
	{Instance([]byte("instance")), false}, {Instance([]byte("another ")), true},
}

func TestSharers(t *testing.T) {
	good := AppendSharers(nil, exampleSharers)
	if got, err := ParseSharers(good); err != nil || !slices.Equal(got, exampleSharers) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParseSharers(AppendSharers(nil, nil)); err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
	var many []Sharer
	for i := range maxSharers + 1 {
		many = append(many, Sharer{Instance: Instance{byte(i)}})
	}
	full := AppendSharers(nil, many)
	got, err := ParseSharers(full)
	if err != nil || len(got) != maxSharers || len(full) != MaxSharers {
		t.Errorf("%d, %v", len(got), err)
	}
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for what, b := range map[string][]byte{
		"nothing": {}, "no count": {1}, "another version": change(0, 2), "more": append(good, 0),
		"less": good[:len(good)-1], "another count": change(1, 1), "another state": change(10, 2),
		"twice":    append(append(good[:1:1], 2), bytes.Repeat(good[2:11], 2)...),
		"too many": append([]byte{1, maxSharers + 1}, make([]byte, 9*(maxSharers+1))...),
	} {
		if got, err := ParseSharers(b); err == nil {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func FuzzParseSharers(f *testing.F) {
	f.Add(AppendSharers(nil, exampleSharers))
	f.Add(AppendSharers(nil, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseSharers(b)
		if err == nil && !bytes.Equal(AppendSharers(nil, all), b) {
			t.Errorf("%x is read as %v", b, all)
		}
	})
}
