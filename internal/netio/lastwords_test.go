package netio

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// A side that answers, and is gone while the other one still sends, has said its answer.
func TestJoinDeliversBeforeReset(t *testing.T) {
	answer := testkit.Pattern(20_000)
	forJoins(t, func(t *testing.T, j *joined) {
		if j.right.LocalAddr().Network() == "unix" {
			t.Skip("a Unix socket that is closed with unread data takes back what it has said")
		}
		sending := make(chan struct{})
		go func() {
			defer close(sending)
			_, _ = j.left.Write(make([]byte, 16<<20))
		}()
		testkit.Expect(t, j.right, "\x00")
		testkit.Write(t, j.right, answer)
		if r, ok := j.right.(DeliveredResetter); ok {
			r.ResetDelivered(testkit.Patience)
		} else {
			_ = Reset(j.right)
		}
		got := make([]byte, len(answer))
		if n, err := io.ReadFull(j.left, got); err != nil || !bytes.Equal(got, answer) {
			t.Fatalf("%d of %d bytes of the answer came: %v", n, len(answer), err)
		}
		if j.left.LocalAddr().Network() != "unix" {
			expectReset(t, j.left)
		}
		testkit.Within(t, sending, "sending")
		if err := testkit.Within(t, j.done, "Join"); !IsReset(err) {
			t.Errorf("Join: %v, want a reset", err)
		}
	})
}

// Last words are waited for, but not for ever: the destination of one direction fails, and the
// other one has nothing to say and does not end.
func TestJoinWaitsForLastWordsOnlySoLong(t *testing.T) { fails(t, false, lastWords) }

// Nor is anything waited for where the destination has ended its own direction before.
func TestJoinKnowsLastWords(t *testing.T) { fails(t, true, 0) }

// fails has the destination of one direction fail, which may have ended the other one, and checks
// how long that takes.
func fails(t *testing.T, ended bool, want time.Duration) {
	testkit.Bubble(t, func(t *testing.T) {
		left, a := joinKinds["pipe"](t)
		right, b := joinKinds["pipe"](t)
		forever(t, left, a, right, b)
		broken := errors.New("broken")
		j := joined{left: left, a: a, right: right, b: failingWriter{b, broken}}
		j.start(t)
		if ended {
			if err := right.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		began := time.Now()
		testkit.Write(t, left, "x")
		if err := testkit.Within(t, j.done, "Join"); err != broken {
			t.Errorf("Join: %v", err)
		}
		if took := time.Since(began); took != want {
			t.Errorf("it took %v, want %v", took, want)
		}
		expectReset(t, left)
		if !ended {
			expectReset(t, right)
		}
	})
}

type failingWriter struct {
	Conn
	err error
}

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }
func (f failingWriter) Reset() error              { return Reset(f.Conn) }

// A reset does not overtake what has been written, unless its reader takes too long.
func TestResetDelivered(t *testing.T) {
	a, b := socketPair(t, "tcp")
	data := testkit.Pattern(8 << 20)
	written := make(chan error, 1)
	go func() {
		_, err := a.Write(data)
		if err == nil {
			a.ResetDelivered(testkit.Patience)
		}
		written <- err
	}()
	got := make([]byte, len(data))
	if n, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d of %d bytes came: %v", n, len(data), err)
	}
	expectReset(t, b)
	if err := testkit.Within(t, written, "writing"); err != nil {
		t.Error(err)
	}

	a, b = socketPair(t, "tcp")
	_ = a.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	_, _ = a.Write(make([]byte, 64<<20))
	a.ResetDelivered(10 * time.Millisecond) // nobody reads
	if _, err := io.Copy(io.Discard, b); !IsReset(err) {
		t.Errorf("%v, want a reset", err)
	}
}

func TestToDestination(t *testing.T) {
	if err := ToDestination(nil); err != nil {
		t.Error(err)
	}
	marked := ToDestination(ToDestination(syscall.EPIPE))
	if !isOfDestination(marked) || isOfDestination(syscall.EPIPE) || !IsReset(marked) ||
		withoutMark(marked) != syscall.EPIPE || marked.Error() != syscall.EPIPE.Error() {
		t.Errorf("%#v", marked)
	}
}
