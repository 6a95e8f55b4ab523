// Package budget shares a process's memory out among its connections.
//
// What a connection holds while somebody does not read is held for as long as he likes, and there
// may be thousands of them. So whoever wants a large buffer, or lets a peer send so much ahead,
// asks first. What is taken is never waited for: a connection always gets the little that it needs
// to go on, and more only while there is plenty. The one who holds much leaves less for the next,
// and who reads gives it back.
//
// The package knows no sockets and no system; what the limit is, its caller finds out.
package budget

import (
	"sync/atomic"

	"github.com/secureportal/sp/internal/metrics"
)

const (
	// DefaultMost is the most bytes of a process that nobody has limited.
	DefaultMost = 256 << 20

	// ofMemory is the part of a process's memory that may be taken: a fourth. The rest is for
	// what each connection costs at least, and for the collector of garbage.
	ofMemory = 4
	// plentyPart is the part of the budget below which nobody needs to save: an eighth.
	plentyPart = 8
	// sharePart is the part of what is free that one taker may have: an eighth. So the large
	// requests are refused first, and what is left lasts for many small ones. This is how switches
	// share a buffer among queues (Choudhury and Hahne, 1998).
	sharePart = 8
)

// Budget is bytes that are shared out. It is safe for concurrent use, and takes no lock.
type Budget struct {
	most  atomic.Int64
	taken *metrics.Gauge
}

// Process is the budget of this process: what it holds in large buffers for its connections. What
// is taken of Kept is its as well, and no part of Taken: that much is on its way to those who read
// says nothing about those who do not.
var Process = &Budget{
	taken: metrics.NewGauge("memory_held_bytes",
		"bytes that connections hold for those who do not read, beyond the least that they need"),
}

var processMost = metrics.NewGauge("memory_budget_bytes",
	"bytes that connections may hold before they have to save, those that are kept among them")

func init() { SetProcess(0) }

// SetProcess makes Process what a process may take that has so many bytes of memory; 0 is unknown.
// It may be called at any time.
func SetProcess(memory int64) {
	most := int64(DefaultMost)
	if memory > 0 {
		most = min(most, memory/ofMemory)
	}
	Process.most.Store(most)
	processMost.Set(most)
}

// Most returns how many bytes there are.
func (b *Budget) Most() int64 { return b.most.Load() }

// Taken returns how many bytes are taken. It may be more than there are.
func (b *Budget) Taken() int64 { return b.taken.Value() }

// Take takes n bytes, whatever there is: see Fits.
func (b *Budget) Take(n int64) { b.taken.Add(n) }

// Give gives n bytes back.
func (b *Budget) Give(n int64) { b.taken.Add(-n) }

// Plenty tells whether so little is taken that nobody needs to save.
func (b *Budget) Plenty() bool { return b.Taken() < b.Spare() }

// Spare returns how many bytes may be held for nobody in particular.
func (b *Budget) Spare() int64 { return b.Most() / plentyPart }

// Free returns how many bytes are left.
func (b *Budget) Free() int64 {
	free := b.Most() - b.Taken()
	if b == Process {
		free -= keptOfMost(b.Most())
	}
	return max(free, 0)
}

// Share returns how many bytes one taker may have now: less, the more is taken.
func (b *Budget) Share() int64 { return b.Free() / sharePart }

// Fits tells whether n bytes are no more than a share.
func (b *Budget) Fits(n int64) bool { return n <= b.Share() }
