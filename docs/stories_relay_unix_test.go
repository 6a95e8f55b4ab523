//go:build unix

// The stories with a relay or a bridge.

package docs_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/hashicorp/yamux"
)

// tcpStep is the address of a TCP listener.
func tcpStep(at string) []byte {
	a := netip.MustParseAddrPort(at)
	port := a.Port()
	return step(3, string(append(a.Addr().AsSlice(), byte(port>>8), byte(port))))
}

func storyBridge(r *recorder) {
	h := r.second("").listen()
	next := h.listener.Addr().String()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	check(r.T, err)
	check(r.T, closed.Close())
	bridge := r.sp("bridge", "--listen", "127.0.0.1:0", quiet, "--open",
		"--next", next, "--next", closed.Addr().String())
	s := r.second(bridge.ready())

	l := s.dial(s.flagged(lazy, []byte("payload"), tcpStep(next), step(1, "service")),
		raw([]byte("hello")))
	asked := soon(r.T, h.asked)
	asked.hears([]byte("hello"))
	asked.link.send(answer(0, 2, ""), raw([]byte("welcome")))
	l.status(0, 2, "")
	l.hears([]byte("welcome"))
	l.closeWrite()
	asked.ended()
	asked.says([]byte("last words"))
	asked.closeWrite()
	l.hears([]byte("last words"))
	l.ended()

	l = s.dial(s.flagged(probe, nil, tcpStep(next), step(1, "nothing")))
	asked = soon(r.T, h.asked)
	asked.link.send(answer(2, 2, "no service named nothing"))
	asked.closeWrite()
	l.status(2, 2, "no service named nothing")
	s.dial(s.opening(nil, tcpStep(closed.Addr().String()), step(1, "service"))).anyStatus()
	s.dial(s.opening(nil, tcpStep("192.0.2.1:4000"), step(1, "service"))).anyStatus()

	again := *s // as if the bridge had been passed before
	again.label = [8]byte(asked.back[2:10])
	again.dial(again.opening(nil, tcpStep(next), step(1, "service"))).anyStatus()
}

func storyRegistration(r *recorder) {
	s := r.second("")
	other := r.second("")
	relay := r.sp("relay", "--listen", "127.0.0.1:0", quiet,
		"--allow", s.self.identifier().String(), "--allow", other.self.identifier().String())
	s.to = relay.ready()
	other.to = s.to
	n := s.session("")
	n.control.track.about("the control link")
	n.expect(5, nil)

	s.dial(s.opening(nil, step(1, "forward_to_db"), step(2, "api"))).anyStatus() // nobody has it
	n.open(nil, "register", claim(8, process1)).refused()
	n.open(nil, "register", []byte("\x00instancenot a name")).refused()
	f, ticket := register(n, claim(0, process1))

	spare := s.dial(s.opening(sparePayload(ticket, 1), step(1, "spare")))
	spare.status(0, 1, "")
	replayed := s.dial(s.opening(sparePayload(ticket, 1), step(1, "spare")))
	replayed.status(0, 1, "")
	replayed.ended()
	forged := sparePayload(ticket, 2)
	forged[len(forged)-1] ^= 1
	s.dial(s.opening(forged, step(1, "spare"))).anyStatus()
	forwarded(s, "on a spare link", func() *link { return spare })

	m := serveMux(f)
	demands := s.accept(m)
	demands.track.about("demands")
	forwarded(s, "in the mux", func() *link {
		demands.hears([]byte{0}) // the relay lacks a spare link, and gets none
		return s.accept(m)
	})

	strange := other.session("")
	strange.expect(5, nil)
	strange.open(nil, "register", claim(2, process2)).refused() // the name is taken
	claimedAnew(n, demands)
	relay.signal(syscall.SIGTERM)
	n.expect(7, nil)
}

// claimedAnew has another process of the identity that has a name claim it, for the mux alone, and
// replace the one that has it.
func claimedAnew(n *session, before *link) {
	n.Helper()
	f, _ := register(n, claim(1|2, process2))
	for {
		b := before.take(1)
		before.heard(isRaw, b, nil)
		if b[0] == 1 { // and not one more demand
			break
		}
	}
	m := serveMux(f)
	n.accept(m).track.about("demands")
	forwarded(n.second, "in the mux alone", func() *link { return n.accept(m) })
}

// register claims a name, and returns the flow and the ticket.
func register(n *session, claim []byte) (*flow, []byte) {
	n.Helper()
	f := n.open(nil, "register", claim)
	f.hears([]byte{0, 1, 0})
	return f, f.takeData(48)
}

