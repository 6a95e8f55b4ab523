package netwatch

import "time"

const (
	// clockStep is how far one clock may run ahead of the other before that is a jump.
	clockStep = time.Second
	// lateStep is how much later than asked for a look may come before the process has stood still.
	lateStep = 2 * time.Second
)

// reading is what two clocks say at one moment: for how long something has gone on, and the time of
// day. Each begins wherever it likes. While a machine sleeps, one of them stands still on most
// systems; so it does in a virtual machine that is stopped, which is told the time afterwards.
type reading struct{ passed, day time.Duration }

var processBegan = time.Now()

func readClocks() reading {
	now := time.Now()
	return reading{
		passed: now.Sub(processBegan),
		day:    now.Round(0).Sub(processBegan.Round(0)), // without what counts what has passed
	}
}

// clocks finds out that time has passed in which nothing could be done.
type clocks struct {
	last    reading
	due     time.Duration // when the next reading is to be at the latest, by what has passed
	missing time.Duration // that nobody has been told of
}

func newClocks(r reading) *clocks { return &clocks{last: r, due: r.passed} }

// expect takes note of a reading, and says that the next one is to be after d.
func (c *clocks) expect(r reading, d time.Duration) {
	// A time of day that is put back has taken nothing.
	if slept := (r.day - c.last.day) - (r.passed - c.last.passed); slept > clockStep {
		c.missing += slept
	}
	if stood := r.passed - c.due; stood > lateStep {
		c.missing += stood
	}
	c.last, c.due = r, r.passed+d
}

// jumped returns how much time was missing, once.
func (c *clocks) jumped() time.Duration {
	d := c.missing
	c.missing = 0
	return d
}
