//go:build linux

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
)

// TestMain lets this binary be the helpers that the bench starts itself as.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && helpers[os.Args[1]] != nil {
		if err := dispatch(context.Background(), os.Args[1:]); err != nil {
			os.Exit(exitFailed)
		}
		return
	}
	os.Exit(m.Run())
}

var tiny = effort{
	warmup:    testenv.OfRun[int64](64<<10, 1<<20, 1<<20),
	transfer:  time.Millisecond,
	far:       time.Millisecond,
	trips:     20,
	tripTime:  time.Second,
	loaded:    true,
	bulkStart: time.Millisecond,
	churn:     20,
	churnTime: time.Second,
	idle:      []int{1, 2, 3},
	idleTrips: 20,
	streams:   []int{1, 2, 3},
	writes:    []int{10, 100, 1000},
	hops:      []int{1, 2, 3},
}

// TestEverything measures what needs no other program than this one, and wants
// every table and plot and nothing left in the temporary directory.
func TestEverything(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	out := filepath.Join(t.TempDir(), "out")
	err := measureAll(t.Context(), options{
		reps: 1, effort: tiny, what: measureNames, out: out,
		only: []string{"none", "splice", "copy", "copy+aead3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(out, "table.md"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(table), "Not measured") {
		t.Errorf("something was not measured:\n%s", table)
	}
	for _, want := range []string{"| copy+aead3 | limit", "CPU by size of a write", "hops"} {
		if !strings.Contains(string(table), want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	plots, err := filepath.Glob(filepath.Join(out, "*.svg"))
	if err != nil || len(plots) != 17 {
		t.Errorf("%d plots %q, %v", len(plots), plots, err)
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestInterrupted: what runs breaks off, and what was measured is written.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	endless := tiny
	endless.trips, endless.tripTime = 1_000_000_000, time.Hour
	began := time.Now()
	err := measureAll(ctx, options{
		reps: 1, effort: endless, what: []string{"latency"}, only: []string{"copy"},
	})
	if took := time.Since(began); err == nil || took > endless.tripTime/2 {
		t.Errorf("after %v: %v", took, err)
	}
}

// TestTwoBuilds compares sp with itself, direct and through a relay, and wants every
// ratio.
func TestTwoBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("builds sp")
	}
	dir := t.TempDir()
	sp := filepath.Join(dir, "sp-built")
	// What run has linked is kept, unlike what build has.
	build := exec.CommandContext(t.Context(), "go", "run", "-ldflags=-s -w", "-exec", "cp",
		module, sp)
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	o, err := parse([]string{"-quick", "-reps", "1", "-sp", sp, "-sp-before", sp, "-out", dir})
	if err != nil {
		t.Fatal(err)
	}
	o.effort = tiny
	o.effort.loaded = comparing.loaded
	if err := measureAll(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(dir, "table.md"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(table), "Not measured") {
		t.Errorf("something was not measured:\n%s", table)
	}
	for _, topology := range []string{"sp", "sp-relay"} {
		for _, figure := range []string{
			"CPU s/GiB, 1 stream", "CPU s/GiB, 8 streams", "1 KiB there and back",
			"new connections a second, one at a time", "new connections a second, 32 at once",
			"KiB per idle connection",
		} {
			if want := "| " + topology + " | " + figure; !strings.Contains(string(table), want) {
				t.Errorf("no %q in\n%s", want, table)
			}
		}
	}
}
