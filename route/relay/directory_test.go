package relay

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// remote is a directory of a relay that has no names itself: it knows where each of some others is.
type remote struct {
	mu      sync.Mutex
	answers map[string]Answer
	err     error
}

var errNotNow = errors.New("the other relays do not answer")

func (d *remote) Lookup(_ context.Context, name string) (Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.answers[name], d.err
}

func (d *remote) Claim(context.Context, *Lease) (func(), error) {
	return nil, route.Refuse(wire.NotAllowed, "the names are elsewhere")
}

func (d *remote) Watch(string, func()) func() { return func() {} }

// relays is an inlet, a relay whose directory is told what to answer, and one that has the names:
//
//	inlet ── front ── home ── outlet, as x
type relays struct {
	world
	front     *remote
	frontAt   wire.Address
	home      *route.Node
	homeAt    wire.Address
	inlet     *route.Node
	outlet    *route.Node
	toOutlet  route.Route // by the front relay
	frontNode *route.Node
}

func newRelays(t *testing.T) *relays {
	t.Helper()
	r := &relays{world: newWorld(t), front: &remote{answers: make(map[string]Answer)}}
	r.home, r.homeAt = r.listening(t)
	NewServer(r.home, ServerConfig{})
	r.frontNode, r.frontAt = r.listening(t)
	NewServer(r.frontNode, ServerConfig{Directory: r.front})
	r.inlet, r.outlet = r.node(t), r.node(t)
	r.outlet.HandleBasics()
	registered(t, &Client{Relay: route.Route{r.homeAt}, Name: "x", Dial: r.outlet, Serve: r.outlet})
	r.toOutlet = route.Route{r.frontAt, route.Forward("x"), secure(), svc(route.EchoName)}
	return r
}

func (r *relays) answer(a Answer) {
	r.front.mu.Lock()
	defer r.front.mu.Unlock()
	r.front.answers["x"] = a
}

// An inlet reaches an outlet by a relay that has not got the name, and passes the link on to the
// one that has. The secure channel is with the outlet: it proves the name that was asked for.
func TestPassOn(t *testing.T) {
	r := newRelays(t)
	r.answer(Answer{Where: PassOn, Routes: []route.Route{{r.homeAt}}})
	if got, err := ask(t, r.inlet, r.toOutlet, "hello"); got != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	probe := func() error { return r.inlet.Probe(testkit.Context(t), r.toOutlet[:2]) }
	if err := testkit.Patiently(t, probe); err != nil {
		t.Errorf("asked whether the name is there: %v", err)
	}
	_, without := r.listening(t)
	r.answer(Answer{Where: PassOn, Routes: []route.Route{{without}}})
	expectStatus(t, probe(), wire.NoService, 1, testAddress(r.frontAt))
	r.answer(Answer{
		Where: PassOn, More: func(context.Context, string) ([]route.Route, error) {
			return nil, errors.New("it is down")
		},
	})
	expectStatus(t, probe(), wire.Busy, 1, testAddress(r.frontAt))
}

// A link goes on to the first relay that has the name. One that has not says so, and one that is
// not there is passed over.
func TestPassOnToTheFirstThatHasIt(t *testing.T) {
	r := newRelays(t)
	other, without := r.listening(t)
	NewServer(other, ServerConfig{})
	goneAt := nowhere(t)
	r.answer(Answer{Where: PassOn, Routes: []route.Route{{without}, {goneAt}, {r.homeAt}}})
	if got, err := ask(t, r.inlet, r.toOutlet, "hello"); got != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	inside := slices.Concat(route.Route{r.frontAt, secure()}, r.toOutlet[1:])
	if got, err := ask(t, r.inlet, inside, "hello"); got != "hello" || err != nil {
		t.Errorf("in a channel with the first relay: %q, %v", got, err)
	}
	r.answer(Answer{Where: PassOn, Routes: []route.Route{{goneAt}, {without}}})
	_, err := ask(t, r.node(t), r.toOutlet, "hello")
	expectStatus(t, err, wire.NoService, 1, testAddress(r.frontAt))
}

