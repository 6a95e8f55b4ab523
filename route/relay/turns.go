package relay

import (
	"context"
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

// turnsAt is those of one relay.
type turnsAt struct {
	taken chan struct{} // holds one for each; who waits for room has it in the order of coming
	users int           // who have a turn, or wait for one; guarded by the lock of turns
}

func (t *turns) take(ctx context.Context, key string) (done func(), ok bool) {
	here := t.enter(key)
	select {
	case here.taken <- struct{}{}:
		return func() {
			<-here.taken
			t.leave(key)
		}, true
	case <-ctx.Done():
		t.leave(key)
		return nil, false
	}
}

func (t *turns) enter(key string) *turnsAt {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil {
		t.at = make(map[string]*turnsAt)
	}
	here := t.at[key]
	if here == nil {
		here = &turnsAt{taken: make(chan struct{}, claimsAtOnce)}
		t.at[key] = here
	}
	here.users++
	return here
}

func (t *turns) leave(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	here := t.at[key]
	if here.users--; here.users == 0 {
		delete(t.at, key)
	}
}
