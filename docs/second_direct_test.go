// What the second implementation says to find a way past a relay.

package docs_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/direct"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
)

// The kinds of frame of the service direct.
const (
	frameAddresses = 1
	frameAsk       = 2
	frameAnswer    = 3
	frameNow       = 4
)

// places is a list of addresses, by the document.
func places(all ...netip.AddrPort) []byte {
	b := []byte{byte(len(all))}
	for _, a := range all {
		family := byte(4)
		if a.Addr().Is6() {
			family = 6
		}
		b = append(append(b, family), a.Addr().AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, a.Port())
	}
	return b
}

// directFrame is a frame of the service direct.
func directFrame(kind byte, what []byte) []byte {
	return append([]byte{kind, byte(len(what) >> 8), byte(len(what))}, what...)
}

// places reads a list of addresses.
func (r *reader) places() (all []netip.AddrPort) {
	count := r.number(1)
	r.refuseIf(count < 1 || count > 4)
	for i := uint64(0); i < count && !r.bad; i++ {
		size := map[uint64]int{4: 4, 6: 16}[r.number(1)]
		ip, ok := netip.AddrFromSlice(r.take(size))
		port := r.number(2)
		r.refuseIf(!ok || port == 0 || ip.Is4In6())
		all = append(all, netip.AddrPortFrom(ip, uint16(port)))
	}
	return all
}

// directKind reads one whole frame.
func directKind(b []byte) (kind byte, all []netip.AddrPort, ok bool) {
	r := &reader{rest: b}
	kind = byte(r.number(1))
	r.refuseIf(kind < frameAddresses || kind > frameNow)
	r.refuseIf(int(r.number(2)) != len(r.rest))
	if kind == frameAddresses {
		all = r.places()
	}
	return kind, all, !r.bad && len(r.rest) == 0
}

// The addresses of the worked example.
var (
	exampleSeen  = netip.MustParseAddrPort("198.51.100.7:40000")
	exampleSeen6 = netip.MustParseAddrPort("[2001:db8::7]:40001")
)

// exampleDirect is what is said to find a direct way, by this module.
func exampleDirect(e *example) {
	e.is("observed", direct.AppendAddresses(nil, []netip.AddrPort{exampleSeen}))
	e.is("addresses", direct.Append(nil, direct.Frame{
		Kind: direct.Addresses, Addresses: []netip.AddrPort{exampleSeen, exampleSeen6},
	}))
	e.is("now", direct.Append(nil, direct.Frame{Kind: direct.Now}))
}

// exampleMeeting is the same, by the second implementation.
func exampleMeeting(e *example) {
	e.is("observed", places(exampleSeen))
	e.is("addresses", directFrame(frameAddresses, places(exampleSeen, exampleSeen6)))
	e.is("now", directFrame(frameNow, nil))
}

// TestDirectAlike has both implementations read frames that are almost right.
func TestDirectAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	accepted := alike(t, rng, examples(t)["addresses"], func(b []byte) (bool, bool) {
		r := bytes.NewReader(b)
		f, err := direct.Read(r)
		first := err == nil && r.Len() == 0
		kind, all, second := directKind(b)
		if first && second && (byte(f.Kind) != kind || !slices.Equal(f.Addresses, all)) {
			t.Fatalf("%x: %d with %v, and %d with %v", b, f.Kind, f.Addresses, kind, all)
		}
		return first, second
	})
	t.Logf("%d frames were read", accepted)
}

// TestObserved has the second implementation ask a relay at which address it is seen.
func TestObserved(t *testing.T) {
	s, node, _ := trusted(t)
	relay.NewServer(node, relay.ServerConfig{})
	l := s.dial(s.opening(nil, step(1, "observed")))
	l.status(0, 1, "")
	here := l.LocalAddr().(*net.TCPAddr).AddrPort()
	want := places(netip.AddrPortFrom(here.Addr().Unmap(), here.Port()))
	if got := l.take(len(want)); !bytes.Equal(got, want) {
		t.Errorf("it is seen at %x, want %x", got, want)
	}
	l.ended()

	n := s.session("")
	n.expect(5, nil)
	n.open(nil, "observed", nil).refused() // in a session it says nothing
}

// TestDirectOfSecond has the second implementation look for a direct way to a node: to one that no
// relay leads to, and to one whose relay sees it where nobody else would reach it.
func TestDirectOfSecond(t *testing.T) {
	if !netio.SharesPorts() {
		t.Skip("this system does not let several connections go out from one port")
	}
	s := newSecond(t, "")
	node, _, at := nodeThat(t, func(c *route.Config) { c.Direct = true }, s.self.identifier())
	relay.NewServer(node, relay.ServerConfig{})
	s.to = at
	n := s.session("")
	n.expect(5, nil)

	f := n.open(nil, "direct", nil)
	const no = "\x02\x01\x17no service named direct"
	if got := f.takeData(len(no)); string(got) != no {
		t.Errorf("one that no relay leads to says %q", got)
	}
	f.ends()

	to, err := transport.Parse(at)
	check(t, err)
	defer node.LedBy(node, route.Route{to})()
	f = n.open(nil, "direct", nil)
	if got := f.takeData(3); !bytes.Equal(got, []byte{0, 1, 0}) {
		t.Fatalf("it is answered with %x", got)
	}
	f.says(directFrame(frameAddresses, places(exampleSeen)))
	if kind, data := f.record(f.receive); kind == 0 {
		t.Errorf("it says %x, although its relay sees it on loopback", data)
	}
	n.ping(1) // the session goes on

	f = n.open(nil, "direct", nil)
	f.takeData(3)
	f.says(directFrame(frameNow, nil)) // which is not the first
	if kind, data := f.record(f.receive); kind == 0 {
		t.Errorf("it says %x", data)
	}
	n.ping(2)
}
