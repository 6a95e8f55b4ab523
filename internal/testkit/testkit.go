// Package testkit holds what the tests of several packages would otherwise each have for
// themselves. What a test needs of the machine it runs on is in testenv.
//
// Whatever fails ends the test at once, and so belongs on the test's own goroutine.
package testkit

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
)

// Patience is a deadline that only a hung test meets: on a machine that is slow and has other work,
// too. What a test says about time is for [Pulse].
const Patience = 3 * time.Minute

// Context returns a context that ends when a test must hang.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Within returns what comes on c, which must come soon.
func Within[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Patience):
		t.Fatalf("%s: nothing happens", what)
	}
	panic("not reached")
}

// lookEvery is how long [Eventually] waits before it looks again, once it has waited for a while.
const lookEvery = 20 * time.Millisecond

// Eventually waits until condition holds, looking again and again: soon at first, and then less
// often, because looking takes time from what is waited for.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	late := time.After(Patience)
	for pause := time.Millisecond; !condition(); pause = min(2*pause, lookEvery) {
		select {
		case <-time.After(pause):
		case <-late:
			t.Fatalf("%s: not in time", what)
		}
	}
}

// Patiently does something again as long as no more is wrong than that it has not been done within
// a limit in time that is not the test's: somebody may have stood still.
func Patiently(t testing.TB, do func() error) (err error) {
	t.Helper()
	for until := time.Now().Add(Patience); time.Now().Before(until); {
		if err = do(); !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return err
}

// Listen listens on loopback until the test ends. Whoever dials is connected, also if nobody
// accepts.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// Hurry gives conns a deadline that only a hung test meets.
func Hurry(t testing.TB, conns ...net.Conn) {
	t.Helper()
	for _, c := range conns {
		if err := c.SetDeadline(time.Now().Add(Patience)); err != nil {
			t.Fatal(err)
		}
	}
}

// Write writes all of p.
func Write[P string | []byte](t testing.TB, w io.Writer, p P) {
	t.Helper()
	if n, err := w.Write([]byte(p)); err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(p), err)
	}
}

// Expect reads exactly want.
func Expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

// ExpectEnd reads the end, and nothing before it.
func ExpectEnd(t testing.TB, r io.Reader) {
	t.Helper()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d bytes, %v, want the end", n, err)
	}
}

// Pattern returns n bytes in which no two stretches are alike.
func Pattern(n int) []byte {
	r := mathrand.New(mathrand.NewPCG(1, 2))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// NewIdentity returns somebody whom nobody knows.
func NewIdentity(t testing.TB) *identity.Identity {
	t.Helper()
	id, err := identity.New(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Trusting returns the policy of a self who trusts those in allow or, if nobody is there, only
// itself.
func Trusting(t testing.TB, self *identity.Identity,
	allow ...identity.Identifier,
) *trust.Policy {
	t.Helper()
	p, err := trust.NewPolicy(trust.Config{Self: self.Identifier(), Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
