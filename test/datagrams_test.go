//go:build unix

package test

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// anywhereUDP is where an inlet for datagrams listens.
const anywhereUDP = "udp://" + anywhere

// udpEcho sends every datagram back to whom it has come from, until the test ends. It returns
// where.
func udpEcho(t testing.TB) string {
	t.Helper()
	s, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		b := make([]byte, 64<<10)
		for {
			n, from, err := s.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = s.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return s.LocalAddr().String()
}

// newDatagrams starts a portal for datagrams, in front of an echo.
func newDatagrams(t testing.TB, p plan) *topology {
	t.Helper()
	p.target = "udp://" + udpEcho(t)
	w := newTopology(t, p)
	w.inletAt = anywhereUDP
	w.connect(w.route(), p.flags...)
	return w
}

// dialUDP returns a client's socket that hears of nobody but whom it sends to.
func dialUDP(t testing.TB, where string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", strings.TrimPrefix(where, "udp://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	testkit.Hurry(t, c)
	return c
}

// udpComesBack sends a datagram and waits for the same one.
func udpComesBack(t testing.TB, c net.Conn, datagram []byte) {
	t.Helper()
	if _, err := c.Write(datagram); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64<<10)
	n, err := c.Read(b)
	if err != nil || !bytes.Equal(b[:n], datagram) {
		t.Fatalf("%d bytes come back as %d, %v", len(datagram), n, err)
	}
}

// TestDatagrams has datagrams of all sizes go there and back, of several clients, and wants each to
// be what it was.
func TestDatagrams(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, through bool) {
		w := newDatagrams(t, plan{relay: through})
		if !strings.HasPrefix(w.address, "udp://127.0.0.1:") || !strings.Contains(w.printed,
			"--listen "+anywhereUDP) {
			t.Errorf("it listens at %s; the outlet says %s", w.address, w.printed)
		}
		one, two := dialUDP(t, w.address), dialUDP(t, w.address)
		for _, n := range []int{0, 1, 512, 1400, 4093, 4094, 4095, 16384, 65506, 65507, 0, 1} {
			d := testkit.Pattern(n)
			udpComesBack(t, one, d)
			udpComesBack(t, two, append([]byte("two"), d...)[:n])
		}
		status := string(must(t, w.command("status")))
		if !strings.Contains(status, one.LocalAddr().String()) ||
			!strings.Contains(status, two.LocalAddr().String()) {
			t.Errorf("clients %s and %s are not in\n%s", one.LocalAddr(), two.LocalAddr(), status)
		}
		tcp := w.start("inlet", "--no-wait", "--listen", anywhere, "--to", w.route())
		tcp.says("it is a service of datagrams (UDP), and this asks for connections")
		tcp.says("listens at udp://")
		tcp.ends(3)
	})
}

// TestDatagramsToStreams has an inlet for datagrams learn that the outlet is for connections.
func TestDatagramsToStreams(t *testing.T) {
	t.Parallel()
	w := newOutlet(t)
	udp := w.start("inlet", "--no-wait", "--listen", anywhereUDP, "--to", w.route())
	udp.says("it is a service of connections (TCP), and this asks for datagrams")
	udp.ends(3)
	w.untouched()
}

// TestDatagramsSurvive kills the relay while datagrams are on their way, and starts it again. Some
// may be lost meanwhile. None comes twice, or behind one that was sent after it, and the client's
// flow is the same.
func TestDatagramsSurvive(t *testing.T) {
	t.Parallel()
	w := newLasting(t, plan{target: "udp://" + udpEcho(t)})
	w.inletAt = anywhereUDP
	w.connect(w.route(), "--log-connections", "all")
	c := dialUDP(t, w.address)
	got := make(chan uint64)
	go func() {
		defer close(got)
		b := make([]byte, 64<<10)
		for {
			n, err := c.Read(b)
			if err != nil || n != 8 {
				return
			}
			got <- binary.BigEndian.Uint64(b)
		}
	}()
	var sent, last uint64
	carries := func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for from := sent; last <= from; {
			select {
			case n, ok := <-got:
				if !ok || n <= last || n > sent {
					t.Fatalf("%d comes behind %d, of %d: %v", n, last, sent, ok)
				}
				last = n
			case <-tick.C:
				sent++
				_, _ = c.Write(binary.BigEndian.AppendUint64(nil, sent))
			}
		}
	}
	carries()
	for range 2 {
		w.kill("relay")
		for range 100 {
			sent++
			_, _ = c.Write(binary.BigEndian.AppendUint64(nil, sent))
		}
		w.revive("relay")
		carries()
	}
	if w.inlet.said("connection ended")+w.inlet.said("connection failed") > 0 {
		t.Error("the flow has ended")
	}
	_ = c.Close()
	for range got {
	}
}
