package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/route/relay/sets"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// noSet is a set that has no name.
type noSet struct{ changed chan struct{} }

func (noSet) Lookup(context.Context, string) (relay.Answer, error) { return relay.Answer{}, nil }

func (noSet) Claim(context.Context, *relay.Lease) (func(), error) { return func() {}, nil }

func (noSet) Watch(string, func()) func() { return func() {} }

func (noSet) Record(string) (set.Record, bool) { return set.Record{}, false }

func (noSet) Names() []string { return nil }

func (noSet) Speaks(string) bool { return false }

func (noSet) Hear(set.NodeID, bool, set.Record) bool { return false }

func (s noSet) Changed() <-chan struct{} { return s.changed }

// heldBus is a bus on which somebody answers as a test says, a moment after he has been asked.
type heldBus struct {
	asked  atomic.Int64
	answer func(sets.Nonce) [][]byte // nil: nobody listens
	down   bool
}

func (b *heldBus) Listen(string, func([]byte, func([]byte))) func() { return func() {} }

func (b *heldBus) Tell(string, []byte) {}

func (b *heldBus) State() (State, <-chan struct{}) { return State{Up: !b.down}, nil }

func (b *heldBus) Ask(ctx context.Context, _ string, what []byte, each func([]byte) bool) error {
	b.asked.Add(1)
	if b.down {
		return ErrDown
	}
	n, err := sets.ParseAsk(what)
	if err != nil || b.answer == nil {
		return ErrNobody
	}
	time.Sleep(time.Millisecond)
	for _, a := range b.answer(n) {
		if each(a) {
			return nil
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// place is a relay's address.
func place(t testing.TB, text string) route.Address {
	t.Helper()
	a, err := transport.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// told is what somebody who holds a name says.
func told(t testing.TB, who *identity.Identity, name string, n sets.Nonce, at ...string) []byte {
	t.Helper()
	c := sets.Claim{Relay: identity.Identifier{7, byte(len(at[0]))}, Lifetime: sets.MaxLifetime}
	for _, text := range at {
		c.Addresses = append(c.Addresses, place(t, text))
	}
	b, err := c.Sign(who, n, name)
	if err != nil {
		t.Fatal(err)
	}
	return sets.AppendAnswer(nil, time.Hour, b)
}

func newDirectory(t testing.TB, b *heldBus) *Directory {
	t.Helper()
	var tasks sync.WaitGroup
	d := New(Config{
		Set: noSet{make(chan struct{})}, Bus: b, Self: identity.Identifier{1},
		Addresses: func() []route.Address { return []route.Address{place(t, "198.51.100.1:4000")} },
		Logger:    slog.New(slog.DiscardHandler),
		Go: func(f func()) bool {
			tasks.Go(f)
			return true
		},
	})
	t.Cleanup(func() {
		d.stop()
		tasks.Wait()
	})
	return d
}

// lookUp does what a relay does with a link that asks for a name.
func lookUp(t testing.TB, d *Directory, name, source string) ([]route.Route, error) {
	t.Helper()
	a, err := d.Lookup(t.Context(), name)
	if err != nil || a.Likely || a.More == nil {
		return a.Routes, err
	}
	return a.More(t.Context(), source)
}

func expectRoutes(t testing.TB, d *Directory, name string, want ...string) {
	t.Helper()
	got, err := lookUp(t, d, name, "s")
	if err != nil {
		t.Error(err)
	}
	var texts []string
	for _, r := range got {
		texts = append(texts, transport.Format(r[0]))
	}
	if fmt.Sprint(texts) != fmt.Sprint(want) {
		t.Errorf("%s is at %v, want %v", name, texts, want)
	}
}

// What has been found is not asked for again for a minute, unless it leads nowhere.
func TestFind(t *testing.T) {
	me := testkit.NewIdentity(t)
	synctest.Test(t, func(t *testing.T) {
		b := &heldBus{}
		b.answer = func(n sets.Nonce) [][]byte {
			return [][]byte{told(t, me, "db", n, "192.0.2.1:4000")}
		}
		d := newDirectory(t, b)
		for range 3 {
			expectRoutes(t, d, "db", "192.0.2.1:4000")
		}
		if n := b.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		time.Sleep(sets.MaxLifetime)
		expectRoutes(t, d, "db", "192.0.2.1:4000")
		a, _ := d.Lookup(t.Context(), "db")
		a.Failed(a.Routes[0], route.Refuse(wire.NoService, ""))
		time.Sleep(time.Second)
		expectRoutes(t, d, "db", "192.0.2.1:4000")
		if n := b.asked.Load(); n != 3 {
			t.Errorf("asked %d times, want 3", n)
		}
	})
}

// Each address of who holds a name is tried, the best of each relay first, and those that have
// failed last.
func TestAllAddresses(t *testing.T) {
	me := testkit.NewIdentity(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t, &heldBus{answer: func(n sets.Nonce) (all [][]byte) {
			one := []string{"192.0.2.1:1", "10.0.0.1:1", "192.0.2.1:2"}
			return append(all, told(t, me, "db", n, one...), told(t, me, "db", n, "192.0.2.22:1"))
		}})
		_, _ = lookUp(t, d, "db", "s")
		synctest.Wait() // all have answered
		time.Sleep(gatherFor)
		failed := func(at string) {
			a, _ := d.Lookup(t.Context(), "db")
			a.Failed(route.Route{place(t, at)}, errors.New("unreachable"))
		}
		expectRoutes(t, d, "db", "192.0.2.1:1", "192.0.2.22:1", "192.0.2.1:2")
		failed("192.0.2.1:1")
		expectRoutes(t, d, "db", "192.0.2.22:1", "192.0.2.1:2", "192.0.2.1:1")
		failed("192.0.2.1:2")
		expectRoutes(t, d, "db", "192.0.2.22:1", "192.0.2.1:1", "192.0.2.1:2")
	})
}

// Many who ask for one name at once ask the bus once.
func TestFindTogether(t *testing.T) {
	me := testkit.NewIdentity(t)
	synctest.Test(t, func(t *testing.T) {
		b := &heldBus{answer: func(n sets.Nonce) [][]byte {
			return [][]byte{told(t, me, "db", n, "192.0.2.1:4000")}
		}}
		d := newDirectory(t, b)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { expectRoutes(t, d, "db", "192.0.2.1:4000") })
		}
		all.Wait()
		if n := b.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// A name that nobody has is known to be nobody's for a moment; who asks for too many is refused;
// and nobody else is for that.
func TestUnknownNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &heldBus{}
		d := newDirectory(t, b)
		for range 3 {
			expectRoutes(t, d, "none")
		}
		if n := b.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		time.Sleep(2 * time.Second)
		expectRoutes(t, d, "none")
		refused, asks := 0, 4*int(sourceRate.Burst)
		for i := range asks {
			if _, err := lookUp(t, d, fmt.Sprint("n", i), "flood"); errors.Is(err, errTooOften) {
				refused++
			}
		}
		if want := asks - int(sourceRate.Burst); refused != want {
			t.Errorf("%d of %d were refused, want %d", refused, asks, want)
		}
		if _, err := lookUp(t, d, "other", "somebody else"); err != nil {
			t.Error(err)
		}
		b.down = true
		if _, err := lookUp(t, d, "down", "s"); !errors.Is(err, ErrDown) {
			t.Error(err)
		}
	})
}

