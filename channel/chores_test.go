package channel

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// What is added while something is being done is done afterwards, once, and nobody waits for it.
func TestChores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done []chore
		var working atomic.Int32
		c := &chores{do: func(due chore) {
			if working.Add(1) > 1 {
				t.Error("two at a time")
			}
			time.Sleep(time.Second) // as if the link took nothing
			done = append(done, due)
			working.Add(-1)
		}}
		c.add(choreBeat)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(done) > 0 {
			t.Errorf("%v before it has begun", done)
		}
		c.begin()
		synctest.Wait()
		for range 10 {
			c.add(choreQuiet)
			c.add(choreReport)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(done) != 2 || done[0] != choreBeat || done[1] != choreQuiet|choreReport {
			t.Errorf("done: %v", done)
		}
		c.add(choreBeat)
		synctest.Wait()
		c.end()
		if len(done) != 3 {
			t.Errorf("done: %v, and the end has not waited", done)
		}
		c.add(choreBeat)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(done) != 3 {
			t.Errorf("done: %v after the end", done)
		}
	})
}

// A session in which nothing happens has no goroutine but those that its ends cannot do without: a
// relay has one for each name.
func TestSessionAtRest(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		const responder, initiator, more = 1, 3, 8
		l.session()
		synctest.Wait()
		before := testkit.Goroutines()
		for range more {
			l.session()
		}
		synctest.Wait()
		each := float64(testkit.Goroutines()-before) / more
		if each > responder+initiator {
			t.Errorf("%v goroutines for both ends of a session, want %d", each,
				responder+initiator)
		}
	})
}
