package channel

import (
	"sync"
	"time"
)

// chore is something that a session does in time, or a set of those.
type chore uint8

const (
	choreRestart chore = 1 << iota // the keys are new: say when they will be again
	choreHasten                    // somebody wants new keys
	choreRenew                     // new keys are due
	choreQuiet                     // links that carry nothing are to be looked after
	choreReport                    // there is something to tell of flows
	choreBeat                      // a ping is due, and to look after links
	choreMissed                    // after a while, somebody would miss the session
	choreReview                    // whether the far end is trusted; this waits for no other chore
)

// chores is what a session has to do and has not done yet. It is done by a goroutine that lives
// only while there is something: a session in which nothing happens has none. There is one at a
// time, since what it says goes out on the control link one after the other.
type chores struct {
	do func(chore) // set once

	mu      sync.Mutex
	due     chore
	begun   bool // they are being done
	working bool // by a goroutine that is there
	over    bool
	tasks   sync.WaitGroup // the goroutine
}

// alarm has a chore done in time. It has a timer only once it has been set: many a session needs
// none for most of what it may have to do. It is safe for concurrent use.
type alarm struct {
	chores *chores
	due    chore

	mu    sync.Mutex
	timer *time.Timer
}

// Reset has the chore done after d, and not before.
func (a *alarm) Reset(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer == nil {
		a.timer = time.AfterFunc(d, func() { a.chores.add(a.due) })
		return
	}
	a.timer.Reset(d)
}

// Stop has the chore not done.
func (a *alarm) Stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
}

// add has something done soon. It never waits.
func (c *chores) add(due chore) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due |= due
	c.workLocked()
}

// begin has chores done from now on, those that have been added before included.
func (c *chores) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = true
	c.workLocked()
}

// end has nothing done any more, and waits for what is being done.
func (c *chores) end() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.tasks.Wait()
}

func (c *chores) workLocked() {
	if c.begun && !c.working && !c.over && c.due != 0 {
		c.working = true
		c.tasks.Go(c.work)
	}
}

func (c *chores) work() {
	for due := c.take(); due != 0; due = c.take() {
		c.do(due)
	}
}

// take returns what is to be done now. If that is nothing, there is no goroutine any more.
func (c *chores) take() (due chore) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if due = c.due; c.over {
		due = 0
	}
	c.due, c.working = 0, due != 0
	return due
}
