package budget

import "github.com/secureportal/sp/internal/metrics"

// DefaultKept is the most bytes that a process keeps for the other ends of its connections that
// have not acknowledged them, if nobody has said otherwise.
const DefaultKept = 256 << 20

const (
	// keptOfMemory is the part of a process's memory that may be kept so: a sixteenth.
	keptOfMemory = 16
	// keptOfProcess is the part of the process's budget that what is kept may use up, for those who
	// do not read: a half. So there is always something to read into.
	keptOfProcess = 2
	// keptPlentyPart is the part of that below which nobody needs to save: a fourth, or all but
	// keptSpare if that is more.
	keptPlentyPart = 4
	keptSpare      = 64 << 20
)

// Kept is the budget of what a process's connections have sent and the other end has not
// acknowledged: it is sent again if the link is lost. It is paid out of Process, up to the half of
// that. What is on its way to those who read may be more for a moment.
var Kept = &Budget{
	taken: metrics.NewGauge("kept_bytes", "bytes that are kept until the far end acknowledges them"),
}

var keptMost = metrics.NewGauge("kept_budget_bytes",
	"bytes that may be kept until the far end acknowledges them")

func init() { SetKept(0, 0) }

// SetKept makes Kept so many bytes; 0 is the default, and less than that where the process has so
// many bytes of memory; 0 is unknown. It may be called at any time.
func SetKept(most, memory int64) {
	if most <= 0 {
		most = DefaultKept
		if memory > 0 {
			most = min(most, memory/keptOfMemory)
		}
	}
	Kept.most.Store(most)
	keptMost.Set(most)
}

// unreadMost returns how much may be kept when there are some who do not read.
func unreadMost() int64 { return min(Kept.Most(), Process.Most()/keptOfProcess) }

// KeptPlenty tells whether so little is kept that nobody needs to save.
func KeptPlenty() bool {
	most := unreadMost()
	return Kept.Taken() < max(most/keptPlentyPart, most-keptSpare)
}

// SpareFor returns how many bytes may be held for nobody in particular where most bytes have been
// kept of late, and may be again in a moment: to make them anew each time is dear.
func SpareFor(most int64) int64 {
	return Process.Spare() + max(min(most, unreadMost())-Kept.Taken(), 0)
}

// FreeForUnread returns how many bytes more may be kept for those who do not read.
func FreeForUnread() int64 { return max(0, min(unreadMost()-Kept.Taken(), Process.Free())) }

// IsUnreadTooMuch tells whether so much is kept, or held in all, that what is kept for those who do
// not read has to be given back.
func IsUnreadTooMuch() bool {
	return Kept.Taken() > unreadMost() || Kept.Taken()+Process.Taken() > Process.Most()
}

// keptOfMost returns how much of a Process of so many bytes is used up by what is kept.
func keptOfMost(most int64) int64 { return min(Kept.Taken(), most/keptOfProcess) }
