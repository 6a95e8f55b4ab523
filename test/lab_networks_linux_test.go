package test

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace does work on a thread in a network namespace, where the sockets that it makes stay.
// The thread goes back: were it to end, the kernel would end the processes that it has started for
// other tests.
func inNamespace(t testing.TB, namespace string, work func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	enter := func(path string) (leave func()) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			defer f.Close()
			if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
				panic(err) // nobody else may have this thread
			}
		}
	}
	back := enter("/proc/thread-self/ns/net")
	defer back()
	enter("/run/netns/" + namespace)()
	work()
}
