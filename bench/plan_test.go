//go:build linux

package main

import (
	"errors"
	"slices"
	"testing"
)

func TestMeasures(t *testing.T) {
	got, err := measures([]string{"scale", "cpu"})
	if want := []string{"cpu", "streams", "sizes", "hops", "nested"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := measures([]string{"beauty"}); !errors.Is(err, errUsage) {
		t.Errorf("an unknown measure: %v", err)
	}
}

func TestJobs(t *testing.T) {
	o, err := parse([]string{"-quick", "-only", "sp*,ghostunnel", "-what", "cpu,hops"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range jobs(o) {
		got = append(got, j.String())
	}
	want := []string{
		"cpu, sp", "cpu, ghostunnel", "cpu, spiped", "cpu, splice", "cpu, splice3", "cpu, sp-bridge", "cpu, sp-relay", "cpu, sp-relay-mux",
		"hops 1, splice", "hops 2, splice", "hops 4, splice", "hops 8, splice",
		"hops 1, sp-bridge", "hops 2, sp-bridge", "hops 4, sp-bridge", "hops 8, sp-bridge",
		"hops 1, sp-relay", "hops 2, sp-relay", "hops 4, sp-relay", "hops 8, sp-relay",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBadFlags(t *testing.T) {
	for _, args := range [][]string{
		{"-reps", "0"}, {"-only", "nosuch"}, {"-what", "nosuch"}, {"-unknown"}, {"extra"},
	} {
		if _, err := parse(args); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
