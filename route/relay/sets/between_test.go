package sets

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/route/relay/set"
)

// speakers are those who speak for sets of one name's owner, and the bus between them, which loses
// what is said over a cut, and has the rest arrive late, twice, and in any order.
type speakers struct {
	t      *testing.T
	r      *rand.Rand
	now    time.Time
	ids    []set.NodeID
	tables []*set.Owners
	holds  []identity.Identifier // who holds the name in each set; zero is nobody
	since  []time.Time
	cut    [][]bool
	sent   []onWay
	latest time.Duration // that what is said in answer takes
	least  time.Duration // that all takes
	log    []string
}

type onWay struct {
	at       time.Time
	from, to int
	told     Told
}

const contested = "db"

func newSpeakers(t *testing.T, r *rand.Rand, n int) *speakers {
	s := &speakers{t: t, r: r, now: time.Unix(1000, 0), latest: 10 * time.Second}
	for i := range n {
		id := set.NodeID{byte(r.IntN(256)), byte(i)}
		s.ids = append(s.ids, id)
		s.tables = append(s.tables, set.NewOwners(s.now, set.OwnersConfig{Self: id}))
		s.cut = append(s.cut, make([]bool, n))
	}
	s.holds, s.since = make([]identity.Identifier, n), make([]time.Time, n)
	return s
}

func (s *speakers) note(format string, about ...any) {
	at := s.now.Sub(time.Unix(1000, 0))
	s.log = append(s.log, at.String()+" "+fmt.Sprintf(format, about...))
}

// tell has a speaker say what it knows.
func (s *speakers) tell(from int, latest time.Duration) {
	r, ok := s.tables[from].Record(s.now, contested)
	if !ok {
		return
	}
	for to := range s.tables {
		if to == from || s.cut[from][to] {
			continue
		}
		for range 1 + s.r.IntN(2) {
			s.sent = append(s.sent, onWay{
				s.now.Add(s.least + time.Duration(s.r.Int64N(int64(latest)))), from, to,
				Told{From: s.ids[from], What: r},
			})
		}
	}
}

// pass has time go by, and what is on its way arrive.
func (s *speakers) pass(d time.Duration) {
	until := s.now.Add(d)
	for {
		next := -1
		for i, m := range s.sent {
			if !m.at.After(until) && (next < 0 || m.at.Before(s.sent[next].at)) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		m := s.sent[next]
		s.sent = append(s.sent[:next], s.sent[next+1:]...)
		if m.at.After(s.now) {
			s.now = m.at
		}
		s.arrives(m)
	}
	s.now = until
}

func (s *speakers) arrives(m onWay) {
	told, err := ParseTold(m.told.AppendTo(nil), contested)
	if err != nil {
		s.t.Fatal(err)
	}
	judged := Judges(s.ids[m.from], s.ids[m.to], contested)
	now := s.tables[m.to].LearnBetween(s.now, judged, told.What)
	if now.Lost {
		s.note("%d loses %x to %x of %d", m.to, now.Was[0], told.What.Who[0], m.from)
		s.holds[m.to] = identity.Identifier{}
	}
	if now.Changed || now.Answer {
		s.tell(m.to, s.latest)
	}
}

// step does something by chance.
func (s *speakers) step() {
	i, j := s.r.IntN(len(s.tables)), s.r.IntN(len(s.tables))
	who := identity.Identifier{1 + byte(s.r.IntN(3))}
	switch s.r.IntN(5) {
	case 0, 1:
		_, err := s.tables[i].Claim(s.now, contested, who)
		if s.note("%d claims for %x: %v", i, who[0], err); err == nil && s.holds[i] != who {
			s.holds[i], s.since[i] = who, s.now
			s.tell(i, 10*time.Second)
		}
	case 2:
		if s.tables[i].Release(s.now, contested, s.holds[i]) {
			s.note("%d releases %x", i, s.holds[i][0])
			s.holds[i] = identity.Identifier{}
			s.tell(i, 10*time.Second)
		}
	case 3:
		s.cut[i][j] = s.r.IntN(3) > 0
	default:
		s.tell(i, 10*time.Second)
	}
	wait := 2 * time.Minute
	if s.r.IntN(2) == 0 {
		wait = 2 * time.Second
	}
	s.pass(time.Duration(s.r.Int64N(int64(wait))))
}

// apart has nobody hear anybody.
func (s *speakers) apart() {
	for i := range s.cut {
		for j := range s.cut {
			s.cut[i][j] = true
		}
	}
}

// heal has all hear all, as often as it may take.
func (s *speakers) heal() {
	for i := range s.cut {
		clear(s.cut[i])
	}
	s.pass(set.Slack)
	s.latest = time.Nanosecond
	for range 2 * len(s.tables) {
		for i := range s.tables { // all at the same moment
			s.tell(i, time.Nanosecond)
		}
		s.pass(time.Second)
	}
}

// TestOwnersBetweenSets has several sets claim one name for several identities, while what they say
// to each other is lost, late, doubled and out of order. When all hear each other again there is
// one owner, whom all know, and nobody else holds the name.
func TestOwnersBetweenSets(t *testing.T) {
	lost := 0
	for seed := range faultnet.Seeds(t, testenv.OfRun(100, 500, 20_000)) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := newSpeakers(t, r, 2+r.IntN(4))
		if r.IntN(4) == 0 { // or it would be rare that anybody loses a name
			s.apart()
		}
		for range 5 + r.IntN(30) {
			s.step()
		}
		before := append([]identity.Identifier(nil), s.holds...)
		s.heal()
		owner, ok := identity.Identifier{}, false
		for i, table := range s.tables {
			who, has := table.Owner(s.now, contested)
			switch {
			case !has:
				continue
			case !ok:
				owner, ok = who, true
			case who != owner:
				t.Errorf("seed %d: %d says %x, others %x", seed, i, who[0], owner[0])
			}
			if h := s.holds[i]; !h.IsZero() && h != who {
				t.Errorf("seed %d: %d has %x hold what is %x's", seed, i, h[0], who[0])
			}
			if h := before[i]; !h.IsZero() && s.holds[i].IsZero() {
				lost++
			}
		}
		if t.Failed() {
			for _, line := range s.log {
				t.Log(line)
			}
			return
		}
	}
	t.Log(lost, "have lost the name")
	if lost == 0 {
		t.Error("nobody has ever lost a name: nothing was tried")
	}
}

