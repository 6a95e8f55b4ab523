package report

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// twoBuilds has a build after that costs half as much, with a repetition that the
// build before does not have.
func twoBuilds() *Results {
	r := &Results{Rows: []Row{
		{Name: "sp", Before: "sp-before"},
		{Name: "sp-before"},
		{Name: "sp-relay", Before: "sp-relay-before"}, // not measured
	}}
	for rep, v := range []float64{1, 2, 3} {
		for _, metric := range []string{CPUUp, CPUDown} {
			r.Add(Key{"sp", metric, 1}, rep, v)
			r.Add(Key{"sp-before", metric, 1}, rep, 2*v)
		}
		r.Add(Key{"sp", IdleRSS, 1000}, rep, v)
		if rep > 0 {
			r.Add(Key{"sp-before", IdleRSS, 1000}, rep, float64(rep*5))
		}
	}
	return r
}

func TestComparison(t *testing.T) {
	var b strings.Builder
	if err := twoBuilds().WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	want := `
|  |  | before | after | after / before |
| --- | --- | --- | --- | --- |
| sp | CPU s/GiB, 1 stream | 4.00 (2.00–6.00) | 2.00 (1.00–3.00) | 0.500 (0.500–0.500) |
| sp | KiB per idle connection, 1000 | 7.50 (5.00–10.0) | 2.00 (1.00–3.00) | 0.350 (0.300–0.400) |
`
	if !strings.Contains(b.String(), want) {
		t.Errorf("no %s in\n%s", want, b.String())
	}
}

func TestComparisonInJSON(t *testing.T) {
	var b bytes.Buffer
	if err := twoBuilds().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var read struct{ Comparisons []comparison }
	if err := json.Unmarshal(b.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	if len(read.Comparisons) != 2 {
		t.Fatalf("%d comparisons, want 2", len(read.Comparisons))
	}
	c := read.Comparisons[1]
	want := spread{Median: 0.35, Min: 0.3, Max: 0.4, Samples: []float64{0.4, 0.3}}
	if c.Topology != "sp" || !reflect.DeepEqual(c.spread, want) {
		t.Errorf("%+v", c)
	}
}

// TestNoComparison: of one build there is nothing to compare.
func TestNoComparison(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "comparisons") {
		t.Error("a comparison of one build")
	}
}
