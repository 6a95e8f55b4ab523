//go:build linux

package proc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	line := "42 (a ) name) S 7 42 42 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 1 0 99 0 0"
	got, err := parseStat([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	want := stat{parent: 7, user: 50, system: 60, childUser: 70, childSystem: 80}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := parseStat([]byte("42 (x) S 1")); err == nil {
		t.Error("a short line was accepted")
	}
}

func TestParseRollup(t *testing.T) {
	data := "55dca-7ffd2 ---p 00000000 00:00 0  [rollup]\n" +
		"Rss:    1768 kB\nPss:     337 kB\nPss_Anon:  9 kB\n"
	got, err := parseRollup([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Memory{RSS: 1768, PSS: 337}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestSet runs a shell with a busy child: both must be counted, and both gone
// after Close.
func TestSet(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh")
	}
	s := &Set{Dir: t.TempDir()}
	p, err := s.Start(nil, shell, "-c", "sh -c 'while :; do :; done' & echo ready; wait")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if line, err := p.FirstLine(ctx); err != nil || line != "ready" {
		t.Fatalf("first line %q, %v", line, err)
	}
	before, err := s.CPU()
	if err != nil {
		t.Fatal(err)
	}
	for {
		after, err := s.CPU()
		if err != nil {
			t.Fatal(err)
		}
		if after.Sub(before).Total > 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the busy child costs nothing")
		}
		runtime.Gosched()
	}
	if m, err := s.Memory(); err != nil || m.RSS == 0 || m.PSS == 0 {
		t.Errorf("memory %+v, %v", m, err)
	}
	group := p.cmd.Process.Pid
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for syscall.Kill(-group, 0) == nil {
		if ctx.Err() != nil {
			t.Fatal("a process is left")
		}
		time.Sleep(pollInterval)
	}
}

func TestFirstLineOfAProcessThatEnds(t *testing.T) {
	s := &Set{Dir: t.TempDir()}
	defer s.Close()
	p, err := s.Start(nil, "/bin/false")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("no /bin/false")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.FirstLine(t.Context()); err == nil {
		t.Error("no error for a process that printed nothing")
	}
}
