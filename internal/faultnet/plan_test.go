package faultnet

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParsePlan(t *testing.T) {
	const text = "flip c2s msg 3 off -1 mask 0x80; delay s2c byte 0 for 50ms; " +
		"bandwidth c2s byte 7 rate 1000; drop s2c byte 9 len 4"
	want := Plan{
		{Kind: Flip, Unit: Message, At: 3, Off: -1, Mask: 0x80},
		{Kind: Delay, Dir: ServerToClient, For: 50 * time.Millisecond},
		{Kind: Bandwidth, At: 7, Rate: 1000},
		{Kind: Drop, Dir: ServerToClient, At: 9, Len: 4},
	}
	got, err := ParsePlan(text)
	if err != nil || !reflect.DeepEqual(got, want) || got.String() != text {
		t.Errorf("got %q, %v", got, err)
	}
	if p, err := ParsePlan(" ; "); p != nil || err != nil {
		t.Errorf("an empty plan gave %v, %v", p, err)
	}
}

func TestParsePlanRefuses(t *testing.T) {
	for _, text := range []string{
		"flip", "flip c2s byte", "explode c2s byte 1", "flip up byte 1", "flip c2s bit 1",
		"flip c2s byte x", "flip c2s byte -1", "flip c2s byte 1 off", "flip c2s byte 1 mask 256",
		"flip c2s byte 1 size 2", "delay c2s byte 1 for soon", "drop c2s byte 1 len 2000000",
		"drop c2s byte 1 len 4; flip c2s byte 4", "reorder c2s byte 0 len 2; cut c2s byte 3",
		"flip c2s byte 1; drop c2s byte 1",
	} {
		if p, err := ParsePlan(text); err == nil {
			t.Errorf("%q gave %q", text, p)
		}
	}
}

func TestRandomPlan(t *testing.T) {
	seen := make(map[Kind]bool)
	for seed := range uint64(2000) {
		p := RandomPlan(seed, RandomOptions{})
		if err := p.Validate(); err != nil || len(p) == 0 {
			t.Fatalf("seed %d: %q, %v", seed, p, err)
		}
		if !reflect.DeepEqual(p, RandomPlan(seed, RandomOptions{})) {
			t.Fatalf("seed %d gives two plans", seed)
		}
		for _, f := range p {
			seen[f.Kind] = true
		}
	}
	if len(seen) != len(kinds) {
		t.Errorf("only %v in 2000 plans", seen)
	}
	for _, f := range RandomPlan(1, RandomOptions{
		Kinds: []Kind{Drop}, Unit: Message, Faults: 50,
		Span: 4,
	}) {
		if f.Kind != Drop || f.Unit != Message || f.At >= 4 {
			t.Errorf("%s is not what was asked for", f)
		}
	}
}

// seedTB keeps what Seeds says.
type seedTB struct {
	failed     bool
	log, fatal strings.Builder
}

func (*seedTB) Helper()                        {}
func (*seedTB) Name() string                   { return "TestX" }
func (b *seedTB) Failed() bool                 { return b.failed }
func (b *seedTB) Logf(f string, args ...any)   { fmt.Fprintf(&b.log, f, args...) }
func (b *seedTB) Fatalf(f string, args ...any) { fmt.Fprintf(&b.fatal, f, args...) }

func TestSeeds(t *testing.T) {
	t.Setenv(SeedVariable, "")
	var tb seedTB
	seen := make(map[uint64]bool)
	for seed := range Seeds(&tb, 5) {
		seen[seed] = true
	}
	if len(seen) != 5 || tb.log.Len() > 0 {
		t.Errorf("seeds %v, logged %q", seen, &tb.log)
	}
	var last uint64
	for last = range Seeds(&tb, 5) {
		if tb.failed {
			t.Error("it goes on after a failure")
		}
		tb.failed = true
	}
	if !strings.Contains(tb.log.String(), fmt.Sprintf("%s=%d go test -run '^TestX$'", SeedVariable,
		last)) {
		t.Errorf("seed %d, logged %q", last, &tb.log)
	}
	tb = seedTB{}
	func() {
		defer func() {
			if p := recover(); p != "stuck" || !strings.Contains(tb.log.String(), SeedVariable) {
				t.Errorf("a panic: %v, logged %q", p, &tb.log)
			}
		}()
		for range Seeds(&tb, 5) {
			panic("stuck")
		}
	}()

	t.Setenv(SeedVariable, "42")
	if got := slices.Collect(Seeds(&seedTB{}, 9)); !reflect.DeepEqual(got, []uint64{42}) {
		t.Errorf("got %v from the environment", got)
	}
	t.Setenv(SeedVariable, "many")
	if got := slices.Collect(Seeds(&tb, 1)); got != nil || tb.fatal.Len() == 0 {
		t.Error("a bad seed was taken")
	}
}
