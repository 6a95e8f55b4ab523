package admission

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// relayed is a Way with few slots, and what happened to its links.
type relayed struct {
	*Way
	t    *testing.T
	now  time.Time
	lost map[any]bool // that had to make room, and whose slots have ended
	by   map[any]*Slot
	late map[any]bool // of which this side has not read all that has come
}

func newRelayed(t *testing.T, most int) *relayed {
	r := &relayed{
		t: t, now: time.Now(), lost: make(map[any]bool), by: make(map[any]*Slot),
		late: make(map[any]bool),
	}
	r.Way = New(Limits{Relayed: most}, nil).NewWay("relay", func(holder any) bool {
		return !r.late[holder]
	})
	return r
}

func (r *relayed) displace(holder any) {
	if holder != nil {
		r.lost[holder] = true
		r.by[holder].End(r.now)
	}
}

// comes has a link come that says where it is from, and then no more.
func (r *relayed) comes(name, label string) error {
	s, old, err := r.Enter(name, r.Source(""), r.now)
	if err != nil {
		return err
	}
	r.by[name] = s
	r.displace(old)
	old, err = s.Identify(r.Source(label), false, r.now)
	r.displace(old)
	if old == name {
		r.t.Errorf("%s makes room for itself", name)
	}
	return err
}

// speaks has a link come on which a handshake begins.
func (r *relayed) speaks(name, label string) error {
	if err := r.comes(name, label); err != nil {
		return err
	}
	old, err := r.by[name].Speak(r.now)
	r.displace(old)
	return err
}

// Links by a relay on which nothing is said make room for each other at once, and take nothing from
// those on which something is, from those of sessions, and from what comes otherwise.
func TestSilentRelayedLinks(t *testing.T) {
	const most = 16
	r := newRelayed(t, most)
	if err := r.speaks("honest", "client"); err != nil {
		t.Fatal(err)
	}
	for n := range 100 * most {
		if err := r.comes(fmt.Sprint("silent ", n), "stranger"); err != nil {
			t.Fatalf("link %d: %v", n, err)
		}
	}
	if r.lost["honest"] {
		t.Error("a handshake had to make room for links that say nothing")
	}
	if err := r.speaks("late", "client"); err != nil {
		t.Errorf("a client is refused: %v", err)
	}
	s, _, err := r.Enter("session", r.Source(""), r.now)
	if err == nil {
		_, err = s.Identify(r.Source("client"), true, r.now)
	}
	if err != nil || s.of != &r.inSession {
		t.Errorf("a link of a session is refused: %v", err)
	}
	if all, _ := r.owner.Links(); all > most+3 {
		t.Errorf("%d links are unauthenticated", all)
	}
	if n := r.owner.links.taken(); n != 0 {
		t.Errorf("they take %d slots of those that come without a relay", n)
	}
}

// A link on which something has come that this side has not read yet is not one on which nothing is
// said: it makes no room for another, and where all are such links the next one is refused.
func TestUnreadRelayedLinks(t *testing.T) {
	const most = 16
	r := newRelayed(t, most)
	n := 0
	for ; n < most; n++ {
		name := fmt.Sprint("late ", n)
		r.late[name] = true
		if r.comes(name, "client") != nil {
			break
		}
	}
	if n < most/2 {
		t.Errorf("%d links of %d that could not be read at once have slots", n, most)
	}
	if len(r.lost) > 0 {
		t.Errorf("%v had to make room", r.lost)
	}
	delete(r.late, "late 3")
	if err := r.comes("next", "client"); err != nil || !r.lost["late 3"] || len(r.lost) != 1 {
		t.Errorf("%v, %v had to make room for the next one, want late 3", err, r.lost)
	}
}

