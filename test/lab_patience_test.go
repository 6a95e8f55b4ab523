//go:build unix

package test

import (
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// patience is how long a test waits for what happens at once on a healthy machine. Only a failing
// test waits that long.
const patience = testkit.Patience

// pulse measures how slow this machine is while the tests run. TestMain starts it.
var pulse *testkit.Pulse

// inTime reports whether something that began then and has just ended took no longer than limit, as
// a quiet machine counts time.
func inTime(began time.Time, limit time.Duration) bool {
	return inTimeAt(began, time.Now(), limit)
}

// inTimeAt is inTime for what ended at end.
func inTimeAt(began, end time.Time, limit time.Duration) bool {
	return end.Sub(began) <= pulse.Stretch(limit, began)
}

// recently is how much of the past says how slow the machine will be.
const recently = 5 * time.Second

// unhurried returns a time that a quiet machine keeps, and makes it longer on one that is slow now.
// Timers that a test gives to sp are such times: where they are too short for the machine, sp ends
// what the machine has only delayed.
func unhurried(d time.Duration) time.Duration {
	return pulse.Stretch(d, time.Now().Add(-recently)).Round(time.Millisecond)
}

// bearable returns how many of n a machine as slow as this one may be given at once: where so much
// is to be done in one moment that sp's own timers would end it, there is less of it.
func bearable(n int) int {
	return max(n/10, int(float64(n)/pulse.Slowness(time.Now().Add(-recently))))
}

// eventually waits for what nobody announces.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	testkit.Eventually(t, what, holds)
}

// alone has a test in its long form run alone, because its figures are worth nothing otherwise. In
// its short form it runs beside others.
func alone(t *testing.T) {
	t.Helper()
	if !testenv.Full() {
		t.Parallel()
	}
}

// isLonger tells whether this is more than what runs every time.
func isLonger() bool { return testenv.CI() || testenv.Full() }
