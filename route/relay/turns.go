package relay

import (
	"context"
	"slices"
	"sync"

	"github.com/secureportal/sp/route"
)

// claimsAtOnce is how many names a process claims at one relay at a time. What it computes for each
// of many it computes for none in time, where a machine has too much to do: all attempts time out,
// are made anew, and those names are lost meanwhile that it had.
const claimsAtOnce = 32

// AwaitTurn returns when it is somebody's turn who is about to ask a relay for something that may
// need a session, and reports false if ctx has ended before. What he allows himself for it begins
// then; done is to be called once, when he has his answer.
func AwaitTurn(ctx context.Context, relay route.Route) (done func(), ok bool) {
	return turnsNow.take(ctx, route.Format(relay))
}

// turnsNow are those of this process.
var turnsNow turns

// turns go round those who want something of the same relay, in the order in which they have come.
// It has a lock of its own. The zero value is ready.
type turns struct {
	mu sync.Mutex
	at map[string]*turnsAt
}

// turnsAt is those of one relay. There are none who wait while fewer than claimsAtOnce are taken.
type turnsAt struct {
	taken   int
	waiting []chan struct{} // each is closed when it is his turn
}

func (t *turns) take(ctx context.Context, key string) (done func(), ok bool) {
	done = func() { t.give(key) }
	turn := t.wait(key)
	if turn == nil {
		return done, true
	}
	select {
	case <-turn:
		return done, true
	case <-ctx.Done():
	}
	if !t.leave(key, turn) {
		done() // it has come meanwhile
	}
	return nil, false
}

// wait takes a turn, or returns what is closed when it is one's own.
func (t *turns) wait(key string) (turn chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil {
		t.at = make(map[string]*turnsAt)
	}
	here := t.at[key]
	if here == nil {
		here = new(turnsAt)
		t.at[key] = here
	}
	if here.taken < claimsAtOnce {
		here.taken++
		return nil
	}
	turn = make(chan struct{})
	here.waiting = append(here.waiting, turn)
	return turn
}

// leave has somebody wait no longer, and reports false if it is his turn.
func (t *turns) leave(key string, turn chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	here := t.at[key]
	if here == nil {
		return false
	}
	i := slices.Index(here.waiting, turn)
	if i < 0 {
		return false
	}
	here.waiting = slices.Delete(here.waiting, i, i+1)
	return true
}

// give has the next one take a turn, or nobody.
func (t *turns) give(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	here := t.at[key]
	if len(here.waiting) > 0 {
		close(here.waiting[0])
		here.waiting = slices.Delete(here.waiting, 0, 1)
		return
	}
	if here.taken--; here.taken == 0 {
		delete(t.at, key)
	}
}
