package set_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route/relay/set"
)

// table is an Owners of one node, whose time is what the test says.
type table struct {
	testing.TB
	*set.Owners
	now time.Time
}

// The nodes of the tests that have one table: its own, the name's judge, and another one.
var self, judge, other = nodeID(1), nodeID(2), nodeID(3)

// newTable returns an empty table of a node. A name's judge is who.
func newTable(t testing.TB, who set.NodeID) *table {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &table{t, set.NewOwners(now, set.OwnersConfig{
		Self: self, Judge: func(string) set.NodeID { return who },
	}), now}
}

func (o *table) pass(d time.Duration) { o.now = o.now.Add(d) }

// claims has somebody claim a name; whose it is then is wanted.
func (o *table) claims(name string, who, want identity.Identifier) {
	o.Helper()
	got, err := o.Claim(o.now, name, who)
	if got != want || errors.Is(err, set.ErrTaken) != (who != want) {
		o.Fatalf("%v claims %s: it is %v's, %v; want %v", who, name, got, err, want)
	}
}

func (o *table) is(name string, want identity.Identifier) {
	o.Helper()
	if got, ok := o.Owner(o.now, name); got != want || ok == want.IsZero() {
		o.Fatalf("%s is %v's, %v; want %v", name, got, ok, want)
	}
}

// told is a record of somebody's claim of "db".
func told(who identity.Identifier, first, last time.Duration) set.Record {
	return set.Record{Name: "db", Who: who, First: first, Last: last}
}

var nobody identity.Identifier

func TestClaimAndRelease(t *testing.T) {
	o := newTable(t, self)
	o.is("db", nobody)
	o.claims("db", person(1), person(1))
	o.pass(3 * set.Lifetime) // held
	o.claims("db", person(2), person(1))
	if o.Release(o.now, "db", person(2)) || !o.Release(o.now, "db", person(1)) ||
		o.Release(o.now, "db", person(1)) {
		t.Error("released by somebody else, or not at all, or twice")
	}
	o.pass(set.Lifetime - 1)
	o.claims("db", person(2), person(1))
	o.claims("db", person(1), person(1)) // puts off the end
	o.Release(o.now, "db", person(1))
	o.pass(set.Lifetime - 1)
	if o.is("db", person(1)); o.Expire(o.now) != 0 {
		t.Error("expired too soon")
	}
	o.pass(1)
	o.is("db", nobody)
	if o.Expire(o.now) != 1 || o.Len() != 0 {
		t.Error("not expired")
	}
	o.claims("db", person(2), person(2))
}

func TestClaimOfWhatIsOver(t *testing.T) {
	o := newTable(t, self)
	o.claims("db", person(1), person(1))
	o.Release(o.now, "db", person(1))
	o.pass(set.Lifetime)
	o.claims("db", person(1), person(1))
	if r, ok := o.Record(o.now, "db"); !ok || r.First != 0 || !r.Held {
		t.Errorf("a claim of what had expired is told as %+v", r)
	}
	if _, err := o.Claim(o.now, "a/b", person(1)); !errors.Is(err, set.ErrMalformed) {
		t.Errorf("a claim of no name: %v", err)
	}
}

// TestClaimUnderAClock has the time that a caller would give.
func TestClaimUnderAClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := set.NewOwners(time.Now(), set.OwnersConfig{Self: self})
		for i := range 100 {
			if _, err := o.Claim(time.Now(), name(i), person(1)); err != nil {
				t.Fatal(err)
			}
			o.Release(time.Now(), name(i), person(1))
			time.Sleep(set.Lifetime / 10)
			o.Expire(time.Now())
			if want := min(i+1, 9); o.Len() != want {
				t.Fatalf("after %d claims: %d names, want %d", i+1, o.Len(), want)
			}
		}
	})
}

// TestTimeBackwards has the caller's time run backwards for a while.
func TestTimeBackwards(t *testing.T) {
	o := newTable(t, self)
	o.pass(time.Hour)
	o.claims("db", person(1), person(1))
	o.pass(-time.Minute)
	o.Release(o.now, "db", person(1))
	if r, ok := o.Record(o.now, "db"); !ok || r.Validate() != nil || r.First != 0 {
		t.Errorf("told as %+v", r)
	}
	o.pass(time.Minute + set.Lifetime - 1)
	o.is("db", person(1))
	o.pass(1)
	o.is("db", nobody)
}

