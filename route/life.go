package route

import (
	"context"
	"sync"
)

// life is how far a node is with its life, and what it waits for before it ends.
//
//	           drain           nothing active, nothing owed, all detached; or time is over
//	serving ──────────▶ draining ────────────────────────────────────────────────▶ closed
//	   │                               close                                          ▲
//	   └──────────────────────────────────────────────────────────────────────────────┘
//
// While it serves, it takes what comes. While it drains, it takes no request any more, and what is
// active goes on. Then it may still owe: what has been said in connections that have ended since is
// not all there, and they have lost their way. What it does not take is refused, and that takes its
// time as well. Once it is closed, ctx has ended and run runs nothing any more. A node that is
// closed without having drained has not drained.
type life struct {
	ctx    context.Context
	cancel context.CancelFunc
	leaves chan struct{} // closed when it serves no more
	served chan struct{} // closed when nothing is active, and nothing will be any more
	idle   chan struct{} // closed when nothing is owed either, or it is closed

	// unawaited is closed when the node need not be reached any more: it is leaves, or idle where
	// those who use the node may have lost their way to it.
	unawaited chan struct{}

	tasks    sync.WaitGroup // what run has started
	attached sync.WaitGroup // ways by which the node is reached
	keepers  sync.WaitGroup // who make such ways anew when they are lost

	mu       sync.Mutex
	stage    stage
	active   int           // requests and applications' connections
	paid     bool          // nothing is owed
	asking   int           // flows that have come, and are not answered yet
	answered chan struct{} // closed when there is none; nil where nobody waits for that
}

type stage uint8

const (
	serving stage = iota
	draining
	closed
)

// newLife makes a node's life. outlives tells that connections to it outlive their links.
func newLife(outlives bool) *life {
	l := &life{
		leaves: make(chan struct{}), served: make(chan struct{}), idle: make(chan struct{}),
	}
	l.unawaited = l.leaves
	if outlives {
		l.unawaited = l.idle
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// begin counts something active until end is called. It reports false if the node serves nothing
// more.
func (l *life) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage != serving {
		return false
	}
	l.active++
	return true
}

func (l *life) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active--
	l.noteIdleLocked()
}

// ask counts a flow that has come, until answer is called, once.
func (l *life) ask() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking++
}

// answer takes note that a flow has its answer, or that a handler has it.
func (l *life) answer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asking--; l.asking == 0 && l.answered != nil {
		close(l.answered)
		l.answered = nil
	}
}

// awaitAnswered returns when no flow waits for its answer, or ctx has ended. One goroutine at a
// time calls it.
func (l *life) awaitAnswered(ctx context.Context) {
	for answered := l.allAnswered(); answered != nil && ctx.Err() == nil; {
		select {
		case <-answered:
			answered = l.allAnswered() // a handler may have refused one since
		case <-ctx.Done():
		}
	}
}

// allAnswered returns what is closed when no flow waits for its answer, or nil if none does.
func (l *life) allAnswered() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asking == 0 {
		return nil
	}
	l.answered = make(chan struct{})
	return l.answered
}

// noteIdleLocked closes served and idle if it is time. Nothing begins after that.
func (l *life) noteIdleLocked() {
	if l.active > 0 || l.stage == serving {
		return
	}
	happen(l.served)
	if l.paid || l.stage == closed {
		happen(l.idle)
	}
}

// happen closes c, once.
func happen(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// pay takes note that nothing is owed, and nothing will be: nothing is active any more.
func (l *life) pay() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paid = true
	l.noteIdleLocked()
}

// drain begins the end. A second call does nothing.
func (l *life) drain() { l.leave(draining) }

// close ends ctx, and what run would start. A second call does nothing.
func (l *life) close() {
	l.cancel()
	l.leave(closed)
}

// leave goes on to a later stage.
func (l *life) leave(next stage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.stage
	l.stage = max(before, next)
	if before == serving {
		close(l.leaves)
	}
	l.noteIdleLocked()
}

// isAwaited tells whether unawaited is not closed, nor the node.
func (l *life) isAwaited() bool {
	select {
	case <-l.unawaited:
		return false
	case <-l.ctx.Done():
		return false
	default:
		return true
	}
}

func (l *life) is(s stage) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stage == s
}

// activeNow returns how much is active.
func (l *life) activeNow() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active
}

// run runs f on a goroutine that wait waits for. It reports false, and runs nothing, once the node
// is closed.
func (l *life) run(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage == closed {
		return false
	}
	l.tasks.Go(f)
	return true
}

// stay has what run has started count as there until left is called, once, although it returns
// before. It is for who has been started so.
func (l *life) stay() (left func()) {
	l.tasks.Add(1)
	return l.tasks.Done
}

// wait returns when all that run has started has ended. The node has been closed before.
func (l *life) wait() { l.tasks.Wait() }

// attach counts a way by which the node is reached, until detach is called, once. It reports false
// if the node need not be reached any more.
func (l *life) attach() (detach func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isAwaited() {
		return nil, false
	}
	l.attached.Add(1)
	return l.attached.Done, true
}

// awaitDetached returns when all ways by which the node is reached are detached, or ctx has ended:
// what came by them may have last bytes on the way. The node is not awaited any more.
func (l *life) awaitDetached(ctx context.Context) { l.await(ctx, &l.attached) }

// await returns when all in the group are done, or ctx has ended. The node does not add to it any
// more.
func (l *life) await(ctx context.Context, group *sync.WaitGroup) {
	done := make(chan struct{})
	waiting := l.run(func() {
		group.Wait()
		close(done)
	})
	if !waiting {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// keep counts who keeps the node to be reached, until end is called, once.
func (l *life) keep() (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage != serving {
		return func() {}
	}
	l.keepers.Add(1)
	return l.keepers.Done
}
