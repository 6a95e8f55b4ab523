package route

import (
	"context"
	"sync"
)

// life is how far a node is with its life, and what it waits for before it ends.
//
//	           drain                nothing active, all detached; or time is over
//	serving ──────────▶ draining ────────────────────────────────────────────────▶ closed
//	   │                               close                                          ▲
//	   └──────────────────────────────────────────────────────────────────────────────┘
//
// While it serves, it takes what comes. While it drains, it takes no request and no way by which it
// is reached any more, and what is active goes on. Once it is closed, ctx has ended and run runs
// nothing any more. A node that is closed without having drained has not drained.
type life struct {
	ctx    context.Context
	cancel context.CancelFunc
	leaves chan struct{} // closed when it serves no more
	idle   chan struct{} // closed when nothing is active, and nothing will be any more

	tasks    sync.WaitGroup // what run has started
	attached sync.WaitGroup // ways by which the node is reached

	mu     sync.Mutex
	stage  stage
	active int // requests and applications' connections
}

type stage uint8

const (
	serving stage = iota
	draining
	closed
)

func newLife() *life {
	l := &life{leaves: make(chan struct{}), idle: make(chan struct{})}
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

// noteIdleLocked closes idle if it is time. Nothing begins after that, so it happens once.
func (l *life) noteIdleLocked() {
	if l.active == 0 && l.stage != serving {
		close(l.idle)
	}
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
		l.noteIdleLocked()
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

// wait returns when all that run has started has ended. The node has been closed before.
func (l *life) wait() { l.tasks.Wait() }

// attach counts a way by which the node is reached, until detach is called, once. It reports false
// if the node is not to be reached any more.
func (l *life) attach() (detach func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage != serving {
		return nil, false
	}
	l.attached.Add(1)
	return l.attached.Done, true
}

// awaitDetached returns when all ways by which the node is reached are detached, or ctx has ended:
// what came by them may have last bytes on the way.
func (l *life) awaitDetached(ctx context.Context) {
	detached := make(chan struct{})
	waiting := l.run(func() {
		l.attached.Wait()
		close(detached)
	})
	if !waiting {
		return
	}
	select {
	case <-detached:
	case <-ctx.Done():
	}
}
