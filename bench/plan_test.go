//go:build linux

package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestMeasures(t *testing.T) {
	got, err := measures([]string{"scale", "cpu"})
	want := []string{"cpu", "streams", "sizes", "hops", "nested"}
	if err != nil || !slices.Equal(got, want) {
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
		"cpu, sp", "cpu, ghostunnel", "cpu, spiped", "cpu, splice", "cpu, splice3",
		"cpu, sp-bridge", "cpu, sp-relay", "cpu, sp-relay-mux",
		"cpu, sp-tls", "cpu, sp-ws", "cpu, sp-wss", "cpu, sp-quic", "cpu, sp-nats", "cpu, sp-kafka",
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
		{"-reps", "0"},
		{"-only", "nosuch"},
		{"-what", "nosuch"},
		{"-unknown"},
		{"extra"},
		{"-sp", "/nonexistent"},
		{"-sp-before", "/nonexistent"},
	} {
		if _, err := parse(args); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// TestJobsOfTwoBuilds: each job of sp is there with both builds, one after the other,
// and which goes first changes with each repetition.
func TestJobsOfTwoBuilds(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"-sp-before", self, "-only", "copy,sp,sp-relay", "-what", "cpu"})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"cpu, copy", "cpu, sp", "cpu, sp-before", "cpu, sp-relay", "cpu, sp-relay-before"},
		{"cpu, copy", "cpu, sp-before", "cpu, sp", "cpu, sp-relay-before", "cpu, sp-relay"},
	}
	list := jobs(o)
	for rep := range 4 {
		var got []string
		for _, j := range inTurn(list, rep) {
			got = append(got, j.String())
		}
		if !slices.Equal(got, want[rep%2]) {
			t.Errorf("repetition %d: %q, want %q", rep, got, want[rep%2])
		}
	}
}

// TestComparedByDefault: two builds of sp are compared by what the project promises.
func TestComparedByDefault(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"-quick", "-sp-before", self})
	if err != nil {
		t.Fatal(err)
	}
	only, what := strings.Join(o.only, ","), strings.Join(o.what, ",")
	if only != comparedTopologies || what != comparedMeasures || o.effort.settle != full.settle {
		t.Errorf("%s of %s, %+v", what, only, o.effort)
	}
}
