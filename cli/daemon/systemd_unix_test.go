//go:build unix

package daemon

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestSystemdThatDoesNotRead has no word wait for a systemd that is stopped.
func TestSystemdThatDoesNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	notifyReady()
	got := make([]byte, 100)
	if n, err := l.Read(got); err != nil || string(got[:n]) != "READY=1" {
		t.Fatalf("told %q, %v", got[:n], err)
	}
	for range 10_000 { // until there is no room
		began := time.Now()
		notifyStopping()
		if took := time.Since(began); took >= notifyTimeout {
			return
		}
	}
	t.Error("there is always room")
}
