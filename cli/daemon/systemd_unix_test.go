//go:build unix

package daemon

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// TestSystemdThatDoesNotRead has no word wait for a systemd that is stopped. Once it goes on, it
// hears that the process is ready.
func TestSystemdThatDoesNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	told := func() string {
		got := make([]byte, 100)
		_ = l.SetReadDeadline(time.Now().Add(testkit.Patience))
		n, err := l.Read(got)
		if err != nil {
			t.Fatal(err)
		}
		return string(got[:n])
	}
	d := &Daemon{owed: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(t.Context())
	var insisting sync.WaitGroup
	insisting.Go(func() { d.insistReady(ctx) })
	defer insisting.Wait()
	defer stop()
	d.notifyReady()
	if got := told(); got != "READY=1" {
		t.Fatalf("told %q", got)
	}
	left := 10_000
	for ; left > 0 && notifySystemd("STATUS=full"); left-- {
	}
	if left == 0 {
		t.Fatal("there is always room")
	}
	d.notifyReady()
	for got := told(); got != "READY=1"; got = told() {
		if got != "STATUS=full" {
			t.Errorf("told %q", got)
		}
	}
	for notifySystemd("STATUS=full") { // until there is no room once more
	}
	d.notifyReady()
	stop() // and nobody waits for one who never goes on
	insisting.Wait()
}