// TestConflict has a name that was claimed here an hour ago, by person 5, and is told of another
// claim. Who tells of it, and when that was, decides.
func TestConflict(t *testing.T) {
	const ours = time.Hour
	for _, c := range []struct {
		what   string
		judge  set.NodeID
		from   set.NodeID
		who    byte
		first  time.Duration
		lost   bool
		answer bool
	}{
		{"the judge is told of an older one", self, other, 9, ours + 1, true, false},
		{"the judge is told of a younger one", self, other, 1, ours - 1, false, true},
		{"the judge is told of one as old, by a smaller one", self, other, 1, ours, true, false},
		{"the judge is told of one as old, by a greater one", self, other, 9, ours, false, true},
		{"the judge tells of an older one", judge, judge, 9, ours + 1, true, false},
		{"the judge tells of one not clearly younger", judge, judge, 9, ours - 2*set.Slack, true, false},
		{
			"the judge tells of a clearly younger one", judge, judge, 1, ours - 2*set.Slack - 1,
			false, true,
		},
		{"another one tells of one not clearly older", judge, other, 1, ours + 2*set.Slack, false, false},
		{
			"another one tells of a clearly older one", judge, other, 9, ours + 2*set.Slack + 1,
			true, false,
		},
		{"another one tells of a younger one", judge, other, 1, ours - 1, false, false},
		{
			"another one tells of a clearly younger one", judge, other, 1, ours - 2*set.Slack - 1,
			false, true,
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			for _, held := range []bool{true, false} {
				o := newTable(t, c.judge)
				o.claims("db", person(5), person(5))
				if !held {
					o.Release(o.now, "db", person(5))
				}
				o.pass(ours)
				want := set.Learned{Answer: c.answer}
				if c.lost {
					want = set.Learned{Changed: true, Lost: held, Was: person(5)}
				}
				if got := o.Learn(o.now, c.from, told(person(c.who), c.first, 0)); got != want {
					t.Errorf("%+v, want %+v", got, want)
				}
				if c.lost {
					o.is("db", person(c.who))
				} else {
					o.is("db", person(5))
				}
			}
		})
	}
}

// TestLearnOfTheSame has a node hear of what it knows, and of what others know better.
func TestLearnOfTheSame(t *testing.T) {
	o := newTable(t, self)
	hears := func(r set.Record, want set.Learned, first, last time.Duration) {
		t.Helper()
		if got := o.Learn(o.now, other, r); got != want {
			t.Fatalf("%+v: %+v, want %+v", r, got, want)
		}
		if r, ok := o.Record(o.now, "db"); !ok || r.First != first || r.Last != last || r.Held {
			t.Fatalf("told as %+v, %v; want %v and %v ago", r, ok, first, last)
		}
	}
	hour := time.Hour
	hears(told(person(1), 2*hour, hour), set.Learned{Changed: true}, 2*hour, hour)
	hears(told(person(1), 2*hour, hour), set.Learned{}, 2*hour, hour)
	// What was heard here and is told back has become younger by the delay.
	hears(told(person(1), 2*hour-set.Slack, hour-set.Slack), set.Learned{}, 2*hour, hour)
	// An older first claim is known elsewhere; and the last one was an earlier one.
	hears(told(person(1), 5*hour, 2*hour), set.Learned{}, 5*hour, hour)
	// A later last claim.
	hears(told(person(1), 5*hour, hour/2), set.Learned{}, 5*hour, hour/2)
	// A holder tells of itself. It does not know of the first claim, and is told.
	held := set.Record{Name: "db", Who: person(1), First: hour, Held: true}
	hears(held, set.Learned{Answer: true}, 5*hour, 0)
	o.pass(set.Slack / 2)
	hears(held, set.Learned{Answer: true}, 5*hour+set.Slack/2, 0)
}

// TestNoGhosts has two nodes tell each other of a name over and over, with a delay: it ends.
func TestNoGhosts(t *testing.T) {
	a, b := newTable(t, self), newTable(t, judge)
	a.claims("db", person(1), person(1))
	a.Release(a.now, "db", person(1))
	delay := set.Slack / 3
	end := a.now.Add(set.Lifetime + set.Slack)
	for a.now.Before(end) {
		for _, tables := range [][2]*table{{a, b}, {b, a}} {
			r, ok := tables[0].Record(a.now, "db")
			a.pass(delay)
			b.now = a.now
			if ok {
				tables[1].Learn(a.now, other, r)
			}
		}
	}
	a.is("db", nobody)
	b.is("db", nobody)
}

