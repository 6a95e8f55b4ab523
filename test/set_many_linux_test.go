package test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
)

// lookEach is how often a relay is asked how many names it has: to answer costs it a millisecond.
const lookEach = 200 * time.Millisecond

// setNames is three relays that are one set, and names that people hold there.
type setNames struct {
	person
	*relaySet
	n       int
	holders []*process
}

// TestSetManyNames has many people hold a name each on a set of three relays, 10,000 with
// SP_FULL=1, looks the names up, and has one of the relays be killed and start again: at once, and,
// with fewer names, when they have gone elsewhere.
func TestSetManyNames(t *testing.T) {
	alone(t)
	t.Run("restart", func(t *testing.T) {
		s := newSetNames(t, testenv.OfRun(30, 200, 10_000))
		s.lookUp(min(s.n, 1000))
		s.restart(0)
	})
	t.Run("away", func(t *testing.T) {
		s := newSetNames(t, testenv.OfRun(30, 100, 5000))
		s.restart(testenv.OfFull(5*time.Second, 20*time.Second))
	})
}

func newSetNames(t *testing.T, n int) *setNames {
	t.Helper()
	me := newPerson(t)
	at := []string{testkit.Address(t), testkit.Address(t), testkit.Address(t)}
	s := &setNames{
		person: me, n: n,
		relaySet: newRelaySet(me, at, append(watched, "--allow-anyone")...),
	}
	for _, r := range s.all {
		r.begin(at...)
	}
	s.meets()
	before := s.use()
	began := time.Now()
	s.holders = me.startHolders(n, at)
	s.await("all names are claimed at two relays", func() bool { return s.leases() == 2*n })
	took := since(began)
	now := s.use()
	t.Logf("%d names at two of three relays each after %v, for which the relays computed %v in %d "+
		"handshakes: each claim has %.1f KiB", n, took, now.cpu-before.cpu, now.handshakes,
		float64(now.rss-before.rss)/float64(2*n))
	return s
}

// setUse is what all relays of a set have used together.
type setUse struct {
	cpu        time.Duration
	rss        int64
	handshakes int
}

func (s *setNames) use() (all setUse) {
	for _, r := range s.running() {
		all.cpu += r.cpu()
		all.rss += r.process.use().rss
		all.handshakes += r.handshakes()
	}
	return all
}

// handshakes is how many a relay has made with those who came.
func (r *setRelay) handshakes() int {
	return int(r.metrics()[`sp_handshakes_total{role="responder",outcome="done"}`])
}

// claimed is how many names are claimed at a relay.
func (r *setRelay) claimed() int { return int(r.metrics()["sp_relay_leases"]) }

func (s *setNames) leases() (n int) {
	for _, r := range s.running() {
		n += r.claimed()
	}
	return n
}

// await is eventually, for what takes longer where there are many names.
func (s *setNames) await(what string, holds func() bool) {
	s.t.Helper()
	limit := testenv.OfFull(patience, 10*time.Minute)
	look := time.NewTicker(lookEach)
	defer look.Stop()
	for late := time.After(limit); !holds(); {
		select {
		case <-look.C:
		case <-late:
			s.t.Fatalf("not after %v: %s", limit, what)
		}
	}
}

// lookUp has somebody new make a session with the holder of a name, by any of the relays, one after
// the other.
func (s *setNames) lookUp(times int) {
	s.t.Helper()
	const each = 50 // that somebody looks up
	var here, passedOn []time.Duration
	for i := 0; i < times; i += each {
		somebody := trustingNode(s.t)
		for k := i; k < min(i+each, times); k++ {
			name := heldName(k * s.n / times)
			by := s.all[k%len(s.all)]
			to, err := route.Parse(name + "@" + by.at)
			if err != nil {
				s.t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(s.t.Context(), patience)
			began := time.Now()
			_, err = somebody.Session(ctx, to)
			took := time.Since(began)
			cancel()
			if err != nil {
				s.t.Fatalf("%s by relay %d: %v", name, by.number, err)
			}
			if slices.Contains(s.homes(name)[:homesEach], by) {
				here = append(here, took)
			} else {
				passedOn = append(passedOn, took)
			}
		}
		_ = somebody.Close()
	}
	s.t.Logf("sessions with holders of names: by a relay that has it %s; by another one %s",
		percentiles(here), percentiles(passedOn))
}

// restart kills a relay, starts it again after a while, and says when its names were back.
func (s *setNames) restart(after time.Duration) {
	s.t.Helper()
	r := s.all[0]
	want := r.claimed()
	holders := s.holdersCPU()
	r.killed()
	time.Sleep(after)
	elsewhere := s.leases()
	r.begin(s.addresses()...)
	began := time.Now()
	marks := []struct{ percent, names int }{{50, 0}, {99, 0}, {100, 0}}
	for i := range marks {
		m := &marks[i]
		m.names = (want*m.percent + 99) / 100
		s.await("names are back", func() bool { return r.claimed() >= m.names })
		s.t.Logf("killed for %v: of its %d names %d %% are back after %v", after, want, m.percent,
			since(began))
	}
	s.await("names are given up elsewhere", func() bool { return s.leases() == 2*s.n })
	s.t.Logf("all names are where they were after %v; %d claims while the relay was away; it has "+
		"made %d handshakes and computed %v, and the holders %v", since(began), elsewhere,
		r.handshakes(), r.cpu(), s.holdersCPU()-holders)
	if limit := time.Minute; !inTime(began, limit) {
		s.t.Errorf("all are back after %v, want %v", since(began), limit)
	}
}

func (s *setNames) holdersCPU() (sum time.Duration) {
	for _, p := range s.holders {
		sum += p.cpu()
	}
	return sum
}
