//go:build linux

package netio

import (
	"errors"
	"net"
	"testing"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
)

// awaitReset waits in a goroutine.
func awaitReset(s *Socket) <-chan error {
	c := make(chan error, 1)
	go func() { c <- s.AwaitReset() }()
	return c
}

// halfClosed returns a pair of which b has ended its direction, and a knows.
func halfClosed(t *testing.T, network string) (a, b *Socket) {
	t.Helper()
	a, b = socketPair(t, network)
	if err := b.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	testkit.ExpectEnd(t, a)
	return a, b
}

func TestAwaitReset(t *testing.T) {
	const (
		reset  = "reset"
		ended  = "ended"
		closed = "closed"
	)
	for name, test := range map[string]struct {
		network string
		events  []func(a, b *Socket) error
		want    string
	}{
		"reset": {"tcp", []func(a, b *Socket) error{
			func(_, b *Socket) error { return b.Reset() },
		}, reset},
		"closed with unread data": {"tcp", []func(a, b *Socket) error{
			func(a, _ *Socket) error { _, err := a.Write([]byte("unread")); return err },
			func(_, b *Socket) error { return b.Close() },
		}, reset},
		"closed, and then written to": {"tcp", []func(a, b *Socket) error{
			func(_, b *Socket) error { return b.Close() },
			func(a, _ *Socket) error { _, err := a.Write([]byte("nobody is there")); return err },
		}, reset},
		"own end": {"tcp", []func(a, b *Socket) error{
			func(a, _ *Socket) error { return a.CloseWrite() },
		}, ended},
		"closed, then own end": {"tcp", []func(a, b *Socket) error{
			func(_, b *Socket) error { return b.Close() },
			func(a, _ *Socket) error { return a.CloseWrite() },
		}, ended},
		"own end after data": {"tcp", []func(a, b *Socket) error{
			func(a, _ *Socket) error { _, err := a.Write([]byte("answer")); return err },
			func(a, _ *Socket) error { return a.CloseWrite() },
		}, ended},
		"own close": {"tcp", []func(a, b *Socket) error{
			func(a, _ *Socket) error { return a.Close() },
		}, closed},
		"own reset": {"tcp", []func(a, b *Socket) error{
			func(a, _ *Socket) error { return a.Reset() },
		}, closed},
		"unix, own end": {"unix", []func(a, b *Socket) error{
			func(a, _ *Socket) error { return a.CloseWrite() },
		}, ended},
		"unix, closed, then own end": {"unix", []func(a, b *Socket) error{
			func(_, b *Socket) error { return b.Close() },
			func(a, _ *Socket) error { return a.CloseWrite() },
		}, ended},
		"unix, closed with unread data": {"unix", []func(a, b *Socket) error{
			func(a, _ *Socket) error { _, err := a.Write([]byte("unread")); return err },
			func(_, b *Socket) error { return b.Close() },
		}, reset},
		"unix, own close": {"unix", []func(a, b *Socket) error{
			func(a, _ *Socket) error { return a.Close() },
		}, closed},
	} {
		t.Run(name, func(t *testing.T) {
			kinds := map[string]func(error) bool{
				reset:  IsReset,
				ended:  func(err error) bool { return err == nil },
				closed: func(err error) bool { return errors.Is(err, net.ErrClosed) },
			}
			run := func(t *testing.T, before int) {
				a, b := halfClosed(t, test.network)
				for _, event := range test.events[:before] {
					if err := event(a, b); err != nil {
						t.Fatal(err)
					}
				}
				got := awaitReset(a)
				for _, event := range test.events[before:] {
					if err := event(a, b); err != nil {
						t.Fatal(err)
					}
				}
				if err := testkit.Within(t, got, "waiting"); !kinds[test.want](err) {
					t.Errorf(
						"%d of %d events before waiting: got %v, want %s", before, len(test.events), err, test.want)
				}
			}
			for before := range len(test.events) + 1 {
				for range 10 {
					run(t, before)
				}
			}
		})
	}
}

// That the other end has closed without an error is not to be taken for a reset: it may have sent
// all it had to say and left, and what it said is still on its way.
func TestAwaitResetWaitsForOneThatHasLeft(t *testing.T) {
	for _, network := range networks {
		a, b := halfClosed(t, network)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		err := a.raw.Control(func(fd uintptr) {
			if hasFailed(fd) || a.wasReset() {
				t.Errorf("%s: an end is taken for a reset", network)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A write that the kernel tells of the reset leaves nothing for others to be told.
func TestAwaitResetAfterTheWriterWasTold(t *testing.T) {
	a, b := halfClosed(t, "tcp")
	_ = b.Reset()
	testkit.Eventually(t, "the writer is told", func() bool {
		_, err := a.Write([]byte("x"))
		return IsReset(err)
	})
	if err := testkit.Within(t, awaitReset(a), "waiting"); !IsReset(err) {
		t.Errorf("got %v, want a reset", err)
	}
}

func TestAwaitResetOfAConnThatCannotTell(t *testing.T) {
	a, _ := faultnet.Pipe()
	if err := AwaitReset(a); err != nil {
		t.Error(err)
	}
}
