package report

import (
	"fmt"
	"strings"
)

// idleGoal is the number of idle connections that the goals speak of.
const idleGoal = 5000

// A goal is a bound on a figure of sp, or on its ratio to another's.
type goal struct {
	what    string
	of      func(r *Results) Series
	atMost  bool
	bound   float64
	against string // "" if the bound is absolute
}

// goals are what sp was built to reach, in ratios to others in the same run.
var goals = []goal{
	versus("CPU, 1 stream", cpu(1), "sp", "ghostunnel", true, 0.70),
	versus("CPU, 8 streams", cpu(8), "sp", "ghostunnel", true, 0.70),
	versus("CPU, 1 stream", cpu(1), "sp", "copy+aead8", true, 1.10),
	versus("CPU, 8 streams", cpu(8), "sp", "copy+aead8", true, 1.10),
	versus("CPU, 1 stream", cpu(1), "sp-relay", "frp", true, 0.60),
	versus("CPU, 8 streams", cpu(8), "sp-relay", "frp", true, 0.60),
	versus("CPU, 1 stream", cpu(1), "sp-relay", "frp+ghostunnel", true, 0.45),
	versus("CPU, 8 streams", cpu(8), "sp-relay", "frp+ghostunnel", true, 0.45),
	versus("Gbit/s, 1 up", at(GbitUp, 1), "sp", "ghostunnel", false, 1.4),
	versus("Gbit/s, 1 down", at(GbitDown, 1), "sp", "ghostunnel", false, 1.4),
	versus("Gbit/s, 1 up", at(GbitUp, 1), "sp-relay", "frp", false, 1.8),
	versus("Gbit/s, 1 down", at(GbitDown, 1), "sp-relay", "frp", false, 1.8),
	versus("1 KiB p50", at(Trip, P50), "sp", "copy", true, 1.05),
	versus("1 KiB p99", at(Trip, P99), "sp", "copy", true, 1.05),
	versus("connections, one at a time", at(ConnRate, 1), "sp", "ssh", false, 1),
	versus("connections, 32 at once", at(ConnRate, 32), "sp", "ssh", false, 1),
	versus("connections, one at a time", at(ConnRate, 1), "sp", "ghostunnel", false, 4),
	versus("connections, 32 at once", at(ConnRate, 32), "sp", "ghostunnel", false, 4),
	versus("connections, one at a time", at(ConnRate, 1), "sp-relay", "frp", false, 1),
	versus("connections, 32 at once", at(ConnRate, 32), "sp-relay", "frp", false, 1),
	absolute("idle KiB at 5,000", at(IdleRSS, idleGoal), "sp", true, 30),
	absolute("idle KiB at 5,000", at(IdleRSS, idleGoal), "sp-relay", true, 45),
	absolute("lost of 5,000", at(IdleLost, idleGoal), "sp", true, 0),
	absolute("lost of 5,000", at(IdleLost, idleGoal), "sp-relay", true, 0),
	versus("1 KiB p99 beside an upload", at(TripBesideUp, P99), "sp", "ghostunnel", true, 1),
	versus("1 KiB p99 beside a download", at(TripBesideDn, P99), "sp", "ghostunnel", true, 1),
	absolute("Gbit/s over 1 Gbit/s, 100 ms, up", at(FarUp, 1), "sp", false, 0.9),
	absolute("Gbit/s over 1 Gbit/s, 100 ms, down", at(FarDown, 1), "sp", false, 0.9),
	absolute("Gbit/s over 1 Gbit/s, 100 ms, up", at(FarUp, 1), "sp-relay", false, 0.9),
	absolute("Gbit/s over 1 Gbit/s, 100 ms, down", at(FarDown, 1), "sp-relay", false, 0.9),
	absolute("Gbit/s over 1 Gbit/s, 100 ms, up", at(FarUp, 1), "sp-relay-mux", false, 0.9),
	absolute("Gbit/s over 1 Gbit/s, 100 ms, down", at(FarDown, 1), "sp-relay-mux", false, 0.9),
}

func versus(what string, of figureOf, ours, theirs string, atMost bool, bound float64) goal {
	return goal{
		what: ours + ": " + what, atMost: atMost, bound: bound, against: theirs,
		of: func(r *Results) Series {
			return Ratio(of(r, Row{Name: ours}), of(r, Row{Name: theirs}))
		},
	}
}

func absolute(what string, of figureOf, ours string, atMost bool, bound float64) goal {
	return goal{
		what: ours + ": " + what, atMost: atMost, bound: bound,
		of: func(r *Results) Series { return of(r, Row{Name: ours}) },
	}
}

// met compares the median with the bound.
func (g goal) met(s Summary) bool {
	if g.atMost {
		return s.Median <= g.bound
	}
	return s.Median >= g.bound
}

func (g goal) text() string {
	sign := "≥"
	if g.atMost {
		sign = "≤"
	}
	text := fmt.Sprintf("%s %g", sign, g.bound)
	if g.against != "" {
		text += " × " + g.against
	}
	return text
}

func (r *Results) writeGoals(b *strings.Builder) {
	first := true
	for _, g := range goals {
		s := g.of(r).Summary()
		if s.N == 0 {
			continue
		}
		if first {
			heading(b, "Goals", "Ratios are taken in each repetition; the median decides.")
			line(b, []string{"", "goal", "is", "met"})
			rule(b, 4)
			first = false
		}
		verdict := "no"
		if g.met(s) {
			verdict = "yes"
		}
		line(b, []string{g.what, g.text(), s.String(), verdict})
	}
}
