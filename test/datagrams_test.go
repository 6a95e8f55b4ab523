//go:build unix

package test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
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

// TestDatagramsBesideTransfers sends what a game does, fifty small datagrams a second, through a
// relay that others' transfers go through as well. They come back whole, in order, and nearly all.
func TestDatagramsBesideTransfers(t *testing.T) {
	t.Parallel()
	const (
		every  = time.Second / 50
		size   = 120
		bulk   = 32 << 20
		mostOf = 10 // one of so many may be lost, where the machine is busy
	)
	sent := testenv.OfRun[int64](100, 200, 1000)
	w := newTopology(t, plan{relay: true, inlets: 1, target: service(t, func(c conn) {
		_ = sendStream(c, 1, bulk)
	})})
	w.start("outlet", "--relay", w.relayAt, "--name", "game", "--target", "udp://"+udpEcho(t)).ready()
	game := w.start("inlet", "--listen", anywhereUDP, "--to", "game@"+w.relayAt).ready()
	transfers := transferring(t, w.address, bulk)
	c := dialUDP(t, game)
	udpComesBack(t, c, testkit.Pattern(size))
	says := func(n int64) {
		_, _ = c.Write(binary.BigEndian.AppendUint32(testkit.Pattern(size-4), uint32(n)))
	}
	var back, last atomic.Int64
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		b := make([]byte, 64<<10)
		for last.Load() <= sent {
			n, err := c.Read(b)
			if err != nil || n != size || !bytes.Equal(b[:size-4], testkit.Pattern(size-4)) {
				t.Errorf("%d bytes come back, %v", n, err)
				return
			}
			number := int64(binary.BigEndian.Uint32(b[size-4:]))
			if before := last.Swap(number); number <= before {
				t.Errorf("%d comes back behind %d", number, before)
			}
			back.Add(1)
		}
	}()
	tick := time.NewTicker(every)
	for n := range sent {
		<-tick.C
		says(n + 1)
	}
	tick.Stop()
	testkit.Eventually(t, "the last ones come back", func() bool {
		says(sent + 1)
		return last.Load() > sent
	})
	<-heard
	came := back.Load() - 1
	t.Logf("%d of %d come back, beside %d transfers", came, sent, transfers())
	if lost := sent - came; lost > sent/mostOf {
		t.Errorf("%d of %d are lost", lost, sent)
	}
}

// transferring reads all that a service says, which is a stream of seed 1, again and again until
// end is called, which returns how often.
func transferring(t *testing.T, where string, size int64) (end func() (times int)) {
	over, ended := make(chan struct{}), make(chan int, 1)
	once := func() error {
		c, err := dialWhere(where)
		if err != nil {
			return err
		}
		defer c.Close()
		testkit.Hurry(t, c)
		got, err := receiveStream(c)
		if err == nil && got != digestOf(1, size) {
			err = fmt.Errorf("%d bytes of %d, or others", got.size, size)
		}
		return err
	}
	go func() {
		times := 0
		defer func() { ended <- times }()
		for ; ; times++ {
			select {
			case <-over:
				return
			default:
			}
			if err := once(); err != nil {
				t.Errorf("a transfer beside it: %v", err)
				return
			}
		}
	}()
	return func() int {
		close(over)
		return <-ended
	}
}
