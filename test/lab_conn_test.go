//go:build unix

package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
)

// conn is a TCP or Unix connection.
type conn interface {
	net.Conn
	CloseWrite() error
}

// listen listens on a free port until the test ends.
func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	return testkit.Listen(t).(*net.TCPListener)
}

// networkOf returns the network and the address of unix:PATH or host:port.
func networkOf(where string) (network, address string) {
	if path, ok := strings.CutPrefix(where, "unix:"); ok {
		return "unix", path
	}
	return "tcp", where
}

// dialWhere connects to unix:PATH or host:port, with a deadline that only a failing test meets.
func dialWhere(where string) (conn, error) {
	network, address := networkOf(where)
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(conn), nil
}

// dial is dialWhere, and closes the connection when the test ends.
func dial(t testing.TB, where string) conn {
	t.Helper()
	c, err := dialWhere(where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// accept takes the next connection, with a deadline that only a failing test meets, and closes it
// when the test ends.
func accept(t testing.TB, l *net.TCPListener) *net.TCPConn {
	t.Helper()
	_ = l.SetDeadline(time.Now().Add(patience))
	c, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// send writes text.
func send(t testing.TB, c net.Conn, text string) {
	t.Helper()
	testkit.Write(t, c, text)
}

// receives reads exactly text.
func receives(t testing.TB, c net.Conn, text string) {
	t.Helper()
	testkit.Expect(t, c, text)
}

// receivesEnd reads the end, and nothing before it.
func receivesEnd(t testing.TB, c net.Conn) {
	t.Helper()
	testkit.ExpectEnd(t, c)
}

// halfClose ends c's sending direction.
func halfClose(t testing.TB, c conn) {
	t.Helper()
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// echoes sends text and expects it back.
func echoes(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != text {
		return fmt.Errorf("%q came back for %q: %w", got[:n], text, err)
	}
	return nil
}

// manyAreEchoed has so many connections to an inlet at once ask a service for what they send.
func manyAreEchoed(t testing.TB, inlet string, n int) {
	t.Helper()
	var tasks sync.WaitGroup
	for range n {
		c := dial(t, inlet)
		tasks.Go(func() {
			if _, err := c.Write([]byte{askEcho}); err != nil {
				t.Error(err)
			} else if err := echoes(c, "one of many"); err != nil {
				t.Error(err)
			}
		})
	}
	tasks.Wait()
}

// reset closes c so that the other end gets a reset.
func reset(t testing.TB, c net.Conn) {
	t.Helper()
	if err := errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close()); err != nil {
		t.Fatal(err)
	}
}

// abandon closes c with a reset: what has not been ended is not to look so.
func abandon(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// ending is how and when a connection has ended.
type ending struct {
	read int64 // bytes that came before
	err  error // nil is an end
	at   time.Time
}

// endOf reads c until it ends. Where a kernel has told a reset to who writes, it gives who reads at
// the same time an end; netio's sockets do not.
func endOf(c net.Conn) ending {
	n, err := io.Copy(io.Discard, struct{ io.Reader }{netio.Wrap(c)})
	return ending{n, err, time.Now()}
}

// ended delivers how c ends.
func ended(c net.Conn) <-chan ending {
	e := make(chan ending, 1)
	go func() { e <- endOf(c) }()
	return e
}

// receivesReset waits until c is reset.
func receivesReset(t testing.TB, c net.Conn) ending {
	t.Helper()
	return isReset(t, "the connection", ended(c))
}

// isReset waits for an ending, which must be a reset.
func isReset(t testing.TB, what string, ended <-chan ending) ending {
	t.Helper()
	e := testkit.Within(t, ended, "the end of "+what)
	if !netio.IsReset(e.err) {
		t.Fatalf("%s ended with %v, want a reset", what, e.err)
	}
	return e
}

// resetUnread waits until c is reset, and reads nothing.
func resetUnread(t testing.TB, c net.Conn) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var reason int
	err = raw.Read(func(fd uintptr) bool {
		reason, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		return reason != 0
	})
	if err != nil || syscall.Errno(reason) != syscall.ECONNRESET {
		t.Errorf("the connection is not reset: %v, %v", syscall.Errno(reason), err)
	}
}

// isRefused connects, and expects a reset: while it connects, or later. It returns when it was.
func isRefused(t testing.TB, where string) time.Time {
	t.Helper()
	c, err := dialWhere(where)
	// before this machine has told that there is a connection
	if errors.Is(err, syscall.ECONNRESET) {
		return time.Now()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "is anybody there?"); err != nil && !netio.IsReset(err) {
		t.Error(err)
	}
	return receivesReset(t, c).at
}

// writesFail writes until c takes no more, which must be because it was reset.
func writesFail(t testing.TB, c net.Conn) {
	t.Helper()
	var err error
	for again := time.NewTicker(time.Millisecond); err == nil; <-again.C { // what fails needs no haste
		_, err = c.Write(make([]byte, 1<<10))
	}
	if isTimeout(err) {
		t.Fatal("the connection is still open")
	}
}

// fill writes until nothing is taken any more.
func fill(t testing.TB, c net.Conn) {
	t.Helper()
	for {
		_ = c.SetWriteDeadline(time.Now().Add(unhurried(time.Second / 2)))
		if _, err := c.Write(make([]byte, 1<<20)); errors.Is(err, os.ErrDeadlineExceeded) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
