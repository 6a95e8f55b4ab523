//go:build unix

package test

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUrgentData has both sides send bytes of TCP's urgent data. They arrive in their place, as for
// an application that has asked for SO_OOBINLINE; that they were urgent does not.
func TestUrgentData(t *testing.T) {
	for name, p := range map[string]plan{"direct": {inlets: 1}, "relay": {relay: true, inlets: 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, target := newTopology(t, p).open()
			for _, way := range []struct{ from, to conn }{{client, target}, {target, client}} {
				urge(t, way.from, "!") // alone, and first
				receives(t, way.to, "!")
				send(t, way.from, "abc")
				urge(t, way.from, "?")
				send(t, way.from, "def")
				receives(t, way.to, "abc?def")
				urge(t, way.from, ".")
				halfClose(t, way.from)
				if rest, err := io.ReadAll(way.to); err != nil || string(rest) != "." {
					t.Errorf("the last urgent byte: %q, %v", rest, err)
				}
			}
		})
	}
}

// urge sends text, whose last byte is urgent.
func urge(t *testing.T, c conn, text string) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	sent := func(fd uintptr) bool {
		_, err = unix.SendmsgN(int(fd), []byte(text), nil, nil, unix.MSG_OOB)
		return err != unix.EAGAIN
	}
	if failed := raw.Write(sent); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
}
