package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// recorder is a testing.TB that keeps how the test was ended.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Helper()          {}
func (r *recorder) Skip(args ...any) { r.skipped = fmt.Sprint(args...); runtime.Goexit() }

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// run calls f as a test would be run, and returns how f ended it.
func run(t *testing.T, f func(testing.TB)) *recorder {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

func TestSkip(t *testing.T) {
	skip := func(t testing.TB) { Skip(t, "no such thing") }

	t.Setenv("SP_CI", "")
	if r := run(t, skip); r.skipped != "no such thing" || r.failed != "" {
		t.Errorf("without SP_CI: skipped %q, failed %q", r.skipped, r.failed)
	}
	t.Setenv("SP_CI", "1")
	if r := run(t, skip); r.skipped != "" || !strings.HasPrefix(r.failed, "no such thing: ") {
		t.Errorf("with SP_CI=1: skipped %q, failed %q", r.skipped, r.failed)
	}
}

func TestNeedTool(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the mode of a file does not make it a program") // so is not a need to be met
	}
	t.Setenv("SP_CI", "")
	onPath, sbin := t.TempDir(), t.TempDir()
	t.Setenv("PATH", onPath)
	defer func(dirs []string) { toolDirs = dirs }(toolDirs)
	toolDirs = []string{filepath.Join(sbin, "*")}

	program(t, filepath.Join(onPath, "both"), 0o755)
	program(t, filepath.Join(sbin, "14", "both"), 0o755)
	program(t, filepath.Join(sbin, "14", "daemon"), 0o755)
	program(t, filepath.Join(sbin, "15", "daemon"), 0o755)
	program(t, filepath.Join(sbin, "15", "text"), 0o644)

	for name, want := range map[string]string{
		"both":   filepath.Join(onPath, "both"),
		"daemon": filepath.Join(sbin, "15", "daemon"),
		"text":   "",
		"absent": "",
	} {
		var got string
		r := run(t, func(t testing.TB) { got = NeedTool(t, name) })
		if got != want || (want == "") != (r.skipped != "") {
			t.Errorf("NeedTool(%q) = %q, want %q; skipped: %q", name, got, want, r.skipped)
		}
	}
}

func TestNeedRoot(t *testing.T) {
	t.Setenv("SP_CI", "")
	r := run(t, NeedRoot)
	if root := os.Geteuid() == 0; root == (r.skipped != "") {
		t.Errorf("root: %v, skipped: %q", root, r.skipped)
	}
}

// NeedNetns depends on the kernel and on the container, so what is tested is that it gives a
// reason.
func TestNeedNetns(t *testing.T) {
	t.Setenv("SP_CI", "")
	r := run(t, NeedNetns)
	if r.skipped != "" && !strings.HasPrefix(r.skipped, "needs ") {
		t.Errorf("skipped: %q", r.skipped)
	}
	if r.failed != "" {
		t.Errorf("failed: %q", r.failed)
	}
}

func program(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
		t.Fatal(err)
	}
}
