package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/cli/wording"
)

// maxWaiting is how many connections are named that are waited for.
const maxWaiting = 3

// sayWaiting tells who sits at the terminal why a role does not end yet, and what to do.
func sayWaiting(w io.Writer) func(daemon.Waiting) {
	return func(on daemon.Waiting) {
		if text := waitingText(on); text != "" {
			fmt.Fprintf(w, "sp: %s\n", text)
		}
	}
}

// waitingText is that in a line, empty if nothing is waited for.
func waitingText(on daemon.Waiting) string {
	n := on.Connections()
	if n == 0 || on.For <= 0 {
		return ""
	}
	var some []string
	for _, c := range on.Open[:min(len(on.Open), maxWaiting)] {
		how := "open for " + roughly(c.Open)
		if c.IdleKnown {
			how = "idle " + roughly(c.Idle)
		}
		some = append(some, c.To+", "+how)
	}
	if more := n - len(some); more > 0 && len(some) > 0 {
		some = append(some, fmt.Sprintf("and %d more", more))
	}
	text, them := fmt.Sprintf("waiting up to %s for %d connections", roughly(on.For), n), "them"
	if n == 1 {
		text, them = strings.TrimSuffix(text, "s"), "it"
	}
	if len(some) > 0 {
		text += " (" + strings.Join(some, "; ") + ")"
	}
	return text + "; again to cut " + them
}

// roughly is a duration as people say it.
func roughly(d time.Duration) string { return wording.Roughly(d) }
