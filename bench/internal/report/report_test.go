package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSummary(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   Summary
	}{
		{nil, Summary{}},
		{[]float64{3}, Summary{3, 3, 3, 1}},
		{[]float64{9, 1, 5}, Summary{5, 1, 9, 3}},
		{[]float64{4, 1, 3, 2}, Summary{2.5, 1, 4, 4}},
	} {
		s := make(Series)
		for rep, v := range test.values {
			s[rep] = v
		}
		if got := s.Summary(); got != test.want {
			t.Errorf("%v: %+v, want %+v", test.values, got, test.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	var sorted []time.Duration
	for i := range 1000 {
		sorted = append(sorted, time.Duration(i+1))
	}
	for p, want := range map[float64]time.Duration{0: 1, 0.5: 500, 0.99: 990, 0.999: 999, 1: 1000} {
		if got := Percentile(sorted, p); got != want {
			t.Errorf("p%v is %d, want %d", p, got, want)
		}
	}
	if got := Percentile(sorted[:1], 0.999); got != 1 {
		t.Errorf("of one value: %d", got)
	}
	if got := Percentile(nil, 0.5); got != 0 {
		t.Errorf("of none: %d", got)
	}
}

// TestRatioIsPaired: a repetition that only one side has, or that divides by
// zero, has no ratio.
func TestRatioIsPaired(t *testing.T) {
	got := Ratio(Series{0: 6, 1: 8, 2: 5, 3: 1}, Series{0: 3, 2: 10, 3: 0, 4: 7})
	if want := (Series{0: 2, 2: 0.5}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0612: "0.061", 2.244: "2.24", 29.84: "29.8", 9793.4: "9793",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}

func TestAxis(t *testing.T) {
	linear := axis{least: 0, most: 10, from: 100, to: 200}
	if got := linear.pixel(2.5); got != 125 {
		t.Errorf("2.5 is at %v", got)
	}
	if got, want := linear.ticks(), []float64{0, 2, 4, 6, 8, 10}; !reflect.DeepEqual(got, want) {
		t.Errorf("ticks %v, want %v", got, want)
	}
	upside := axis{least: 1, most: 100, from: 300, to: 100, log: true}
	if got := upside.pixel(10); math.Abs(got-200) > 1e-9 {
		t.Errorf("10 is at %v", got)
	}
	round := []float64{1, 2, 5, 10, 20, 50, 100}
	if got := upside.ticks(); !reflect.DeepEqual(got, round) {
		t.Errorf("ticks %v, want %v", got, round)
	}
	if got := (axis{least: 1, most: 1e4, log: true}).ticks(); len(got) != 5 {
		t.Errorf("ticks %v of a wide range", got)
	}
	if got := linear.within(1000); got != 200 {
		t.Errorf("beyond the axis is at %v", got)
	}
	if got := (axis{least: 5, most: 5, from: 7, to: 9}).pixel(5); got != 7 {
		t.Errorf("a single value is at %v", got)
	}
}

// sample has a figure for everything that is shown; ghostunnel costs twice sp.
func sample() *Results {
	r := &Results{
		Host: Host{
			CPU: "a processor", Cores: 2, Kernel: "6", Go: "go1", Repetitions: 3,
			AESInstructions: []string{"aes", "pmull"}, AES256GCM: 5.678, ChaCha20Poly1305: 1.234,
		},
		Rows: []Row{
			{Name: "sp", About: "sp, direct", Cipher: "AES-256-GCM"},
			{Name: "ghostunnel", About: "TLS <1.3> & Go", Cipher: "AES-128-GCM"},
			{Name: "stunnel", About: "not here", Cipher: "AES-256-GCM"},
		},
		Failures: []string{"stunnel: not here"},
	}
	for rep := range 3 {
		for i, name := range []string{"sp", "ghostunnel"} {
			v := float64(i+1) * (1 + float64(rep)/10)
			for _, metric := range []string{CPUUp, CPUDown, UserUp, UserDown, GbitUp, GbitDown} {
				for _, streams := range []int{1, 8, 64} {
					r.Add(Key{name, metric, streams}, rep, v)
				}
			}
			for _, n := range []int{10, 1000, idleGoal} {
				r.Add(Key{name, IdleRSS, n}, rep, 20*v)
				r.Add(Key{name, IdlePSS, n}, rep, 10*v)
			}
			r.Add(Key{name, IdleLost, idleGoal}, rep, float64(i))
			r.Add(Key{name, ConnRate, 1}, rep, 1000/v)
		}
	}
	return r
}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	if err := sample().WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"a processor, 2 cores, AES instructions aes, pmull; one core seals records of 64 KiB " +
			"at 5.68 GB/s with AES-256-GCM and at 1.23 GB/s with ChaCha20-Poly1305.",
		"| sp | AES-256-GCM |\n| ghostunnel | AES-128-GCM |\n\n",
		"| sp | sp, direct | 1.10 (1.00–1.20) | 1.10 (1.00–1.20) | 0.500 (0.500–0.500) |",
		"| sp: CPU, 1 stream | ≤ 0.7 × ghostunnel | 0.500 (0.500–0.500) | yes |",
		"| sp: connections, one at a time | ≥ 4 × ghostunnel | 2.00 (2.00–2.00) | no |",
		"| ghostunnel | TLS <1.3> & Go | 44.0 [22.0] | 44.0 [22.0] | 44.0 [22.0] | 1 of 5000 |",
		"### CPU by number of streams, CPU s/GiB",
		"- stunnel: not here",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestHostWithoutAES(t *testing.T) {
	if got := (Host{CPU: "old"}).String(); !strings.Contains(got, "old, 0 cores, no AES instr") {
		t.Error(got)
	}
}

func TestMarkdownOfNothing(t *testing.T) {
	var b strings.Builder
	if err := (&Results{}).WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "|") {
		t.Errorf("a table of nothing:\n%s", b.String())
	}
}

// TestWrite checks that what is written can be read: JSON with every sample, and
// plots that are XML.
func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	if err := sample().Write(dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var read struct{ Figures []figure }
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	if n := len(read.Figures); n != 52 || len(read.Figures[0].Samples) != 3 {
		t.Errorf("%d figures, the first %+v", n, read.Figures[0])
	}
	plots, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil || len(plots) != 8 {
		t.Errorf("plots %v, %v", plots, err)
	}
	for _, path := range plots {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		checkPlot(t, filepath.Base(path), string(data))
	}
}

func checkPlot(t *testing.T, name, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, svg)
		}
	}
	for _, bad := range []string{"NaN", "Inf", `width="-`} {
		if strings.Contains(svg, bad) {
			t.Errorf("%s has %s", name, bad)
		}
	}
	if !strings.Contains(svg, ">ghostunnel<") || !strings.Contains(svg, "prefers-color-scheme") {
		t.Errorf("%s lacks a name or its colours:\n%s", name, svg)
	}
}

func TestCount(t *testing.T) {
	for v, want := range map[int]string{
		1: "1", 64: "64", 4096: "4 Ki", 1 << 20: "1 Mi", 10000: "10 k", 9900: "9900",
	} {
		if got := count(v); got != want {
			t.Errorf("%d is %q, want %q", v, got, want)
		}
	}
}
