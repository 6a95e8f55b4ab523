//go:build linux

package main_test

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSystemd checks what a unit with Type=notify and a watchdog is told: an inlet is ready only when its far end has
// answered, lives, and stops.
func TestSystemd(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	at, target := freeAddress(t), listen(t).Addr().String()

	inlet := u.command("inlet", "--listen", "127.0.0.1:0", "--to", at)
	inlet.Env = append(inlet.Env, "NOTIFY_SOCKET="+socket.LocalAddr().String(), "WATCHDOG_USEC=200000")
	p := background(t, inlet)
	told := func() string {
		b := make([]byte, 100)
		_ = socket.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := socket.Read(b)
		if err != nil {
			t.Fatalf("systemd was told nothing: %v", err)
		}
		return string(b[:n])
	}
	for range 2 {
		if got := told(); got != "WATCHDOG=1" {
			t.Fatalf("before the far end was there: %q", got)
		}
	}
	u.start("outlet", "--listen", at, "--target", target)
	ready(t, p)
	for got := told(); got != "READY=1"; got = told() {
		if got != "WATCHDOG=1" {
			t.Fatalf("in place of READY: %q", got)
		}
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for got := told(); !strings.HasPrefix(got, "STOPPING=1"); got = told() {
		if got != "WATCHDOG=1" {
			t.Fatalf("in place of STOPPING: %q", got)
		}
	}
	ends(t, p, 0)
}