// Whatever is answered: nobody is led to this relay itself, to this machine, to a private network,
// or to where nobody has signed for; and who asks does not wait for long.
func TestHostileAnswers(t *testing.T) {
	me, other := testkit.NewIdentity(t), testkit.NewIdentity(t)
	says := func(who *identity.Identity, name, at string) func(*testing.T, sets.Nonce) []byte {
		return func(t *testing.T, n sets.Nonce) []byte { return told(t, who, name, n, at) }
	}
	for what, answer := range map[string]func(*testing.T, sets.Nonce) []byte{
		"garbage": func(*testing.T, sets.Nonce) []byte { return []byte("garbage") },
		"nothing": func(*testing.T, sets.Nonce) []byte { return nil },
		"a lot":   func(*testing.T, sets.Nonce) []byte { return make([]byte, 1<<20) },
		"another nonce": func(t *testing.T, _ sets.Nonce) []byte {
			return told(t, me, "db", sets.Nonce{}, "192.0.2.1:1")
		},
		"another name": says(other, "dc", "192.0.2.1:1"),
		"loopback":     says(me, "db", "127.0.0.1:22"),
		"localhost":    says(me, "db", "localhost:22"),
		"private":      says(me, "db", "10.0.0.1:22"),
		"metadata":     says(me, "db", "169.254.169.254:80"),
		"this relay":   says(me, "db", "198.51.100.1:4000"),
		"mapped":       says(me, "db", "[::ffff:127.0.0.1]:22"),
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDirectory(t, &heldBus{answer: func(n sets.Nonce) (all [][]byte) {
					for range 100 {
						all = append(all, answer(t, n))
					}
					return all
				}})
				began := time.Now()
				if got, _ := lookUp(t, d, "db", "s"); len(got) > 0 {
					t.Errorf("led to %v", got)
				}
				if took := time.Since(began); took > askTimeout {
					t.Errorf("that took %v", took)
				}
			})
		})
	}
}

// A name leads nowhere that its address would not lead.
func TestReach(t *testing.T) {
	names := testkit.NewNames(t)
	names.Set("private.example", "10.0.0.1")
	names.Set("public.example", "198.51.100.1")
	none := func(route.Address) bool { return false }
	all := func(route.Address) bool { return true }
	for _, one := range []struct {
		own, ip string
		inSet   func(route.Address) bool
		good    bool
	}{
		{"198.51.100.1:4000", "192.0.2.1", none, true},
		{"198.51.100.1:4000", "127.0.0.1", none, false},
		{"198.51.100.1:4000", "169.254.169.254", none, false},
		{"198.51.100.1:4000", "::1", none, false},
		{"198.51.100.1:4000", "::ffff:127.0.0.1", none, false},
		{"198.51.100.1:4000", "0.0.0.0", none, false},
		{"198.51.100.1:4000", "10.0.0.2", none, false},
		{"198.51.100.1:4000", "192.168.1.2", none, false},
		{"198.51.100.1:4000", "::ffff:192.168.1.2", none, false},
		{"198.51.100.1:4000", "fd00::2", none, false},
		{"198.51.100.1:4000", "10.0.0.2", all, true},
		{"198.51.100.1:4000", "127.0.0.1", all, false},
		{"10.0.0.1:4000", "10.0.0.2", none, true},
		{"10.0.0.1:4000", "127.0.0.1", none, false},
		{"127.0.0.1:4000", "127.0.0.1", none, true},
		{"127.0.0.1:4000", "10.0.0.2", none, false},
		{"private.example:4000", "10.0.0.2", none, true},
		{"private.example:4000", "127.0.0.1", none, false},
		{"public.example:4000", "10.0.0.2", none, false},
		{"unknown.example:4000", "10.0.0.2", none, false},
	} {
		reach := Reach([]route.Address{place(t, one.own)}, one.inSet)
		err := reach(place(t, "evil.example:4000"), netip.MustParseAddr(one.ip))
		if (err == nil) != one.good {
			t.Errorf("a relay at %s is led to %s: %v", one.own, one.ip, err)
		}
	}
}