// Who has had a name for long keeps it, whoever claims it where nobody has heard of that.
func TestLongHeldBetweenSets(t *testing.T) {
	for seed := range faultnet.Seeds(t, testenv.OfRun(40, 200, 5000)) {
		r := rand.New(rand.NewPCG(seed, 2))
		s := newSpeakers(t, r, 2+r.IntN(3))
		s.apart()
		a, b := identity.Identifier{9}, identity.Identifier{1}
		if _, err := s.tables[0].Claim(s.now, contested, a); err != nil {
			t.Fatal(err)
		}
		s.holds[0] = a
		s.pass(set.Settled + time.Duration(r.Int64N(int64(time.Hour))))
		for i := 1; i < len(s.tables); i++ {
			if _, err := s.tables[i].Claim(s.now, contested, b); err != nil {
				t.Fatal(err)
			}
			s.holds[i] = b
		}
		s.pass(time.Duration(r.Int64N(int64(time.Hour))))
		s.heal()
		for i, table := range s.tables {
			if who, _ := table.Owner(s.now, contested); who != a || i > 0 && !s.holds[i].IsZero() {
				t.Fatalf("seed %d: %d says %x, and has %x hold it", seed, i, who[0], s.holds[i][0])
			}
		}
		if s.holds[0] != a {
			t.Fatalf("seed %d: who had it first has lost it", seed)
		}
	}
}

// Where claims came too soon after each other to tell which was first, all agree all the same.
func TestCloseClaimsBetweenSets(t *testing.T) {
	for seed := range faultnet.Seeds(t, testenv.OfRun(40, 200, 5000)) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := newSpeakers(t, r, 2+r.IntN(3))
		for i := range s.tables {
			who := identity.Identifier{1 + byte(i)}
			if _, err := s.tables[i].Claim(s.now, contested, who); err != nil {
				t.Fatal(err)
			}
			s.holds[i] = who
			s.pass(time.Duration(r.Int64N(int64(set.Slack / 2))))
		}
		for range 2 { // nobody has heard of anybody, and all speak at the same moment
			for i := range s.tables {
				s.tell(i, 10*time.Second)
			}
		}
		s.heal()
		owner, _ := s.tables[0].Owner(s.now, contested)
		for i, table := range s.tables {
			if who, _ := table.Owner(s.now, contested); who != owner {
				t.Fatalf("seed %d: %d says %x, and 0 %x", seed, i, who[0], owner[0])
			}
			if h := s.holds[i]; !h.IsZero() && h != owner {
				t.Fatalf("seed %d: %d has %x hold what is %x's", seed, i, h[0], owner[0])
			}
		}
	}
}

// Where all that is said takes longer than claims came after each other, each set's claim seems to
// it to be the first. The one that decides for two of them has all agree.
func TestCloseClaimsFarApart(t *testing.T) {
	for seed := range faultnet.Seeds(t, testenv.OfRun(40, 200, 5000)) {
		r := rand.New(rand.NewPCG(seed, 4))
		s := newSpeakers(t, r, 2+r.IntN(3))
		s.least, s.latest = 10*time.Second, time.Second
		for i := range s.tables {
			s.holds[i] = identity.Identifier{1 + byte(i)}
			if _, err := s.tables[i].Claim(s.now, contested, s.holds[i]); err != nil {
				t.Fatal(err)
			}
			s.pass(time.Duration(1 + r.Int64N(int64(time.Second))))
		}
		for range 2 * len(s.tables) {
			for i := range s.tables {
				s.tell(i, s.latest)
			}
			s.pass(time.Minute)
		}
		owner, _ := s.tables[0].Owner(s.now, contested)
		for i, table := range s.tables {
			if who, _ := table.Owner(s.now, contested); who != owner {
				t.Fatalf("seed %d: %d says %x, and 0 %x", seed, i, who[0], owner[0])
			}
			if h := s.holds[i]; !h.IsZero() && h != owner {
				t.Fatalf("seed %d: %d has %x hold what is %x's", seed, i, h[0], owner[0])
			}
		}
	}
}
