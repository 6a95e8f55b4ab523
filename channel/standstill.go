package channel

import "time"

// standstill is how late a look may be that a process takes at its clock. One that comes later does
// so because the process has stood still.
const standstill = time.Second

// looks finds out for how long a process has stood still, for who waits for somebody else: when all
// has (SIGSTOP, a frozen container, a virtual machine that was stopped), every timer is due at
// once, but nobody had the time to do anything. Whoever has one looks regularly. The zero value is
// ready.
type looks struct{ last time.Time }

// stood returns for how long the process has stood still since the last look, for somebody who
// looks every so often.
func (l *looks) stood(now time.Time, every time.Duration) (d time.Duration) {
	if late := now.Sub(l.last) - every; !l.last.IsZero() && late > standstill {
		d = late
	}
	l.last = now
	return d
}
