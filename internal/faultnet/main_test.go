package faultnet

import (
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pattern returns n bytes in which no two stretches are alike.
func pattern(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// soon gives a conn a deadline that only a hung test meets.
func soon(t *testing.T, conns ...net.Conn) {
	t.Helper()
	for _, c := range conns {
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, c net.Conn, p string) {
	t.Helper()
	if _, err := io.WriteString(c, p); err != nil {
		t.Fatalf("write %q: %v", p, err)
	}
}

// expect reads exactly want.
func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

// expectEnd reads until the end, which must come after want and be wantErr (nil is EOF).
func expectEnd(t *testing.T, c net.Conn, want string, wantErr error) {
	t.Helper()
	got, err := io.ReadAll(c)
	if string(got) != want {
		t.Errorf("read %q, want %q", got, want)
	}
	if !sameError(err, wantErr) {
		t.Errorf("ended with %v, want %v", err, wantErr)
	}
}

// expectSilence reads nothing for a while.
func expectSilence(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	n, err := c.Read(make([]byte, 1))
	if e, ok := err.(net.Error); n != 0 || !ok || !e.Timeout() {
		t.Errorf("read %d bytes, %v, want silence", n, err)
	}
	soon(t, c)
}
