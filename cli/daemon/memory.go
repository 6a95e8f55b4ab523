package daemon

import (
	"os"
	"runtime/debug"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/budget"
)

// memory is how much of it there is, in bytes; 0 is unknown.
type memory struct {
	allowed int64 // by the process's control group
	machine int64
}

// kernelPart is the part of a limited memory that is left to the kernel, which counts what it keeps
// for the process's sockets, and to what the collector of garbage does not know of: a fourth.
const kernelPart = 4

// goMemoryLimit is the variable of Go's own limit, which goes before ours.
const goMemoryLimit = "GOMEMLIMIT"

// share says how much memory connections may take, and the collector of garbage may let be used.
func (m memory) share(n config.Node) {
	limit, _ := n.Limits.ParseMemory()
	if limit == 0 {
		limit = m.allowed
	}
	kept, _ := n.ParseSurviveMemory()
	budget.SetProcess(least(limit, m.machine))
	budget.SetKept(kept, least(limit, m.machine))
	if limit > 0 && os.Getenv(goMemoryLimit) == "" {
		debug.SetMemoryLimit(limit - limit/kernelPart)
	}
}

// least returns the lesser one of those that are known.
func least(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
