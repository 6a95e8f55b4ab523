package telemetry

import (
	"bytes"
	"math"
	"strconv"

	"github.com/secureportal/sp/internal/metrics"
)

// contentType is of the text format of Prometheus.
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// prefix begins the names of what this program counts.
const prefix = "sp_"

// writer writes metrics in that format, those of one name one after the other.
type writer struct {
	bytes.Buffer
	last string // the name that was written last
}

// all writes the metrics of this process, and what more there is.
func (w *writer) all(more func(func(metrics.Sample))) {
	metrics.Each(w.sample)
	if more != nil {
		more(w.sample)
	}
}

// sample writes one metric.
func (w *writer) sample(s metrics.Sample) {
	name := s.Name
	if !isOfProcess(name) {
		name = prefix + name
	}
	if name != w.last {
		w.last = name
		w.WriteString("# HELP " + name + " ")
		w.escape(s.Help, false)
		w.WriteString("\n# TYPE " + name + " " + kinds[s.Kind] + "\n")
	}
	if s.Kind != metrics.KindHistogram {
		w.line(name, s.Labels, nil, s.Value)
		return
	}
	var count uint64
	for _, b := range s.Buckets {
		count = b.Count
		bound := metrics.Label{Name: "le", Value: number(b.Bound)}
		w.line(name+"_bucket", s.Labels, &bound, float64(count))
	}
	w.line(name+"_sum", s.Labels, nil, s.Value)
	w.line(name+"_count", s.Labels, nil, float64(count))
}

var kinds = map[metrics.Kind]string{
	metrics.KindCounter: "counter", metrics.KindGauge: "gauge", metrics.KindHistogram: "histogram",
}

// line writes a value. last may be nil.
func (w *writer) line(name string, labels []metrics.Label, last *metrics.Label, value float64) {
	w.WriteString(name)
	sign := byte('{')
	put := func(l metrics.Label) {
		w.WriteByte(sign)
		sign = ','
		w.WriteString(l.Name + `="`)
		w.escape(l.Value, true)
		w.WriteByte('"')
	}
	for _, l := range labels {
		put(l)
	}
	if last != nil {
		put(*last)
	}
	if sign == ',' {
		w.WriteByte('}')
	}
	w.WriteString(" " + number(value) + "\n")
}

// escape writes text, in which quotes are escaped where it stands in some.
func (w *writer) escape(text string, quoted bool) {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\\':
			w.WriteString(`\\`)
		case c == '\n':
			w.WriteString(`\n`)
		case c == '"' && quoted:
			w.WriteString(`\"`)
		default:
			w.WriteByte(c)
		}
	}
}

func number(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
