package daemon

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestIdleness counts from the start and from the end of the last connection, and not while there
// is one.
func TestIdleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var i idleness
		told := 0
		i.begin() // nobody watches yet
		i.watch(time.Minute, func() { told++ })
		want := func(after time.Duration, n int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			i.mu.Lock()
			defer i.mu.Unlock()
			if told != n {
				t.Errorf("told %d times, want %d", told, n)
			}
		}
		want(time.Hour, 0)
		i.begin()
		i.end()
		want(time.Hour, 0)
		i.end()
		want(59*time.Second, 0)
		i.begin()
		want(time.Hour, 0)
		i.end()
		want(59*time.Second, 0)
		want(2*time.Second, 1)
		i.begin()
		i.end()
		want(61*time.Second, 2)
		i.begin()
		i.end()
		i.stop()
		want(time.Hour, 2)
		i.begin()
		i.end()
		want(time.Hour, 2)
	})
}