// serveMux makes the mux of a registration.
func serveMux(f *flow) *muxFlow {
	m, err := yamux.Server(f, muxConfig())
	check(f.T, err)
	f.Cleanup(func() { _ = m.Close() })
	return &muxFlow{m, f}
}

// forwarded asks for the outlet called db, and converses over the link that the relay uses.
func forwarded(s *second, payload string, behind func() *link) {
	s.Helper()
	l := s.dial(s.flagged(lazy, []byte(payload), step(1, "forward_to_db"), step(1, "service")),
		raw([]byte("hello")))
	b := behind()
	m := b.message()
	if !bytes.Equal(m.onward, step(1, "service")) || m.labels != 2 {
		s.Errorf("the relay sends on %x with %d labels", m.onward, m.labels)
	}
	b.hears([]byte("hello"))
	b.send(answer(0, 2, ""), raw([]byte("welcome")))
	l.status(0, 2, "")
	l.hears([]byte("welcome"))
	l.closeWrite()
	b.ended()
	check(s.T, b.Close())
	l.ended()
}

func storyRelayed(r *recorder) {
	at := r.target()
	s := r.second("")
	outlet := r.key("outlet")
	relay := r.sp("relay", "--listen", "127.0.0.1:0", quiet, "--allow", outlet)
	s.to = relay.ready()
	p := outletAt(r, s.to, identifierOf(r, "relay"), at, s)
	p.ready()
	n := s.sessionVia(func(first ...piece) *link {
		opening := s.opening(nil, step(1, "forward_to_db"), step(2, "api"))
		return s.dial(append([]piece{opening}, first...)...).owes(0, 2)
	}, "forward_to_db")
	n.control.track.about("the control link")
	n.expect(5, nil)
	n.ping(7)
	f := converse(n, at, nil)
	converse(n, at, f.link)
	p.signal(syscall.SIGTERM)
	n.leaves()
}

// outletAt starts an outlet of sp's at a relay, that trusts s.
func outletAt(r *recorder, relay, identifier string, at *target, s *second) *process {
	return r.sp("outlet", "--relay", relay, "--relay-identity", identifier, "--name", "db",
		"--target", at.Addr().String(), quiet, "--allow", s.self.identifier().String())
}

// identifierOf returns the Identifier of a role's key file.
func identifierOf(r *recorder, role string) string {
	out, err := command(r.home, r.binary, "identity", "show", r.home+"/"+role+".key").Output()
	check(r.T, err)
	return strings.TrimSpace(string(out))
}

func storyRelay(r *recorder) {
	at := r.target()
	s := r.second("")
	h := s.listen()
	p := outletAt(r, h.listener.Addr().String(), s.self.identifier().String(), at, s)
	n := soon(r.T, h.sessions)
	n.control.track.about("the control link of the outlet's session with the relay")
	n.say(5, nil)
	m, spare := registered(r, h)

	first := true
	inlet := s.sessionVia(func(pieces ...piece) *link {
		l := spare
		if !first {
			l = s.dialIn(m)
		}
		first = false
		l.send(append([]piece{s.opening(nil, step(2, "api"))}, pieces...)...)
		return l.owes(0, 1)
	}, "forward_to_db")
	inlet.control.track.about("the control link of the inlet's session with the outlet")
	inlet.expect(5, nil)
	inlet.ping(7)
	f := converse(inlet, at, nil)
	converse(inlet, at, f.link)
	p.signal(syscall.SIGTERM)
	inlet.leaves()
	check(r.T, m.Close())
	p.wait()
}

// registered answers a registration of an outlet's, and asks for a spare link.
func registered(r *recorder, h *host) (*muxFlow, *link) {
	r.Helper()
	c := soon(r.T, h.calls)
	if !bytes.Equal(c.onward, step(1, "register")) ||
		len(c.payload) < 9 || !bytes.Equal(c.payload, claim(0, string(c.payload[1:9]))) {
		r.Errorf("the outlet asks for %q with %q", c.onward, c.payload)
	}
	c.answer(c.opened)
	ticket := some(48)
	c.says(ticket)
	client, err := yamux.Client(c.flow, muxConfig())
	check(r.T, err)
	r.Cleanup(func() { _ = client.Close() })
	m := &muxFlow{client, c.flow}
	demands := h.dialIn(m)
	demands.track.about("demands")
	demands.send(raw([]byte{0}))
	spare := soon(r.T, h.asked)
	number := binary.BigEndian.Uint64(spare.payload[16:])
	if !bytes.Equal(spare.payload, sparePayload(ticket, number)) {
		r.Errorf("the spare link's payload is %x", spare.payload)
	}
	spare.link.send(answer(0, 1, ""))
	return m, spare.link
}
