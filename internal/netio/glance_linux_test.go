package netio

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// glanced parks a and tells of each time that it is glanced at, when it has read what there is, and
// that ready has been called.
func glanced(t *testing.T, a *Socket, stays bool) (glances chan string, ready chan struct{}) {
	t.Helper()
	glances, ready = make(chan string, 8), make(chan struct{}, 8)
	glance := func() bool {
		var room PooledRoom
		defer room.Release()
		n, _ := a.ReadNow(&room)
		glances <- string(room.Filled(n))
		return stays
	}
	if !ParkAndGlance(a, glance, func() { ready <- struct{}{} }) {
		t.Fatal("cannot be parked")
	}
	return glances, ready
}

// longAgo has the last glance at a be some time ago, and justNow have it be a moment ago, for long.
func longAgo(a *Socket) { a.parking.glanced.Store(0) }

func justNow(a *Socket) { a.parking.glanced.Store(int64(time.Since(began) + time.Hour)) }

// What comes now and then is glanced at, and the socket stays parked. What comes soon after it is
// not, also when the socket has been parked anew: all others wait for who glances.
func TestGlance(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			a, b := socketPair(t, network)
			forever(t, a)
			glances, ready := glanced(t, a, true)
			for _, word := range []string{"one", "two", "three"} {
				testkit.Write(t, b, word)
				if got := testkit.Within(t, glances, "a glance"); got != word {
					t.Errorf("a glance has read %q of %q", got, word)
				}
				longAgo(a)
			}
			for _, word := range []string{"four", "five"} {
				justNow(a)
				testkit.Write(t, b, word)
				testkit.Within(t, ready, "being called")
				testkit.Expect(t, a, word)
				if n := len(glances) + len(ready); n > 0 {
					t.Errorf("%d calls too many", n)
				}
				glances, ready = glanced(t, a, true)
			}
			_ = a.Close()
			testkit.Within(t, ready, "being called")
		})
	}
}

// Who glances says that it is not all, and there is a goroutine for the rest.
func TestGlanceIsNotEnough(t *testing.T) {
	a, b := socketPair(t, "tcp")
	forever(t, a)
	glances, ready := glanced(t, a, false)
	testkit.Write(t, b, "x")
	testkit.Within(t, glances, "a glance")
	testkit.Within(t, ready, "being called")
}

// An end, a reset and what happens to the socket on this side are not glanced at.
func TestNoGlance(t *testing.T) {
	for name, happen := range map[string]func(a, b *Socket) error{
		"end":      func(_, b *Socket) error { return b.CloseWrite() },
		"reset":    func(_, b *Socket) error { return b.Reset() },
		"close":    func(a, _ *Socket) error { return a.Close() },
		"deadline": func(a, _ *Socket) error { return a.SetReadDeadline(time.Unix(1, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := socketPair(t, "tcp")
			forever(t, a)
			glances, ready := glanced(t, a, true)
			if err := happen(a, b); err != nil {
				t.Fatal(err)
			}
			testkit.Within(t, ready, "being called")
			if len(glances) > 0 {
				t.Error("glanced at")
			}
		})
	}
}

// Whoever is called after a glance finds that over, although the socket has been closed in it.
func TestClosedInAGlance(t *testing.T) {
	a, b := socketPair(t, "tcp")
	forever(t, a)
	inGlance, over := make(chan struct{}), make(chan struct{})
	ready, done := make(chan bool, 1), false
	glance := func() bool {
		close(inGlance)
		<-over
		done = true
		return true
	}
	if !a.ParkAndGlance(glance, func() { ready <- done }) {
		t.Fatal("cannot be parked")
	}
	testkit.Write(t, b, "x")
	testkit.Within(t, inGlance, "a glance")
	_ = a.Close()
	close(over)
	if !testkit.Within(t, ready, "being called") {
		t.Error("called while somebody glances")
	}
}

// Reading and writing never wait. What they do not do is what the ordinary ones tell of.
func TestPrompt(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			a, b := socketPair(t, network)
			var room PooledRoom
			defer room.Release()
			if n, ok := ReadNow(a, &room); n != 0 || !ok {
				t.Errorf("read %d bytes of none, %v", n, ok)
			}
			if n := WriteNow(b, []byte("word")); n != 4 {
				t.Errorf("%d bytes written", n)
			}
			testkit.Eventually(t, "the word", func() bool {
				n, ok := ReadNow(a, &room)
				return ok && string(room.Filled(n)) == "word"
			})
			wrote := fillNow(b)
			_ = b.CloseWrite()
			if got, err := io.ReadAll(a); err != nil || len(got) != wrote {
				t.Errorf("%d bytes have come of %d, %v", len(got), wrote, err)
			}
			if n, ok := ReadNow(a, &room); n != 0 || ok {
				t.Errorf("read %d bytes at the end, %v", n, ok)
			}
			_ = a.Close()
			if n, ok := ReadNow(a, &room); n != 0 || ok {
				t.Errorf("read %d bytes of what is closed, %v", n, ok)
			}
			if n := WriteNow(a, []byte("x")); n != 0 {
				t.Errorf("%d bytes written to what is closed", n)
			}
		})
	}
}

// fillNow writes to c until it takes nothing more, and returns how much that was.
func fillNow(c any) (total int) {
	p := bytes.Repeat([]byte("x"), 1<<20)
	for {
		n := WriteNow(c, p)
		if total += n; n == 0 {
			return total
		}
	}
}

// A reset is told to one system call only, and still found by who reads as usual.
func TestResetReadNow(t *testing.T) {
	a, b := socketPair(t, "tcp")
	_ = b.Reset()
	var room PooledRoom
	defer room.Release()
	testkit.Eventually(t, "the reset", func() bool {
		_, ok := ReadNow(a, &room)
		return !ok
	})
	expectReset(t, a)
}

// What is no socket is neither read nor written without waiting.
func TestNotPrompt(t *testing.T) {
	c, d := net.Pipe()
	defer c.Close()
	defer d.Close()
	var room PooledRoom
	if n, ok := ReadNow(c, &room); n != 0 || ok {
		t.Errorf("read %d bytes of a pipe, %v", n, ok)
	}
	if n := WriteNow(c, []byte("x")); n != 0 {
		t.Errorf("%d bytes written to a pipe", n)
	}
	if ParkAndGlance(c, nil, func() {}) {
		t.Error("a pipe is parked")
	}
}
