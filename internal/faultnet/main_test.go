package faultnet

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/secureportal/sp/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	testkit.Hurry(t, c)
}

// swap sends n bytes both ways at once, and ends both directions.
func swap(t *testing.T, client, server conn, n int) {
	t.Helper()
	in := testkit.Pattern(n)
	var wg sync.WaitGroup
	for _, pair := range [][2]conn{{client, server}, {server, client}} {
		wg.Go(func() {
			pair[0].Write(in)
			pair[0].CloseWrite()
		})
		wg.Go(func() {
			got, err := io.ReadAll(pair[1])
			if err != nil || !bytes.Equal(got, in) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
}
