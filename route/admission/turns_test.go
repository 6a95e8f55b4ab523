package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// queue is turns of which none is free, and those who wait, in the order in which they come.
type queue struct {
	*turns
	t *testing.T

	noting sync.Mutex
	order  []string
}

func newQueue(t *testing.T) *queue {
	q := &queue{turns: newTurns(), t: t}
	q.free = 0
	return q
}

// wait has somebody called name wait, for a source that is the name without its last letter.
func (q *queue) wait(ctx context.Context, r rank, name string) {
	go func() {
		err := q.take(ctx, r, FromName(name[:len(name)-1]))
		q.noting.Lock()
		defer q.noting.Unlock()
		switch {
		case err == nil:
			q.order = append(q.order, name)
		case errors.Is(err, ErrBusy):
			q.order = append(q.order, name+" is refused")
		default:
			q.order = append(q.order, name+" has gone")
		}
	}()
	synctest.Wait()
}

// turn ends a turn, which is the next one's.
func (q *queue) turn() {
	q.done()
	synctest.Wait()
}

func (q *queue) want(names string) {
	q.t.Helper()
	if got := strings.Join(q.order, ", "); got != names {
		q.t.Errorf("in the order %s; want %s", got, names)
	}
	q.order = nil
}

// Sources take turns, however many wait of each.
func TestTurnsGoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		for _, name := range []string{"a1", "a2", "a3", "b1", "c1", "b2"} {
			q.wait(t.Context(), ofUnknown, name)
		}
		for range 6 {
			q.turn()
		}
		q.want("a1, b1, c1, a2, b2, a3")
		q.turn()
		if q.free != 1 || q.waiting != 0 || len(q.ranks[ofUnknown].by) != 0 {
			t.Errorf("%d turns are free, and %d wait", q.free, q.waiting)
		}
	})
}

// What has begun comes first, then who is known; and the others are not kept out.
func TestTurnsOfThoseKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		for i := range 2 {
			q.wait(t.Context(), ofUnknown, fmt.Sprint("s", i))
		}
		for i := range 6 {
			q.wait(t.Context(), ofKnown, fmt.Sprint("k", i))
		}
		q.wait(t.Context(), begun, "b0")
		for range 9 {
			q.turn()
		}
		q.want("b0, k0, k1, k2, s0, k3, k4, k5, s1")
	})
}

// Of too many, the last ones of the source that has most are refused: known sources wait in no
// stranger's queue.
func TestTurnsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		ctx, cancel := context.WithCancel(t.Context())
		for range turnsWaiting {
			q.wait(ctx, ofUnknown, "s1")
		}
		q.wait(ctx, ofUnknown, "s2")
		q.want("s2 is refused")
		q.wait(ctx, ofUnknown, "other1")
		q.want("s1 is refused")
		q.wait(ctx, ofKnown, "known1")
		q.want("s1 is refused")
		q.turn()
		q.turn()
		q.turn()
		q.want("known1, s1, other1")
		cancel()
		synctest.Wait()
		if len(q.order) != turnsWaiting-3 || q.order[0] != "s1 has gone" || q.waiting != 0 {
			t.Errorf("%d have gone, and %d wait", len(q.order), q.waiting)
		}
	})
}

// A known source may begin more handshakes, for there may be many behind it; and what comes in a
// session of a peer is from a known source.
func TestHandshakesOfKnownSources(t *testing.T) {
	a := New(Limits{HandshakeRate: 1}, nil)
	now := time.Now()
	a.links.known.enter(FromName("known"))
	for from, want := range map[Source]int{
		FromName("unknown"): handshakeBurst,
		FromName("known"):   knownRate * handshakeBurst,
		FromIdentity(id(1)): knownRate * handshakeBurst,
	} {
		n := 0
		for a.Handshake(from, now) == nil {
			n++
		}
		if n != want {
			t.Errorf("%v may begin %d, want %d", from, n, want)
		}
	}
}

// TLS is bounded for strangers only.
func TestTLSOfKnownSources(t *testing.T) {
	a := New(Limits{HandshakeRate: 1}, nil)
	now := time.Now()
	here, there := FromName("here"), FromName("there")
	slot, _, err := a.Enter(nil, here, now)
	if err != nil {
		t.Fatal(err)
	}
	slot.Authenticate()
	for i := range 10 * handshakeBurst {
		if err := a.TLS(here, now); err != nil {
			t.Fatal(err)
		}
		if err := a.TLS(there, now); (err == nil) != (i < handshakeBurst) {
			t.Fatalf("a stranger's TLS %d: %v", i, err)
		}
	}
	if err := a.Handshake(there, now); err == nil {
		t.Error("a stranger has another rate for what comes inside of TLS")
	}
}
