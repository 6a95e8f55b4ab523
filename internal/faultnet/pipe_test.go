package faultnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// The pipe behaves as the kernel's loopback does: each test of the table runs on both.
func TestPipeIsLikeTCP(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, a, b conn)
	}{
		{"bytes both ways", func(t *testing.T, a, b conn) {
			testkit.Write(t, a, "ping")
			testkit.Expect(t, b, "ping")
			testkit.Write(t, b, "pong")
			testkit.Expect(t, a, "pong")
		}},
		{"half-close", func(t *testing.T, a, b conn) {
			testkit.Write(t, a, "last words")
			a.CloseWrite()
			expectEnd(t, b, "last words", nil)
			testkit.Write(t, b, "answer")
			b.CloseWrite()
			expectEnd(t, a, "answer", nil)
		}},
		{"write after own half-close", func(t *testing.T, a, b conn) {
			a.CloseWrite()
			_, err := a.Write([]byte("x"))
			wantErr(t, err, syscall.EPIPE)
		}},
		{"close", func(t *testing.T, a, b conn) {
			testkit.Write(t, a, "bye")
			a.Close()
			expectEnd(t, b, "bye", nil)
			_, err := a.Read(make([]byte, 1))
			wantErr(t, err, net.ErrClosed)
			_, err = a.Write([]byte("x"))
			wantErr(t, err, net.ErrClosed)
			wantErr(t, a.Close(), net.ErrClosed)
			wantErr(t, a.SetDeadline(time.Time{}), net.ErrClosed)
		}},
		{"write to the closed", func(t *testing.T, a, b conn) {
			b.Close()
			var err error
			for err == nil {
				_, err = a.Write([]byte("x"))
			}
			if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
		}},
		{"reset", func(t *testing.T, a, b conn) {
			testkit.Write(t, a, "before")
			testkit.Expect(t, b, "bef")
			a.SetLinger(0)
			a.Close()
			expectEnd(t, b, "ore", syscall.ECONNRESET)
		}},
		{"close with bytes unread resets", func(t *testing.T, a, b conn) {
			testkit.Write(t, b, "never read")
			time.Sleep(5 * time.Millisecond) // where no kernel tells whether it has arrived
			if c, ok := b.(*net.TCPConn); ok {
				testkit.Eventually(t, "it is there", func() bool { return unsent(c) == 0 })
			}
			a.Close()
			expectEnd(t, b, "", syscall.ECONNRESET)
		}},
		{"reset wakes a writer", func(t *testing.T, a, b conn) {
			go func() {
				time.Sleep(5 * time.Millisecond)
				b.SetLinger(0)
				b.Close()
			}()
			_, err := a.Write(make([]byte, 64<<20))
			wantErr(t, err, syscall.ECONNRESET)
		}},
		{"deadlines", func(t *testing.T, a, b conn) {
			a.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := a.Read(make([]byte, 1))
			wantTimeout(t, err)
			testkit.Write(t, b, "x")
			_, err = a.Read(make([]byte, 1)) // still late, though there is a byte
			wantTimeout(t, err)
			a.SetReadDeadline(time.Time{})
			testkit.Expect(t, a, "x")
			a.SetWriteDeadline(time.Now().Add(5 * time.Millisecond))
			_, err = a.Write(make([]byte, 64<<20))
			wantTimeout(t, err)
		}},
		{"close wakes a reader", func(t *testing.T, a, b conn) {
			time.AfterFunc(5*time.Millisecond, func() { a.Close() })
			_, err := a.Read(make([]byte, 1))
			wantErr(t, err, net.ErrClosed)
		}},
	} {
		t.Run("pipe/"+tt.name, func(t *testing.T) {
			a, b := Pipe()
			testkit.Hurry(t, a, b)
			tt.run(t, a, b)
		})
		t.Run("tcp/"+tt.name, func(t *testing.T) {
			a, b := tcpPair(t)
			testkit.Hurry(t, a, b)
			tt.run(t, a, b)
		})
	}
}

// conn is what *Conn and *net.TCPConn both are.
type conn interface {
	net.Conn
	CloseWrite() error
	SetLinger(sec int) error
}

func tcpPair(t *testing.T) (a, b conn) {
	t.Helper()
	ln := testkit.Listen(t)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(conn), s.(conn)
}

func sameError(err, want error) bool { return err == want || want != nil && errors.Is(err, want) }

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !sameError(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func wantTimeout(t *testing.T, err error) {
	t.Helper()
	wantErr(t, err, os.ErrDeadlineExceeded)
	if e, ok := err.(net.Error); !ok || !e.Timeout() {
		t.Errorf("%v is not a timeout", err)
	}
}

func TestPipeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := PipeSize(10)
		a.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := a.Write(make([]byte, 30))
		if wantTimeout(t, err); n != 10 {
			t.Errorf("took %d bytes", n)
		}
		a.SetWriteDeadline(time.Time{})
		in := testkit.Pattern(10_000)
		go func() {
			a.Write(in)
			a.Close()
		}()
		if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got[10:], in) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		if a.LocalAddr().String() != "client" || a.RemoteAddr().Network() != "faultnet" {
			t.Error("addresses")
		}
	})
}

func TestPipeInSynctest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		start := time.Now()
		a.SetReadDeadline(start.Add(time.Hour))
		a.SetReadDeadline(start.Add(2 * time.Hour))
		_, err := a.Read(make([]byte, 1))
		wantTimeout(t, err)
		if d := time.Since(start); d != 2*time.Hour {
			t.Errorf("late after %v", d)
		}
		a.SetDeadline(time.Now().Add(time.Hour))
		a.Close()
		b.Close()
	})
}
