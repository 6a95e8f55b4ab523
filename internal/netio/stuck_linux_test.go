package netio

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// Nobody reads, and the window is shut: that is no reason to be stuck. What arrives slowly is none either. The other way
// round takes a network that loses packets: see TestBigPacketsLost of package main.
func TestShutWindowIsNotStuck(t *testing.T) {
	a, b := socketPair(t, "tcp")
	_ = a.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	for {
		if _, err := a.Write(make([]byte, 1<<20)); err != nil {
			break
		}
	}
	for range 5 {
		if times := Stuck(a); times != 0 {
			t.Errorf("stuck %d times", times)
		}
	}
	_ = b.Close()
	_ = a.Close()
	if times := Stuck(a); times != 0 {
		t.Errorf("stuck %d times when closed", times)
	}
	x, y := net.Pipe()
	defer x.Close()
	defer y.Close()
	if times := Stuck(x); times != 0 {
		t.Errorf("a pipe is stuck %d times", times)
	}
}

// The other end of a connection does not end its direction, and that counts from when it could.
func TestUnended(t *testing.T) {
	a, b := socketPair(t, "tcp")
	look := func() int {
		_ = Stuck(a)
		return Unended(a)
	}
	if n := look(); n != 0 {
		t.Errorf("open: %d", n)
	}
	if _, err := a.Write(make([]byte, 100<<10)); err != nil {
		t.Fatal(err)
	}
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the end has arrived", func() bool { return look() > 0 })
	before := Unended(a)
	if n := look(); n != before+1 {
		t.Errorf("%d looks, and the next is %d", before, n)
	}
	// Nothing is lost if it is reset then.
	_ = Reset(a)
	if n, err := io.Copy(io.Discard, b); n != 100<<10 {
		t.Errorf("%d bytes are left, and %v", n, err)
	}
	c, d := socketPair(t, "tcp")
	_ = c.CloseWrite()
	_ = d.CloseWrite()
	testkit.ExpectEnd(t, c)
	_ = Stuck(c)
	if n := Unended(c); n != 0 {
		t.Errorf("both ended: %d", n)
	}
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