// Who begins handshakes and does not go on takes no slots from another source. From one source, the
// oldest makes room once it has had the time of a round trip.
func TestRelayedHandshakes(t *testing.T) {
	const most = 16
	r := newRelayed(t, most)
	n := 0
	for r.speaks(fmt.Sprint("stranger ", n), "stranger") == nil {
		n++
	}
	if n < most/2 || n > most {
		t.Fatalf("the stranger has %d slots of %d", n, most)
	}
	for k := range 2 {
		if err := r.speaks(fmt.Sprint("client ", k), "client"); err != nil {
			t.Errorf("client %d is refused: %v", k, err)
		}
	}
	r.now = r.now.Add(relayedGrace)
	if err := r.speaks("again", "stranger"); err != nil || !r.lost["stranger 0"] {
		t.Errorf("the oldest does not make room: %v", err)
	}
	s := r.by["client 0"]
	s.Authenticate()
	if !r.owner.links.known.has(r.Source("client"), r.now) {
		t.Error("a client's source is not known")
	}
	if r.owner.links.known.has(r.owner.NewWay("another", nil).Source("client"), r.now) {
		t.Error("what one relay calls a source counts for another relay")
	}
	if old, err := s.Speak(r.now); old != nil || err != nil {
		t.Errorf("%v, %v for a link that has a slot no more", old, err)
	}
	if _, err := r.by["stranger 0"].Speak(r.now); err != nil {
		t.Errorf("a link that has ended: %v", err)
	}
}

// A link that had to make room does not get a slot again.
func TestDisplacedRelayedLink(t *testing.T) {
	r := newRelayed(t, 1)
	first, _, err := r.Enter("first", r.Source(""), r.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, old, err := r.Enter("second", r.Source(""), r.now); old != "first" || err != nil {
		t.Fatalf("%v makes room, %v", old, err)
	}
	if _, err := first.Speak(r.now); !errors.Is(err, ErrTooMany) {
		t.Errorf("it speaks: %v", err)
	}
	if all, _ := r.owner.Links(); all != 2 {
		t.Errorf("%d are counted", all)
	}
	first.End(r.now)
	if all, _ := r.owner.Links(); all != 1 {
		t.Errorf("%d are counted", all)
	}
}

// A link on which all has been said makes no room, nor does one whose next step is this side's;
// its source is known once it has been authenticated. One that has made room before is told so.
func TestHeardLinks(t *testing.T) {
	const most = 16
	r := newRelayed(t, most)
	enter := func(name string) *Slot {
		t.Helper()
		s, old, err := r.Enter(name, r.Source(""), r.now)
		if err != nil {
			t.Fatal(err)
		}
		r.by[name] = s
		r.displace(old)
		return s
	}
	heard, moving := enter("heard"), enter("moving")
	if !heard.Heard(r.Source("client")) {
		t.Error("a link that has a slot is said to have made room")
	}
	moving.moving.Store(true) // it waits for the lock
	for n := range 10 * most {
		if err := r.comes(fmt.Sprint("silent ", n), "stranger"); err != nil {
			t.Fatalf("link %d: %v", n, err)
		}
	}
	if r.lost["heard"] || r.lost["moving"] || !r.lost["silent 0"] {
		t.Errorf("%v had to make room", r.lost)
	}
	heard.Authenticate()
	heard.End(r.now)
	if !r.owner.links.known.has(r.Source("client"), r.now) {
		t.Error("a link has been authenticated, and its source is not known")
	}
	failed := enter("failed")
	before, _ := r.owner.Links()
	if failed.Heard(r.Source("stranger")); r.owner.unauthenticated != before-1 {
		t.Errorf("%d links are unauthenticated, want %d", r.owner.unauthenticated, before-1)
	}
	failed.End(r.now)
	if r.owner.links.known.has(r.Source("stranger"), r.now) || r.owner.unauthenticated != before-1 {
		t.Error("a link that has not been authenticated counts as if it had been, or twice")
	}
	late := enter("late")
	for range 10 * most {
		s, old, err := r.Enter("next", r.Source(""), r.now)
		if err != nil {
			t.Fatal(err)
		}
		if old == "late" {
			break
		}
		if r.by["next"] = s; old != nil {
			r.by[old].End(r.now)
		}
	}
	if late.Heard(r.Source("client")) {
		t.Error("a link that has made room is to be served")
	}
}
