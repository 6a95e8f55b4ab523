package netio

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
)

func TestWrap(t *testing.T) {
	for _, network := range networks {
		dialed, _ := dialPair(t, network)
		if _, ok := Wrap(dialed).(*Socket); !ok {
			t.Errorf("a %s conn is not made a Socket", network)
		}
	}
	a, _ := faultnet.Pipe()
	if c := Wrap(a); c != net.Conn(a) {
		t.Errorf("a %T is made a %T", a, c)
	}
	s, _ := socketPair(t, "tcp")
	if c := Wrap(s); c != net.Conn(s) {
		t.Errorf("a Socket is made a %T", c)
	}
}

func TestSocketReset(t *testing.T) {
	a, b := socketPair(t, "tcp")
	if err := Reset(a); err != nil {
		t.Fatal(err)
	}
	expectReset(t, b)
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read after it: %v", err)
	}
}

func TestResetOfOthersCloses(t *testing.T) {
	a, b := net.Pipe()
	if err := Reset(a); err != nil {
		t.Fatal(err)
	}
	testkit.ExpectEnd(t, b)
}

func TestWriteBuffers(t *testing.T) {
	near, far := faultnet.Pipe()
	testkit.Hurry(t, near, far)
	s, other := socketPair(t, "tcp")
	for name, pair := range map[string][2]net.Conn{"socket": {s, other}, "other": {near, far}} {
		b := net.Buffers{[]byte("ab"), nil, []byte("c"), []byte("def")}
		if n, err := WriteBuffers(pair[0], &b); n != 6 || err != nil || len(b) != 0 {
			t.Errorf("%s: %d bytes, %v, %d buffers left", name, n, err, len(b))
		}
		testkit.Expect(t, pair[1], "abcdef")
	}
}

func TestIsReset(t *testing.T) {
	for err, want := range map[error]bool{
		nil: false, io.EOF: false, net.ErrClosed: false, os.ErrDeadlineExceeded: false,
		syscall.ETIMEDOUT:  false,
		syscall.ECONNRESET: true, syscall.EPIPE: true,
		fmt.Errorf("wrapped: %w", os.NewSyscallError("read", syscall.ECONNRESET)): true,
	} {
		if got := IsReset(err); got != want {
			t.Errorf("IsReset(%v) = %v", err, got)
		}
	}
}

// written is a conn that keeps each Write apart.
type written struct {
	net.Conn
	calls []string
	err   error
}

func (w *written) Write(p []byte) (int, error) {
	w.calls = append(w.calls, string(p))
	return len(p), w.err
}

func TestWriteReadyOfOthersWritesNothing(t *testing.T) {
	near, far := faultnet.Pipe()
	testkit.Write(t, far, "data")
	var dst written
	if _, err := WriteReady(&dst, near); err != nil || len(dst.calls) != 1 || dst.calls[0] != "" {
		t.Errorf("got %q, %v", dst.calls, err)
	}
	testkit.Hurry(t, near)
	testkit.Expect(t, near, "data")
}

// What has no half-close says so, and is not closed in place of it, unless somebody asks for that.
func TestConnWithoutHalfClose(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	bare := struct{ net.Conn }{a}
	if err := Wrap(bare).CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite: %v", err)
	}
	go func() { _, _ = a.Write([]byte("x")) }()
	testkit.Expect(t, b, "x")
	if err := EndWithClose(bare).CloseWrite(); err != nil {
		t.Error(err)
	}
	testkit.ExpectEnd(t, b)
}
