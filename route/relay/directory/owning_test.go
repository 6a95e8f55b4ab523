package directory

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/route/relay/sets"
)

// newsBus is a bus that counts what is told, and who listens.
type newsBus struct {
	heldBus
	told, listens atomic.Int64
}

func (b *newsBus) Listen(string, func([]byte, func([]byte))) func() {
	b.listens.Add(1)
	return func() { b.listens.Add(-1) }
}

func (b *newsBus) Tell(string, []byte) { b.told.Add(1) }

// shortSet is a set that knows whose every name is until it forgets all, of which it tells nobody.
type shortSet struct {
	ownSet
	forgotten atomic.Bool
}

func (s *shortSet) Record(name string) (set.Record, bool) {
	r, ok := s.ownSet.Record(name)
	return r, ok && !s.forgotten.Load()
}

func (*shortSet) Hear(set.NodeID, bool, set.Record) bool { return true }

// telling has a directory tell whose names are.
func telling(t *testing.T, f func(d *Directory, b *newsBus, s *shortSet)) {
	synctest.Test(t, func(t *testing.T) {
		b, s := new(newsBus), &shortSet{ownSet: ownSet{noSet{make(chan struct{})}}}
		d := New(Config{Set: s, Bus: b, Self: identity.Identifier{1}})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go d.keepTelling(ctx)
		d.Owned("db")
		time.Sleep(time.Minute) // it has been told and told again
		f(d, b, s)
	})
}

// toldAsBefore fails if a name is told much more often than it is to be, or less.
func toldAsBefore(t *testing.T, b *newsBus) {
	t.Helper()
	const refreshes = 12
	time.Sleep(time.Minute)
	before := b.told.Load()
	time.Sleep(refreshes * refreshEach)
	if n := b.told.Load() - before; n < refreshes/2 || n > 2*refreshes {
		t.Errorf("told %d times in %d times the time in which it is", n, refreshes)
	}
}

// Who answers what others say does not tell more often from then on.
func TestAnswersAreToldOnce(t *testing.T) {
	telling(t, func(d *Directory, b *newsBus, s *shortSet) {
		before := b.told.Load()
		const answers = 20
		for range answers {
			d.owning.heard <- heard{name: "db", said: sets.Told{From: set.NodeID{9}}}
			time.Sleep(2 * replyAfter)
		}
		if n := b.told.Load() - before; n < answers {
			t.Errorf("told %d times of %d", n, answers)
		}
		toldAsBefore(t, b)
	})
}

// A name that comes and goes is not told more often from then on.
func TestComesAndGoes(t *testing.T) {
	telling(t, func(d *Directory, b *newsBus, s *shortSet) {
		for range 5 {
			s.forgotten.Store(true)
			d.Owned("db")
			synctest.Wait()
			s.forgotten.Store(false)
			d.Owned("db")
			synctest.Wait()
		}
		toldAsBefore(t, b)
	})
}

// A name that is forgotten, of which nobody tells, is not listened for any more.
func TestForgottenIsNotListenedFor(t *testing.T) {
	telling(t, func(_ *Directory, b *newsBus, s *shortSet) {
		if n := b.listens.Load(); n != 1 {
			t.Fatalf("%d listen", n)
		}
		s.forgotten.Store(true)
		time.Sleep(2 * refreshEach)
		if n := b.listens.Load(); n != 0 {
			t.Errorf("%d listen for a name that is forgotten", n)
		}
	})
}

// outlet is one that signs after a while, if it does.
type outlet struct {
	after time.Duration
	err   error
}

func (o outlet) Vouch(ctx context.Context, _ sets.Question) ([]byte, error) {
	select {
	case <-time.After(o.after):
		return []byte(o.after.String()), o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Of outlets that share a name the one that is silent hides no other.
func TestSilentHidesNobody(t *testing.T) {
	refuses := errors.New("not now")
	for name, test := range map[string]struct {
		all  []outlet
		want time.Duration // 0: nobody signs
	}{
		"the first":        {[]outlet{{after: 1}, {after: 1}}, 1},
		"a silent one":     {[]outlet{{after: time.Hour}, {after: 2}}, 2},
		"two silent ones":  {[]outlet{{after: time.Hour}, {after: time.Hour}, {after: 3}}, 3},
		"one that refuses": {[]outlet{{1, refuses}, {after: 2}}, 2},
		"a late one":       {[]outlet{{after: vouchNext + 9}, {2, refuses}}, vouchNext + 9},
		"nobody":           {[]outlet{{1, refuses}, {2, refuses}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				claim, err := vouchAny(t.Context(), test.all, sets.Question{})
				if took := time.Since(began); took >= askTimeout {
					t.Errorf("it takes %v", took)
				}
				switch {
				case test.want == 0 && !errors.Is(err, refuses):
					t.Errorf("%q, %v", claim, err)
				case test.want != 0 && (err != nil || string(claim) != test.want.String()):
					t.Errorf("%q, %v", claim, err)
				}
			})
		})
	}
}
