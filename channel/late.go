package channel

import (
	"slices"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// What has been written may wait at any place of the way: in this machine, of which its carrier
// tells, or in a relay whose next line is slower than this one, of which nobody tells but the other
// end. It opens late what waits long.
const (
	// lateAfter is when what was sent is late that the other end has not said it has opened: it takes
	// ackDelay to say so, and a line around the earth half a second. Where that has always taken
	// longer it is lateTimes as long as the shortest time so far.
	lateAfter = time.Second
	lateTimes = 2

	// lateLeast is how many bytes may be under way before it is known how fast the way is, and after
	// something was late. Twice as many may be each time that half as many have arrived in half of
	// lateAfter.
	lateLeast = 256 << 10
	lateMost  = 1 << 40

	// lateMarks is of how many places it is remembered when they were sent.
	lateMarks = 8
)

// mark is a place in what was sent, and when that had been.
type mark struct {
	position, bytes uint64
	at              time.Time
	ahead           uint64 // bytes that were under way, at most
}

// marks tell how long it takes for what is sent to be acknowledged, while somebody asks for that.
type marks struct {
	open     []mark        // that have not been acknowledged, the oldest first
	arrived  uint64        // bytes that have been, at least
	window   uint64        // bytes that may be under way
	shortest time.Duration // that a mark took; 0 is unknown
}

func newMarks() *marks { return &marks{window: lateLeast} }

// isLate tells whether something that was sent has not been acknowledged for too long, or too much
// has not been.
func (k *kept) isLate(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gaveUp {
		return false
	}
	if k.marks == nil {
		k.marks = newMarks()
	}
	return k.marks.late(mark{position: k.sealed, bytes: k.bytes, at: now}, k.acked)
}

// late is isLate where all until now has been made, and so many records have been acknowledged.
func (m *marks) late(now mark, acked uint64) bool {
	m.pass(now, acked)
	last := mark{bytes: m.arrived}
	if len(m.open) > 0 {
		last = m.open[len(m.open)-1]
	}
	fresh := now.at.Sub(last.at) >= lateAfter/lateMarks || now.bytes-last.bytes >= m.window/lateMarks
	if now.position > max(acked, last.position) && fresh && len(m.open) < lateMarks {
		now.ahead = now.bytes - m.arrived
		m.open = append(m.open, now)
	}
	if len(m.open) > 0 && now.at.Sub(m.open[0].at) > max(lateAfter, lateTimes*m.shortest) {
		m.window = lateLeast
		return true
	}
	return now.bytes-m.arrived > m.window
}

// pass takes note of the marks that have been acknowledged.
func (m *marks) pass(now mark, acked uint64) {
	n := 0
	for n < len(m.open) && m.open[n].position <= acked {
		n++
	}
	if n > 0 {
		last := m.open[n-1]
		took := now.at.Sub(last.at)
		if m.shortest == 0 || took < m.shortest {
			m.shortest = took
		}
		if took <= lateAfter/2 && last.ahead >= m.window/lateTimes {
			m.window = min(2*m.window, lateMost)
		}
		m.arrived = last.bytes
		m.open = slices.Delete(m.open, 0, n)
	}
	if acked >= now.position {
		m.arrived = now.bytes
	}
}

// Unsent implements netio.Unsenter: what the other end opens late waits somewhere on the way, and
// whatever is sent now would wait behind it.
func (f *Flow) Unsent() int {
	if f.lasting != nil && f.lasting.kept.isLate(time.Now()) {
		return netio.UnsentForNow
	}
	return netio.Unsent(f.carrier())
}
