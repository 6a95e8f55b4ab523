//go:build unix

package netio

import (
	"context"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// What a guarded listener accepts is reset when the process is killed in the next moment.
func TestGuardedListenerAcceptsGuarded(t *testing.T) {
	l, err := GuardedListenConfig().Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := accepted.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		linger, err := unix.GetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER)
		if err != nil || linger.Onoff == 0 || linger.Linger != 0 {
			t.Errorf("linger %+v, %v", linger, err)
		}
	})
	_ = accepted.Close()
	if _, err := Wrap(dialed).Read(make([]byte, 1)); !IsReset(err) {
		t.Errorf("closed without more ado it ends with %v", err)
	}
}