// Where a link has been passed on to, it is not passed on once more.
func TestPassOnOnce(t *testing.T) {
	r := newRelays(t)
	second := &remote{answers: map[string]Answer{
		"x": {Where: PassOn, Routes: []route.Route{{r.homeAt}}},
	}}
	middle, middleAt := r.listening(t)
	NewServer(middle, ServerConfig{Directory: second})
	r.answer(Answer{Where: PassOn, Routes: []route.Route{{middleAt}}})
	_, err := ask(t, r.inlet, r.toOutlet, "hello")
	expectStatus(t, err, wire.NoService, 1, testAddress(r.frontAt))
}

// A relay that has passed links on to another one has the outlet say that it goes away: neither the
// outlet nor the inlet has a session with it.
func TestPassedOnIsToldOfLeaving(t *testing.T) {
	r := newRelays(t)
	r.answer(Answer{Where: PassOn, Routes: []route.Route{{r.homeAt}}})
	open := func(to route.Route) *route.Stream {
		s, err := r.inlet.OpenAndAwait(testkit.Context(t), to, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	through := open(r.toOutlet)
	direct := open(append(route.Route{r.homeAt}, r.toOutlet[1:]...))
	ctx, cut := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = r.frontNode.Shutdown(ctx)
	}()
	testkit.Within(t, through.Session().GoingAway(), "being told")
	select {
	case <-direct.Session().GoingAway():
		t.Error("a session by the other relay is told")
	default:
	}
	_ = through.Close()
	testkit.Within(t, over, "the end of the relay that nobody needs any more")
	cut()
}

// A link can be passed on by a node between the relays.
func TestPassOnThroughABridge(t *testing.T) {
	r := newRelays(t)
	_, bridge := r.listening(t, func(c *route.Config) {
		c.Forward = func(a wire.Address) bool { return a == r.homeAt }
		c.OpenForward = true
	})
	r.answer(Answer{Where: PassOn, Routes: []route.Route{{bridge, r.homeAt}}})
	if got, err := ask(t, r.inlet, r.toOutlet, "hello"); got != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A directory that is wrong, or lies, costs a refused try.
func TestPassOnToTheWrongPlace(t *testing.T) {
	r := newRelays(t)
	other, otherAt := r.listening(t)
	NewServer(other, ServerConfig{})
	private, privateAt := r.listening(t)
	NewServer(private, ServerConfig{Private: true})
	impostor := newWorld(t)
	liar, liarAt := impostor.listening(t)
	NewServer(liar, ServerConfig{})
	wrong := impostor.node(t)
	wrong.HandleBasics()
	registered(t, &Client{Relay: route.Route{liarAt}, Name: "x", Dial: wrong, Serve: wrong})
	goneAt := nowhere(t)
	status := func(code wire.Code) func(error) bool {
		return func(err error) bool {
			var s *route.StatusError
			return errors.As(err, &s) && s.Code == code
		}
	}
	notTrusted := func(err error) bool { return errors.Is(err, trust.ErrNotTrusted) }
	for what, test := range map[string]struct {
		to route.Route
		is func(error) bool
	}{
		"a relay that has not got it": {route.Route{otherAt}, status(wire.NoService)},
		"one that asks who comes":     {route.Route{privateAt}, status(wire.NotAllowed)},
		"another's of that name":      {route.Route{liarAt}, notTrusted},
		"back to where it came from":  {route.Route{r.frontAt}, status(wire.Loop)},
		"where nobody listens":        {route.Route{goneAt}, status(wire.Unreachable)},
		"a secure step":               {route.Route{r.homeAt, secure()}, status(wire.Unreachable)},
		"no address to dial":          {route.Route{svc("x")}, status(wire.Unreachable)},
		"nowhere":                     {nil, status(wire.Unreachable)},
	} {
		r.answer(Answer{Where: PassOn, Routes: []route.Route{test.to}})
		if _, err := ask(t, r.inlet, r.toOutlet, "hello"); err == nil || !test.is(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	r.answer(Answer{Where: Here}) // and has no lease
	_, err := ask(t, r.inlet, r.toOutlet, "hello")
	expectStatus(t, err, wire.NoService, 1, testAddress(r.frontAt))
}

func testAddress(a wire.Address) string { return transport.Format(a) }

// The protocol has no redirect: an asker is refused, and told where the name is.
func TestElsewhere(t *testing.T) {
	r := newRelays(t)
	there := route.Route{r.homeAt}
	r.answer(Answer{Where: Elsewhere, Routes: []route.Route{there}})
	_, err := ask(t, r.inlet, r.toOutlet, "hello")
	expectStatus(t, err, wire.NoService, 1, testAddress(r.frontAt))
	if !strings.Contains(err.Error(), "the outlet x is at "+route.Format(there)) {
		t.Errorf("it is not told where: %v", err)
	}
	var status *route.StatusError
	if errors.As(err, &status); status.Missing() != "" {
		t.Errorf("a hint would say that %q is not registered", status.Missing())
	}
	direct := append(there, r.toOutlet[1:]...)
	if got, err := ask(t, r.inlet, direct, "hello"); got != "hello" || err != nil {
		t.Errorf("there: %q, %v", got, err)
	}
}

// A directory that does not know now is no reason to say that the name is nobody's.
func TestNotNow(t *testing.T) {
	r := newRelays(t)
	r.front.mu.Lock()
	r.front.err = errNotNow
	r.front.mu.Unlock()
	_, err := ask(t, r.inlet, r.toOutlet, "hello")
	expectStatus(t, err, wire.Busy, 1, testAddress(r.frontAt))
	if strings.Contains(err.Error(), errNotNow.Error()) {
		t.Errorf("the asker is told what is the relay's affair: %v", err)
	}
}

// A directory may refuse a claim, and say why.
func TestClaimRefusedByTheDirectory(t *testing.T) {
	r := newRelays(t)
	c := &Client{Relay: route.Route{r.frontAt}, Name: "y", Dial: r.outlet, Serve: r.outlet}
	err := c.Try(testkit.Context(t))
	var status *route.StatusError
	if !errors.As(err, &status) || status.Code != wire.NotAllowed {
		t.Errorf("got %v", err)
	}
}

// forgetful is a directory in memory that can lose a name, or know that it has gone elsewhere.
type forgetful struct {
	*Memory
	mu    sync.Mutex
	moved bool
	now   Answer
	tell  []func()
}

func (d *forgetful) Lookup(ctx context.Context, name string) (Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.moved {
		return d.now, nil
	}
	return d.Memory.Lookup(ctx, name)
}

func (d *forgetful) Watch(_ string, changed func()) (forget func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tell = append(d.tell, changed)
	return func() {}
}

func (d *forgetful) move(to Answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moved, d.now = true, to
	for _, tell := range d.tell {
		tell()
	}
	d.tell = nil
}

// A lease ends when its name goes to another relay, and the outlet hears that its identity has
// claimed it anew; and when the directory has lost it.
func TestLeaseEndsByTheDirectory(t *testing.T) {
	for name, test := range map[string]struct {
		to         Answer
		superseded bool
	}{
		"claimed at another relay":     {Answer{Where: Elsewhere}, true},
		"perhaps had by another relay": {Answer{Where: PassOn}, false},
		"lost":                         {Answer{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			relay, at := w.listening(t)
			d := &forgetful{Memory: NewMemory(MemoryConfig{})}
			NewServer(relay, ServerConfig{Directory: d})
			outlet := w.node(t)
			outlet.HandleBasics()
			failed := make(chan error, 16)
			registered(t, &Client{
				Relay: route.Route{at}, Name: "x", Dial: outlet, Serve: outlet, MuxOnly: true,
				Failed: func(err error) {
					select {
					case failed <- err:
					default:
					}
				},
			})
			// What comes in the mux comes after the link for demands, which is there by then.
			to := route.Route{at, route.Forward("x"), secure(), svc(route.EchoName)}
			if got, err := ask(t, w.node(t), to, "hello"); got != "hello" || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
			d.move(test.to)
			err := testkit.Within(t, failed, "the end of the lease")
			if errors.Is(err, errSuperseded) != test.superseded {
				t.Errorf("got %v", err)
			}
		})
	}
}

func leaseOf(name string, owner identity.Identifier) *Lease {
	return &Lease{claim: claim{name: name}, owner: owner}
}

func TestMemory(t *testing.T) {
	d := NewMemory(MemoryConfig{Names: 3, NamesPerIdentity: 2})
	a, b := newWorld(t).id.Identifier(), newWorld(t).id.Identifier()
	claim := func(l *Lease, want wire.Code) func() {
		t.Helper()
		release, err := d.Claim(t.Context(), l)
		var status *route.StatusError
		if errors.As(err, &status) {
			if status.Code != want {
				t.Errorf("%s: %v, want %v", l.Name(), err, want)
			}
		} else if err != nil || want != wire.OK {
			t.Errorf("%s: %v, want %v", l.Name(), err, want)
		}
		return release
	}
	holds := func(l *Lease, want bool) {
		t.Helper()
		got, err := d.Lookup(t.Context(), l.Name())
		if has := got.Where == Here && got.Lease == l; has != want || err != nil {
			t.Errorf("%s: held: %v, want %v; %v", l.Name(), has, want, err)
		}
	}
	first := leaseOf("one", a)
	releaseFirst := claim(first, wire.OK)
	holds(first, true)
	claim(leaseOf("one", b), wire.NameTaken)
	claim(leaseOf("two", a), wire.OK)
	claim(leaseOf("three", a), wire.Busy) // too many of one
	claim(leaseOf("three", b), wire.OK)
	claim(leaseOf("four", b), wire.Busy) // too many at all

	changed, _ := watch(d, "one")
	second := leaseOf("one", a)
	releaseSecond := claim(second, wire.OK) // full as it is
	testkit.Within(t, changed, "word of another claim")
	holds(second, true)
	releaseFirst()
	holds(second, true)
	changed, _ = watch(d, "one")
	releaseSecond()
	testkit.Within(t, changed, "word of the release")
	if got, _ := d.Lookup(t.Context(), "one"); got.Where != Nobody {
		t.Errorf("got %+v", got)
	}
	claim(leaseOf("one", b), wire.OK) // anybody's now, and the number of a's names has gone down
	if len(d.leases) != 3 || d.owners[a] != 1 || d.owners[b] != 2 {
		t.Errorf("%d names, %v", len(d.leases), d.owners)
	}
}

// watch returns a channel that is closed when a name has changed hands.
func watch(d Directory, name string) (moved <-chan struct{}, forget func()) {
	changed := make(chan struct{})
	forget = d.Watch(name, func() { close(changed) })
	return changed, forget
}

// A watch that has ended leaves nothing behind.
func TestMemoryForgetsWatches(t *testing.T) {
	d := NewMemory(MemoryConfig{})
	_, forget := watch(d, "x")
	changed, over := watch(d, "x")
	forget()
	watches := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.watchers["x"])
	}
	if n := watches(); n != 1 {
		t.Fatalf("%d are left", n)
	}
	if _, err := d.Claim(t.Context(), leaseOf("x", newWorld(t).id.Identifier())); err != nil {
		t.Fatal(err)
	}
	testkit.Within(t, changed, "word of the claim")
	over() // and the other one, to no effect
	forget()
	if n := watches(); n != 0 {
		t.Errorf("%d are left", n)
	}
}
