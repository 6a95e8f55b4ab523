package testkit

import (
	"os"
	"runtime/debug"

	"github.com/secureportal/sp/internal/testenv"
)

// garbagePercent is how much garbage there may be beside what tests use, in percent of that: to
// look for it again and again is up to a fifth of what they compute. Where all is tried it is
// collected as often as in sp, and so it is by whoever says how often.
const (
	garbagePercent   = 200
	garbagePercentGo = 100
)

func init() {
	if _, said := os.LookupEnv("GOGC"); !said {
		debug.SetGCPercent(testenv.OfRun(garbagePercent, garbagePercentGo, garbagePercentGo))
	}
}
