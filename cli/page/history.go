package page

import (
	"slices"
	"strings"
	"time"

	"github.com/secureportal/sp/internal/metrics"
)

const (
	kept   = 10 * time.Minute        // how far back the history goes
	step   = 1900 * time.Millisecond // between two samples of it, at least
	nearly = 15 * time.Second        // at most: what has been since is as it is now
	recent = time.Minute             // what has failed within is wrong now
)

// sample is what had been counted at one moment.
type sample struct {
	at       time.Time
	carried  [directions]float64 // bytes
	opened   float64             // connections
	open     float64
	failures []failure
}

// The directions of bytes.
const (
	toService = iota
	toClient
	directions
)

// failure is something that went wrong, and how often. Its text is this program's own.
type failure struct {
	name  string // of the metric
	what  string
	count float64
}

// failing are the metrics that count what goes wrong, in the order in which they are shown. Of
// handshakes it is those that did not come to an end.
var failing = []string{
	"outlet_refusals_total", "inlet_failures_total", "connections_refused_total",
	"link_dials_failed_total", "handshakes_total", "handshakes_refused_total",
	"requests_refused_total", "links_refused_total", "links_displaced_total", "links_stuck_total",
	"flows_resumed_total", "path_changes_total", "paths_suspected_total",
}

// failedOpening are those of them that an application has felt.
var failedOpening = failing[:3]

// takeSample reads the metrics of this process.
func takeSample(at time.Time) sample {
	s := sample{at: at}
	metrics.Each(func(m metrics.Sample) {
		switch m.Name {
		case "bytes_total":
			if label(m, "direction") == "to_service" {
				s.carried[toService] += m.Value
			} else {
				s.carried[toClient] += m.Value
			}
		case "connections_total":
			s.opened += m.Value
		case "connections_open":
			s.open += m.Value
		}
		if slices.Contains(failing, m.Name) && label(m, "outcome") != "done" {
			s.failures = append(s.failures, failure{m.Name, counted(m), m.Value})
		}
	})
	return s
}

func label(m metrics.Sample, name string) string {
	for _, l := range m.Labels {
		if l.Name == name {
			return l.Value
		}
	}
	return ""
}

// counted says what a metric counts.
func counted(m metrics.Sample) string {
	text := m.Help
	if m.Name == "handshakes_total" {
		text = "handshakes that failed"
	}
	var labels []string
	for _, l := range m.Labels {
		labels = append(labels, l.Value)
	}
	if len(labels) > 0 {
		text += ": " + strings.Join(labels, ", ")
	}
	return text
}

// failed is how many connections of applications could not be opened.
func (s sample) failed() (n float64) {
	for _, f := range s.failures {
		if slices.Contains(failedOpening, f.name) {
			n += f.count
		}
	}
	return n
}

// history is samples of the last minutes, and the one before. They are those of moments when
// somebody looked.
type history struct{ all []sample }

// add takes a sample, unless there is one of about the same time.
func (h *history) add(s sample) {
	if n := len(h.all); n > 0 && s.at.Sub(h.all[n-1].at) < step {
		return
	}
	old := 0
	for old+1 < len(h.all) && s.at.Sub(h.all[old+1].at) > kept {
		old++
	}
	h.all = append(slices.Delete(h.all, 0, old), s)
}

// within returns the oldest sample that is no older than d, and whether it says anything about now.
func (h *history) within(d time.Duration, now sample) (sample, bool) {
	for _, s := range h.all {
		if age := now.at.Sub(s.at); age <= d {
			return s, age >= step
		}
	}
	return now, false
}

// lately returns the last sample before now that is old enough to tell how it is now, and whether
// it is not too old for that.
func (h *history) lately(now sample) (sample, bool) {
	for _, s := range slices.Backward(h.all) {
		if age := now.at.Sub(s.at); age >= step {
			return s, age <= nearly
		}
	}
	return now, false
}

// since returns what has failed within d, the least number of times being 1.
func (h *history) since(d time.Duration, now sample) (all []failure) {
	before, ok := h.within(d, now)
	if !ok {
		return nil
	}
	for i, f := range now.failures {
		if i < len(before.failures) {
			f.count -= before.failures[i].count
		}
		if f.count > 0 {
			all = append(all, f)
		}
	}
	return all
}
