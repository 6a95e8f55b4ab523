package netio

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/secureportal/sp/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// networks are the kinds of socket that Wrap knows.
var networks = []string{"tcp", "unix"}

func dialPair(t testing.TB, network string) (dialed, accepted net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return dialTo(t, l)
}

func dialTo(t testing.TB, l net.Listener) (dialed, accepted net.Conn) {
	t.Helper()
	dialed, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if accepted, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = dialed.Close()
		_ = accepted.Close()
	})
	return dialed, accepted
}

// socketPair returns two connected sockets with a deadline.
func socketPair(t testing.TB, network string) (a, b *Socket) {
	t.Helper()
	dialed, accepted := dialPair(t, network)
	testkit.Hurry(t, dialed, accepted)
	return Wrap(dialed).(*Socket), Wrap(accepted).(*Socket)
}

func forever(t testing.TB, conns ...net.Conn) {
	t.Helper()
	for _, c := range conns {
		if err := c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
}

func expectReset(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !IsReset(err) {
		t.Fatalf("read %d bytes, %v, want a reset", n, err)
	}
}
