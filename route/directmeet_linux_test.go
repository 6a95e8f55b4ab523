package route

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
)

// seenAt returns a port from which somebody at 127.0.0.1 has been reached.
func seenAt(t *testing.T) *seenPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c, port, err := netio.DialShared(t.Context(), l.Addr().String(), testkit.Patience, nil,
		netio.From{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &seenPort{port: port}
}

func met(t *testing.T, conns <-chan net.Conn) net.Conn {
	t.Helper()
	c, ok := <-conns
	if !ok {
		t.Fatal("the two have not met")
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestMeet has two ports meet, of which one is listened at.
func TestMeet(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	a, b := seenAt(t), seenAt(t)
	fromA := a.meet(ctx, []netip.AddrPort{b.port.Local()}, false)
	fromB := b.meet(ctx, []netip.AddrPort{a.port.Local()}, true)
	at, bt := met(t, fromA), met(t, fromB)
	if at.RemoteAddr().String() != b.port.Local().String() ||
		bt.RemoteAddr().String() != a.port.Local().String() {
		t.Errorf("they have met at %v and %v", at.RemoteAddr(), bt.RemoteAddr())
	}
	if _, err := io.WriteString(at, "hello"); err != nil {
		t.Error(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(bt, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	cancel()
	for range fromA {
	}
	for range fromB {
	}
}

// TestMeetStrangers has others come to the port, from another host than the one that is expected:
// they are reset, and when they have been too many nobody listens any more.
func TestMeetStrangers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	b := seenAt(t)
	nobody := netip.MustParseAddrPort("127.0.0.9:9") // whom b expects, and who is not there
	conns := b.meet(ctx, []netip.AddrPort{nobody}, true)
	reset := 0
	testkit.Eventually(t, "strangers are turned away", func() bool {
		c, err := net.DialTimeout("tcp", b.port.Local().String(), time.Second)
		if err != nil {
			return reset > 0 && errors.Is(err, syscall.ECONNREFUSED) // nobody listens any more
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(testkit.Patience))
		if _, err := c.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
			reset++
		}
		return false
	})
	cancel()
	for range conns {
		t.Error("a stranger was taken for the one who is expected")
	}
}
