// Package testenv says what a test needs of the machine it runs on.
//
// A test that drives nginx, or makes a network namespace, begins with the need:
//
//	nginx := testenv.NeedTool(t, "nginx")
//
// Where the need is not met the test is skipped, so that go test works anywhere. Continuous
// integration sets SP_CI=1, and there it fails: a check that silently stopped running is worse than
// one that fails.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// toolDirs are where Debian keeps programs that are not on every user's PATH. They may be patterns.
var toolDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/postgresql/*/bin"}

// CI reports whether this run must not skip anything: SP_CI=1 in the environment.
func CI() bool { return os.Getenv("SP_CI") == "1" }

// Full reports whether tests take their long form: SP_FULL=1 in the environment. It wants a quiet
// machine and some minutes, and finds what takes many tries, or much of something; the short form
// runs every time. A test that has a long form says so in its comment, and .ci/run runs what of it
// fits.
func Full() bool { return os.Getenv("SP_FULL") == "1" }

// OfFull returns one of two sizes of a test: long where [Full] is true.
func OfFull[T any](short, long T) T {
	if Full() {
		return long
	}
	return short
}

// OfRun returns one of three sizes of a test: full where [Full] is true, ci where [CI] is, and
// otherwise everyday, which is for the README's command on a small machine.
func OfRun[T any](everyday, ci, full T) T {
	if CI() {
		return OfFull(ci, full)
	}
	return OfFull(everyday, full)
}

// Skip ends t as skipped, or as failed where [CI] is true. The reason says what is missing.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if CI() {
		t.Fatalf("%s: a skip is a failure with SP_CI=1", reason)
	}
	t.Skip(reason)
}

// NeedTool returns the path of a program, or skips. It looks in PATH, then where Debian keeps
// daemons and PostgreSQL.
func NeedTool(t testing.TB, name string) string {
	t.Helper()
	path, ok := findTool(name)
	if !ok {
		Skip(t, "needs the program "+name)
	}
	return path
}

// NeedRoot skips unless the test runs as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "needs root")
	}
}

// NeedNetns skips unless the test can make network namespaces and configure them: Linux, root that
// is not confined by a container, and ip(8).
func NeedNetns(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		Skip(t, "needs Linux network namespaces")
	}
	NeedRoot(t)
	NeedTool(t, "ip")
	unshare := NeedTool(t, "unshare")
	if out, err := exec.Command(unshare, "--net", "--mount", "true").CombinedOutput(); err != nil {
		Skip(t, "needs to make network namespaces: "+string(out))
	}
}

func findTool(name string) (string, bool) {
	if path, err := exec.LookPath(name); err == nil {
		return path, true
	}
	for _, dir := range toolDirs {
		found, _ := filepath.Glob(filepath.Join(dir, name))
		for i := len(found) - 1; i >= 0; i-- { // of several versions, the last
			if path, err := exec.LookPath(found[i]); err == nil {
				return path, true
			}
		}
	}
	return "", false
}
