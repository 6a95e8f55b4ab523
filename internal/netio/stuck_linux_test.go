package netio

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/testkit"
)

// Nobody reads, and the window is shut: that is no reason to be stuck. What arrives slowly is none
// either. The other way round takes a network that loses packets: see TestBigPacketsLost of package
// main.
func TestShutWindowIsNotStuck(t *testing.T) {
	a, b := socketPair(t, "tcp")
	fill(a)
	for range 5 {
		if times, sending := Stuck(a); times != 0 || !sending {
			t.Errorf("stuck %d times, sending: %v", times, sending)
		}
	}
	_ = b.Close()
	_ = a.Close()
	if times, _ := Stuck(a); times != 0 {
		t.Errorf("stuck %d times when closed", times)
	}
	x, y := net.Pipe()
	defer x.Close()
	defer y.Close()
	if times, _ := Stuck(x); times != 0 {
		t.Errorf("a pipe is stuck %d times", times)
	}
}

// What is lost, and nothing but that, is a reason to be stuck: not what was lost by the way before
// the reader's window was shut, and is sent to it again in vain. That is stuck again once the
// reader answers no more.
func TestLossBehindShutWindow(t *testing.T) {
	a, b := socketPair(t, "tcp")
	defer a.Close()
	defer b.Close()
	testkit.Write(t, a, make([]byte, 40_000)) // more than b has room for later
	testkit.Eventually(t, "it has arrived", func() bool { _, sending := Stuck(a); return !sending })
	deaf(t, b, true)
	testkit.Write(t, a, make([]byte, 40_000))
	stuck := func(what string, enough func(times int) bool) {
		t.Helper()
		testkit.Eventually(t, what, func() bool { times, _ := Stuck(a); return enough(times) })
	}
	stuck("what is lost is noticed", func(times int) bool { return times > 3 })

	control(t, b, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
	})
	deaf(t, b, false)
	stuck("the window is shut, and it is asked for room", func(times int) bool {
		return times == 0 && tcpInfo(t, a).Retransmits > 0
	})
	for range 5 {
		if times, sending := Stuck(a); times != 0 || !sending {
			t.Fatalf("stuck %d times, sending: %v: %+v", times, sending, tcpInfo(t, a))
		}
	}

	deaf(t, b, true)
	stuck("nobody answers any more", func(times int) bool { return times > 3 })
}

// deaf has a socket hear nothing that comes to it, as if the network had lost it, or hear again.
func deaf(t *testing.T, s *Socket, yes bool) {
	t.Helper()
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	control(t, s, func(fd int) error {
		if yes {
			return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
				&unix.SockFprog{Len: 1, Filter: &nothing})
		}
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	})
}

func tcpInfo(t *testing.T, s *Socket) (info *unix.TCPInfo) {
	t.Helper()
	control(t, s, func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	return info
}

func control(t *testing.T, s *Socket, does func(fd int) error) {
	t.Helper()
	var err error
	if e := s.raw.Control(func(fd uintptr) { err = does(int(fd)) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
}

// A connection on which nothing is on its way is not asked about again before something is sent.
func TestNoteSends(t *testing.T) {
	a, b := socketPair(t, "tcp")
	var sent atomic.Int32
	NoteSends(a, &Note{Do: func() { sent.Add(1) }})
	settled := func() bool { _, sending := Stuck(a); return !sending }
	for i, send := range []func() error{
		func() error { _, err := a.Write([]byte("hello")); return err },
		func() error {
			_, err := WriteBuffers(a, &net.Buffers{[]byte("hel"), []byte("lo")})
			return err
		},
		a.CloseWrite,
	} {
		testkit.Eventually(t, "what was sent has arrived", settled)
		if err := send(); err != nil {
			t.Fatal(err)
		}
		if n := sent.Load(); n != int32(i+1) {
			t.Errorf("told %d times of %d that something is sent", n, i+1)
		}
	}
	_ = b.Close()
}

// What the kernel tells of a Multipath TCP socket is about its first path only.
func TestListenConfigIsSinglePath(t *testing.T) {
	c := ListenConfig()
	if c.MultipathTCP() {
		t.Error("it listens for Multipath TCP")
	}
	l, err := c.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan bool, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			accepted <- false
			return
		}
		multi, _ := conn.(*net.TCPConn).MultipathTCP()
		_ = conn.Close()
		accepted <- multi
	}()
	d := net.Dialer{}
	d.SetMultipathTCP(true)
	conn, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if <-accepted {
		t.Error("a connection has several paths")
	}
}
