package netio

import (
	"runtime"
	"testing"

	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/testkit"
)

func (s *stack) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// What has been given back last is taken first.
func TestStackOrder(t *testing.T) {
	var s stack
	var all [4]*Buffer
	for i := range all {
		all[i] = newBuffer(Small)
		s.put(all[i])
	}
	for _, b := range []*Buffer{all[3], all[2]} {
		if got := s.get(); got != b {
			t.Errorf("%p is taken, want %p", got, b)
		}
	}
	s.put(all[3])
	for _, b := range []*Buffer{all[3], all[1], all[0], nil} {
		if got := s.get(); got != b {
			t.Errorf("%p is taken, want %p", got, b)
		}
	}
}

// What nobody has taken between two collections of garbage goes, and the rest stays.
func TestStackTrims(t *testing.T) {
	var s stack
	const n = 10
	for range n {
		s.put(newBuffer(Small))
	}
	for range 5 { // whatever the collector does by itself
		s.trim()
		for range 2 {
			defer func(b *Buffer) { runtime.KeepAlive(b) }(s.get())
		}
		if left := s.len(); left > n-2 {
			t.Fatalf("%d are left", left)
		}
		for range 2 {
			s.put(newBuffer(Small))
		}
	}
	if left := s.len(); left != 2 {
		t.Errorf("%d are left, want the 2 that are used", left)
	}
}

// Collections of garbage empty a stack that is not used, again and again.
func TestStackIsWatched(t *testing.T) {
	var s stack
	for range 3 {
		s.put(newBuffer(Small))
		testkit.Eventually(t, "letting go of what is not used", func() bool {
			runtime.GC()
			return s.len() == 0
		})
	}
}

// No more is held for nobody than the process has to spare.
func TestStackIsBounded(t *testing.T) {
	budget.SetProcess(1 << 20)
	defer budget.SetProcess(0)
	var s stack
	for range 100 {
		s.put(newBuffer(Small))
	}
	if n := int64(s.len()) * int64(Small.Size()); n == 0 || n > budget.Process.Spare() {
		t.Errorf("%d bytes are held, and %d are to spare", n, budget.Process.Spare())
	}
}

// What has been kept for far ends of late comes back, and may be held to be kept again, but no more
// than may be kept, nor twice.
func TestStackHoldsWhatWasKept(t *testing.T) {
	budget.SetProcess(64 << 20)
	defer budget.SetProcess(0)
	s := stack{watches: true} // no collection of garbage has anything to do with it
	spare := budget.Process.Spare()
	holds := func(what string, most int64) {
		t.Helper()
		for range most/int64(Small.Size()) + 100 {
			s.put(newBuffer(Small))
		}
		held := int64(s.len()) * int64(Small.Size())
		if held > most || held <= most-int64(Small.Size()) {
			t.Errorf("%s: %d bytes are held, want %d", what, held, most)
		}
		s = stack{watches: true}
	}
	kept := func(n int64) {
		budget.Kept.Take(n)
		s.get()
		budget.Kept.Give(n)
	}
	holds("nothing was kept", spare)
	kept(spare)
	holds("something was", 2*spare)
	kept(100 * spare)
	holds("as much as may be, and more", spare+budget.Process.Most()/2)
	kept(spare)
	budget.Kept.Take(spare)
	holds("it is kept", spare)
	budget.Kept.Give(spare)
	kept(spare)
	s.trim()
	s.watches = true
	holds("it was kept before a collection", spare)
}
