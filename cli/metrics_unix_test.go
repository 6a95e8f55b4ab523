//go:build unix

package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/metrics"
)

const metricsDocument = "../docs/metrics.md"

// TestMetricsDocument has docs/metrics.md list the metrics that there are, with their kinds, labels
// and what they count, and no others.
func TestMetricsDocument(t *testing.T) {
	text, err := os.ReadFile(metricsDocument)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| `") {
			listed = append(listed, strings.TrimSpace(line))
		}
	}
	there := metricRows()
	for _, row := range there {
		if !slices.Contains(listed, row) {
			t.Errorf("%s has no row\n%s", metricsDocument, row)
		}
	}
	for _, row := range listed {
		if !slices.Contains(there, row) {
			t.Errorf("%s has a row that is of no metric:\n%s", metricsDocument, row)
		}
	}
}

// metricRows are the rows of the table, one for each name.
func metricRows() (rows []string) {
	kinds := map[metrics.Kind]string{
		metrics.KindCounter: "counter", metrics.KindGauge: "gauge", metrics.KindHistogram: "histogram",
	}
	values := make(map[string][]string) // of a name's label
	var all []metrics.Sample
	add := func(s metrics.Sample) {
		for _, l := range s.Labels {
			id := s.Name + "," + l.Name
			if !slices.Contains(values[id], l.Value) {
				values[id] = append(values[id], l.Value)
			}
		}
		if len(all) == 0 || all[len(all)-1].Name != s.Name {
			all = append(all, s)
		}
	}
	metrics.Each(add)
	for _, s := range all {
		var labels []string
		for _, l := range s.Labels {
			known := strings.Join(values[s.Name+","+l.Name], ", ")
			labels = append(labels, l.Name+": "+known)
		}
		name := "sp_" + s.Name
		if strings.HasPrefix(s.Name, "process_") || strings.HasPrefix(s.Name, "go_") {
			name = s.Name
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |",
			name, kinds[s.Kind], strings.Join(labels, "; "), s.Help))
	}
	return rows
}
