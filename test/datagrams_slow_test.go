//go:build unix

package test

import (
	"encoding/binary"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/brokertest"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// Of datagrams that are sent while nothing passes.
const (
	stuckSent  = 20_000
	stuckSize  = 100
	stuckPause = 200 * time.Microsecond // after each few, for the inlet to take them
	stuckFew   = 20

	// stuckMost is how many may come when something passes again: those that wait where they could
	// still be dropped, 128 of them, and what a proxy and its socket have taken by then. A window of
	// 256 KiB would hold 1900 more, and a socket's buffer several thousand. stuckBehind is the same
	// where nobody but the other end can tell, after which as much as that window is under way.
	stuckMost   = 1800
	stuckBehind = 4500
)

// TestDatagramsWaitHere has datagrams be sent while nothing passes, over each transport and behind
// a relay whose own line is the one that is stuck: they wait where the oldest are dropped, so that
// few old ones come when something passes again, and then new ones.
func TestDatagramsWaitHere(t *testing.T) {
	t.Parallel()
	for name, listen := range wrapped {
		if name == "quic" || name == "kafka" { // which need another man in the middle
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newPerson(t)
			show, believe := u.certified()
			s := newNumbered(t)
			var to string
			var middle *faultnet.ProxyServer
			if name == "nats" {
				show, believe = nil, nil
				broker := brokertest.NATS(t, "").Address
				middle = proxy(t, broker, faultnet.ProxyConfig{Buffer: stuckBuffer})
				u.outletAt(strings.Replace(listen, "BROKER", broker, 1), s.at)
				to = strings.Replace(listen, "BROKER", middle.Addr(), 1)
			} else {
				if name != "tls" && name != "wss" {
					show, believe = nil, nil
				}
				to, middle = behindProxy(t, u.outletAt(listen, s.at, show...))
			}
			// without what only the other end can tell
			waitsHere(u, to, middle, s, stuckMost, append(believe, "--survive", "0")...)
		})
	}
	t.Run("behind a relay", func(t *testing.T) {
		t.Parallel()
		u := survivor(t)
		_, relay := u.startRelay()
		middle := proxy(t, relay, faultnet.ProxyConfig{Buffer: stuckBuffer})
		s := newNumbered(t)
		u.startNamed(middle.Addr(), "db", s.at, "--direct=false")
		waitsHere(u, "db@"+relay, middle, s, stuckBehind)
	})
}

// stuckBuffer is what a proxy takes that passes nothing on.
const stuckBuffer = 16 << 10

// behindProxy returns where to dial in place of where an outlet listens, and what is in between.
func behindProxy(t *testing.T, to string) (string, *faultnet.ProxyServer) {
	t.Helper()
	r, err := route.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	short := transport.Format(r[0])
	at := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(short)
	p := proxy(t, at, faultnet.ProxyConfig{Buffer: stuckBuffer})
	return strings.Replace(short, at, p.Addr(), 1), p
}

// numbered is a service that takes note of the numbers that come.
type numbered struct {
	at   string
	last atomic.Uint32
	old  atomic.Int32 // how many came that are stuckSent or less
}

func newNumbered(t *testing.T) *numbered {
	t.Helper()
	s, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.SetReadBuffer(4 << 20)
	target := &numbered{at: "udp://" + s.LocalAddr().String()}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		b := make([]byte, stuckSize+1)
		for {
			n, err := s.Read(b)
			if err != nil {
				return
			}
			number := binary.BigEndian.Uint32(b)
			if n != stuckSize || number < target.last.Swap(number) {
				t.Errorf("%d bytes, of number %d", n, number)
			}
			if number <= stuckSent {
				target.old.Add(1)
			}
		}
	}()
	return target
}

// waitsHere sends datagrams while what is in the middle passes nothing, of which so many may come.
func waitsHere(
	u person, to string, middle *faultnet.ProxyServer, s *numbered, most int32, flags ...string,
) {
	t := u.t.(*testing.T)
	t.Helper()
	inlet := u.start(append([]string{"inlet", "--listen", anywhereUDP, "--to", to}, flags...)...)
	c := dialUDP(t, inlet.ready())
	says := func(number uint32) {
		d := make([]byte, stuckSize)
		binary.BigEndian.PutUint32(d, number)
		_, _ = c.Write(d)
	}
	testkit.Eventually(t, "the first comes", func() bool {
		says(0)
		return s.last.Load() == 0 && s.old.Load() > 0
	})
	middle.BlackHole(true)
	for n := range uint32(stuckSent) {
		says(n + 1)
		if n%stuckFew == 0 {
			<-time.After(stuckPause)
		}
	}
	middle.BlackHole(false)
	testkit.Eventually(t, "new ones come", func() bool {
		says(stuckSent + 1)
		return s.last.Load() > stuckSent
	})
	if came := s.old.Load(); came > most {
		t.Errorf("%d old ones come, want %d at most", came, most)
	} else {
		t.Logf("%d of %d come", came, stuckSent)
	}
}
