package budget

import "github.com/secureportal/sp/internal/metrics"

// DefaultKept is the most bytes that a process keeps for the other ends of its connections that
// have not acknowledged them, if nobody has said otherwise.
const DefaultKept = 256 << 20

// keptOfMemory is the part of a process's memory that may be kept so: an eighth.
const keptOfMemory = 8

// Kept is the budget of what a process's connections have sent and the other end has not
// acknowledged: it is sent again if the link is lost. It is apart from Process, for nobody who
// reads makes it less.
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
