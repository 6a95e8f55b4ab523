package directory

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/set"
)

// stuckBus is a bus whose server takes nothing until it is free.
type stuckBus struct {
	heldBus
	called chan string
	free   chan struct{}
}

func (b *stuckBus) Listen(string, func([]byte, func([]byte))) func() {
	b.called <- "listen"
	<-b.free
	return func() {}
}

func (b *stuckBus) Tell(string, []byte) {
	b.called <- "tell"
	<-b.free
}

// ownSet is a set that knows whose every name is, and speaks for all.
type ownSet struct{ noSet }

func (ownSet) Record(name string) (set.Record, bool) {
	return set.Record{Name: name, Who: identity.Identifier{1}}, true
}

func (ownSet) Speaks(string) bool { return true }

// Who has to do with the directory does not wait for a bus that stands still: neither for a
// name that is held, nor for one that has changed its owner.
func TestNobodyWaitsForTheBus(t *testing.T) {
	b := &stuckBus{called: make(chan string, 9), free: make(chan struct{})}
	d := New(Config{
		Set: ownSet{noSet{make(chan struct{})}}, Bus: b, Self: identity.Identifier{1},
		Addresses: func() []route.Address { return nil }, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{}, 3)
	go func() {
		d.hold("held")()
		done <- struct{}{}
	}()
	testkit.Within(t, b.called, "somebody listens")
	go func() {
		d.keepTelling(ctx)
		done <- struct{}{}
	}()
	d.Owned("owned")
	testkit.Within(t, b.called, "somebody listens")
	others := make(chan struct{})
	go func() {
		defer close(others)
		d.mayAnswer("other")
		d.hold("held")() // is listened for already
		d.Owned("other")
		d.tellAll()
	}()
	select {
	case <-others:
	case <-time.After(testkit.Patience):
		t.Error("somebody waits for the bus")
	}
	close(b.free)
	if what := testkit.Within(t, b.called, "something is told"); what != "tell" {
		t.Errorf("it has begun to %s", what)
	}
	<-others
	stop()
	testkit.Within(t, done, "the end")
	testkit.Within(t, done, "the end")
}

// A name is told without a lock.
func TestTellsWithoutALock(t *testing.T) {
	b := &stuckBus{called: make(chan string, 9), free: make(chan struct{})}
	d := New(Config{
		Set: ownSet{noSet{make(chan struct{})}}, Bus: b, Self: identity.Identifier{1},
		Addresses: func() []route.Address { return nil }, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(t.Context())
	d.owning.spoken["owned"] = &spoken{stop: func() {}} // is listened for
	done, others := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		d.keepTelling(ctx)
	}()
	d.Owned("owned")
	testkit.Within(t, b.called, "something is told")
	go func() {
		defer close(others)
		d.Owned("other")
	}()
	select {
	case <-others:
	case <-time.After(testkit.Patience):
		t.Error("somebody waits for the bus")
	}
	stop()
	close(b.free)
	testkit.Within(t, done, "the end")
	<-others
}

// busySet is a set whose list of nodes changes while its names are looked at.
type busySet struct {
	noSet
	mu      sync.Mutex
	looked  int
	current chan struct{}
}

func (s *busySet) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

func (s *busySet) change() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.current)
	s.current = make(chan struct{})
}

func (s *busySet) Names() []string {
	if s.looked++; s.looked == 1 {
		s.change()
	}
	return nil
}

// A change of the list while the one before is looked at is not missed.
func TestChangeWhileLooking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &busySet{current: make(chan struct{})}
		d := New(Config{Set: s, Bus: &heldBus{}, Self: identity.Identifier{1}})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go d.watchSet(ctx)
		synctest.Wait()
		s.change()
		synctest.Wait()
		if s.looked != 2 {
			t.Errorf("looked %d times at the names", s.looked)
		}
	})
}