// TestEndIsNotTold has a name that has not been claimed for almost as long as it may.
func TestEndIsNotTold(t *testing.T) {
	o := newTable(t, self)
	o.claims("db", person(1), person(1))
	o.Release(o.now, "db", person(1))
	o.pass(set.Lifetime - 2*set.Slack - 1)
	if _, ok := o.Record(o.now, "db"); !ok || len(o.Records(o.now, nil)) != 1 {
		t.Error("not told too soon")
	}
	o.pass(1)
	if r, ok := o.Record(o.now, "db"); ok || len(o.Records(o.now, nil)) > 0 {
		t.Errorf("told shortly before the end: %+v", r)
	}
	if got := o.Learn(o.now, other, told(person(2), 0, 0)); got.Answer || got.Changed {
		t.Errorf("a name shortly before its end: %+v", got)
	}
	o.claims("db", person(2), person(1))
	o.claims("db", person(1), person(1))
	if _, ok := o.Record(o.now, "db"); !ok {
		t.Error("not told, and claimed anew")
	}
}

func TestRecordsAreSorted(t *testing.T) {
	o := newTable(t, self)
	for i := range 50 {
		o.claims(name(i), person(1), person(1))
	}
	got := o.Records(o.now, func(n string) bool { return n[len(n)-1] == '7' })
	var names []string
	for _, r := range got {
		names = append(names, r.Name)
	}
	if fmt.Sprint(names) != "[name-17 name-27 name-37 name-47 name-7]" {
		t.Error(names)
	}
}

// TestOwnersFull has more names than there is room for, in all and of one identity, claimed and
// heard of.
func TestOwnersFull(t *testing.T) {
	now := time.Now()
	tick := func() time.Time { now = now.Add(time.Second); return now }
	o := set.NewOwners(now, set.OwnersConfig{Names: 5, NamesPerIdentity: 3})
	claim := func(i int, who byte) error {
		_, err := o.Claim(tick(), name(i), person(who))
		return err
	}
	learn := func(i int, who byte, last time.Duration) set.Learned {
		r := set.Record{Name: name(i), Who: person(who), First: last, Last: last}
		return o.Learn(tick(), other, r)
	}
	for i := range 3 {
		if err := claim(i, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := claim(3, 1); !errors.Is(err, set.ErrFullForMe) {
		t.Errorf("a fourth name of three: %v", err)
	}
	if got := learn(3, 1, 0); !got.Refused || got.Changed {
		t.Errorf("a fourth name of three, elsewhere: %+v", got)
	}
	o.Release(tick(), name(1), person(1))
	o.Release(tick(), name(0), person(1))
	if got := learn(3, 1, time.Minute); !got.Refused {
		t.Errorf("an older name for one that is not held: %+v", got)
	}
	if err := claim(3, 1); err != nil { // for name 1
		t.Error(err)
	}
	if got := learn(4, 1, 0); !got.Changed { // for name 0
		t.Errorf("a newer name for one that is not held: %+v", got)
	}
	for i, want := range []bool{false, false, true, true, true} {
		if _, ok := o.Owner(now, name(i)); ok != want {
			t.Errorf("%s: %v", name(i), ok)
		}
	}
	if err := errors.Join(claim(5, 2), claim(6, 2)); err != nil {
		t.Error(err)
	}
	if err := claim(7, 2); !errors.Is(err, set.ErrFull) {
		t.Errorf("a sixth name of five: %v", err)
	}
	if got := learn(7, 3, 0); !got.Refused {
		t.Errorf("a sixth name of five: %+v", got)
	}
	// A name that changes hands needs no room.
	if got := o.Learn(tick(), other, set.Record{
		Name: name(5), Who: person(1), First: time.Hour, Held: true,
	}); !got.Changed || !got.Lost || got.Was != person(2) || o.Len() != 5 {
		t.Errorf("%+v, %d names", got, o.Len())
	}
	o.Expire(now.Add(2 * set.Lifetime))
	for i, want := range []bool{2: true, 3: true, 6: true} { // held here
		if _, ok := o.Owner(now, name(i)); ok != want {
			t.Errorf("%s when all others have expired: %v", name(i), ok)
		}
	}
}

// TestMemoryOfAName measures what a name costs.
func TestMemoryOfAName(t *testing.T) {
	const n, most = 50_000, 160
	before, now := heapInUse(), time.Now()
	o := set.NewOwners(now, set.OwnersConfig{NamesPerIdentity: n})
	for i := range n {
		if _, err := o.Claim(now, fmt.Sprintf("customer-%d", i), person(1)); err != nil {
			t.Fatal(err)
		}
	}
	if each := (heapInUse() - before) / n; each > most {
		t.Errorf("a name takes %d bytes", each)
	}
	runtime.KeepAlive(o)
}

// heapInUse returns how many bytes are in use.
func heapInUse() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
