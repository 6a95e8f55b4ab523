//go:build unix

// The stories that are recorded.

package docs_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"
)

var stories = []story{
	{"inlet", "the second implementation is an inlet, sp is the outlet", storyInlet},
	{"outlet", "the second implementation is an outlet, sp is the inlet", storyOutlet},
	{"proxy", "the second implementation is an inlet that says who its clients are", storyProxy},
	{"refusals", "sp is an outlet that refuses", storyRefusals},
	{"bridge", "the second implementation is before and behind sp's bridge", storyBridge},
	{"registration", "the second implementation is an outlet at sp's relay", storyRegistration},
	{"relayed", "the second implementation is an inlet, sp is the relay and the outlet", storyRelayed},
	{"relay", "the second implementation is a relay and an inlet, sp is the outlet", storyRelay},
}

// clientPayload is what an inlet says about an application.
var clientPayload = []byte("\x01\x04\x7f\x00\x00\x01\x9c\x40\x7f\x00\x00\x01\x17\x70")

var outletStep = step(1, "outlet")

func deadline() time.Time { return time.Now().Add(patience) }

// some returns n bytes in which one differs from the next.
func some(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

// inletOf returns somebody whom an outlet trusts, and the outlet.
func inletOf(r *recorder, at *target, args ...string) (*second, *process) {
	s := r.second("")
	all := append([]string{
		"--listen", "127.0.0.1:0", "--target", at.Addr().String(), quiet,
		"--allow", s.self.identifier().String(),
	}, args...)
	p := r.sp("outlet", all...)
	to := strings.Split(flagOf(r.T, p.ready(), "--to"), "/") // /ip4/127.0.0.1/tcp/PORT/…
	s.to = net.JoinHostPort(to[2], to[4])
	return s, p
}

func storyInlet(r *recorder) {
	at := r.target()
	s, outlet := inletOf(r, at)
	n := s.session("")
	n.control.track.about("the control link")
	n.expect(5, nil)
	n.ping(7)
	f := converse(n, at, nil)
	f = converse(n, at, f.link) // the link is clean
	f, app := greeted(n, at, f.link)
	f.link.send(f.send.record(2, []byte{0})) // the client is reset
	app.wasReset()
	f.link.ended()
	f, app = greeted(n, at, nil)
	app.reset()
	f.aborted(0)
	f.link.ended()
	hello, f := n.hello()
	f.link = n.via(hello, f.send.record(1, nil)) // a link that is made ready
	f.ends()
	n.renew()
	n.ping(8)
	f = converse(n, at, f.link)
	check(r.T, command(r.home, r.binary, "identity", "rotate", r.home+"/outlet.key").Run())
	n.expect(8, nil) // it has something new to prove
	n.renew()
	n.ping(9)
	converse(n, at, f.link)
	outlet.signal(syscall.SIGTERM)
	n.expect(7, nil)
	n.expect(2, []byte{2})
	n.control.ended()
}

// greeted opens a flow, on l or a new link, and has both ends say something.
func greeted(n *session, at *target, l *link) (*flow, *link) {
	n.Helper()
	f := n.start(l, n.flagged(lazy, clientPayload, outletStep).Bytes)
	f.says([]byte("hello"))
	app := at.take()
	app.hears([]byte("hello"))
	app.says([]byte("welcome"))
	f.hears([]byte("\x00\x01\x00welcome"))
	return f, app
}

// converse has both ends of a flow say a few things, and ends each direction.
func converse(n *session, at *target, l *link) *flow {
	n.Helper()
	f, app := greeted(n, at, l)
	for _, size := range []int{1, 100, 250} {
		f.says(some(size))
		app.hears(some(size))
	}
	app.says(some(200))
	f.hears(some(200))
	f.end()
	app.ended()
	app.says([]byte("last words"))
	app.closeWrite()
	f.hears([]byte("last words"))
	f.ends()
	return f
}

func storyOutlet(r *recorder) {
	s := r.second("")
	h := s.listen()
	inlet := r.sp("inlet", "--listen", "127.0.0.1:0", "--to", h.listener.Addr().String(),
		"--keepalive=500ms", "--allow", s.self.identifier().String())
	n := <-h.sessions
	n.control.track.about("the control link")
	n.say(5, nil)
	address := inlet.ready()
	answerAtInlet(r, h, address)
	answerAtInlet(r, h, address)
	n.say(8, nil)
	if got := <-h.told; got.kind != 6 {
		r.Errorf("record of type %d, want a renewal", got.kind)
	}
	answerAtInlet(r, h, address)
	client, c := called(r, h, address)
	client.reset()
	c.aborted(0)
	c.over <- false
	client, c = called(r, h, address)
	c.link.send(c.send.record(2, []byte{0}))
	client.wasReset()
	c.over <- false
	time.Sleep(time.Second) // two pings
	inlet.signal(syscall.SIGTERM)
	for got := range h.told {
		if got.kind == 2 {
			break
		}
	}
}

// called has a client connect to an inlet, and both ends say something.
func called(r *recorder, h *host, address string) (*link, *call) {
	r.Helper()
	client := r.client(address)
	client.says([]byte("hello"))
	c := <-h.calls
	c.hears([]byte("hello"))
	c.answer(c.opened)
	c.says([]byte("welcome"))
	client.hears([]byte("welcome"))
	return client, c
}

// answerAtInlet has a client and the second implementation say a few things through an inlet.
func answerAtInlet(r *recorder, h *host, address string) {
	r.Helper()
	client, c := called(r, h, address)
	client.says(some(200))
	c.hears(some(200))
	c.says(some(300))
	client.hears(some(300))
	client.closeWrite()
	c.ends()
	c.says([]byte("last words"))
	c.end()
	client.hears([]byte("last words"))
	client.ended()
	c.over <- true
}

func storyProxy(r *recorder) {
	at := r.target()
	s, _ := inletOf(r, at, "--proxy-protocol", "v2")
	n := s.session("")
	n.control.track.about("the control link")
	n.expect(5, nil)
	six := bytes.Join([][]byte{{1, 6}, make([]byte, 15), {1, 0x9c, 0x40}, make([]byte, 15), {1, 0x17, 0x70}}, nil)
	for _, payload := range [][]byte{clientPayload, six, nil} {
		f := n.start(nil, n.flagged(lazy, payload, outletStep).Bytes)
		f.says([]byte("hello"))
		app := at.take()
		head := app.take(16)
		rest := app.take(int(head[14])<<8 | int(head[15]))
		app.heard(isRaw, append(head, rest...), nil)
		app.hears([]byte("hello"))
		app.says([]byte("welcome"))
		f.hears([]byte("\x00\x01\x00welcome"))
		f.end()
		app.ended()
		app.closeWrite()
		f.ends()
	}
	f := n.start(nil, n.flagged(lazy, []byte("no client"), outletStep).Bytes)
	f.refused()
}

// refused makes sure that a flow is answered by a status that is not OK, and ended.
func (f *flow) refused() {
	f.Helper()
	status := f.takeData(3)
	f.takeData(int(status[2]))
	if status[0] == 0 {
		f.Errorf("the flow is not refused")
	}
	f.ends()
}

func storyRefusals(r *recorder) {
	at := r.target()
	s, _ := inletOf(r, at)
	n := s.session("")
	n.control.track.about("the control link")
	n.expect(5, nil)

	f := n.start(nil, n.flagged(probe, nil, outletStep).Bytes)
	if got := f.reply(); got != "" {
		r.Errorf("a probe brings %q", got)
	}
	f = n.start(nil, n.flagged(probe, nil, step(1, "nothing")).Bytes)
	f.refused()
	check(r.T, at.Listener.Close())
	f = n.start(nil, n.flagged(lazy, clientPayload, outletStep).Bytes)
	f.refused()

	elsewhere := s.session("forward_to_elsewhere")
	elsewhere.expect(2, []byte{5}) // wrong name
	elsewhere.control.ended()
	stranger := r.second(s.to).session("")
	stranger.expect(2, []byte{1}) // not trusted
	stranger.control.ended()

	for _, m := range []piece{
		s.opening(nil, step(1, "nothing")),
		s.opening(nil, step(1, "outlet")), // not without a channel
		s.flagged(probe, nil, step(1, "nothing")),
		s.opening(nil, step(2, "other")),
		s.opening(nil, step(2, "api"), step(1, "outlet")),
		s.opening(nil, step(1, "hop"), step(1, "hop")),
		s.opening(nil, step(3, "\xc0\x00\x02\x01\x0f\xa0")),
		s.opening(nil, step(4, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x0f\xa0")),
		s.opening(nil, step(5, "\x0f\xa0relay.example.com")),
		raw(s.opening(nil, bytesOf(16, step(1, "hop"))...).Bytes),
		raw([]byte("GET / HTTP/1.1\r\n\r\n")),
		raw([]byte("\x01\x00\xff\xff")),
	} {
		l := s.dial(m)
		l.anyStatus()
	}
}

// bytesOf returns b as many times.
func bytesOf(n int, b []byte) (all [][]byte) {
	for range n {
		all = append(all, b)
	}
	return all
}

// anyStatus reads a status.
func (l *link) anyStatus() {
	l.Helper()
	b := l.take(3)
	l.heard(isStatus, append(bytes.Clone(b), l.take(int(b[2]))...), nil)
}

// transport is the address of a TCP listener.
func transport(at string) []byte {
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
	bridge := r.sp("bridge", "--listen", "127.0.0.1:0", "--next", next, "--next", closed.Addr().String(), quiet)
	s := r.second(bridge.ready())

	l := s.dial(s.flagged(lazy, []byte("payload"), transport(next), step(1, "service")), raw([]byte("hello")))
	asked := <-h.asked
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

	l = s.dial(s.flagged(probe, nil, transport(next), step(1, "nothing")))
	asked = <-h.asked
	asked.link.send(answer(2, 2, "no service named nothing"))
	asked.closeWrite()
	l.status(2, 2, "no service named nothing")
	s.dial(s.opening(nil, transport(closed.Addr().String()), step(1, "service"))).anyStatus()
	s.dial(s.opening(nil, transport("192.0.2.1:4000"), step(1, "service"))).anyStatus()

	again := *s // as if the bridge had been passed before
	again.label = [8]byte(asked.back[2:10])
	again.dial(again.opening(nil, transport(next), step(1, "service"))).anyStatus()
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
	n.open(nil, "register", []byte("\x02db")).refused()
	n.open(nil, "register", []byte("\x00not a name")).refused()
	f, ticket := register(n, "\x00db")

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
	strange.open(nil, "register", []byte("\x00db")).refused() // the name is taken
	g, _ := register(n, "\x01db")                             // the same identity claims it anew
	demands.hears([]byte{1})
	only := serveMux(g)
	demands = s.accept(only)
	demands.track.about("demands")
	forwarded(s, "in the mux alone", func() *link { return s.accept(only) })
	relay.signal(syscall.SIGTERM)
	n.expect(7, nil)
}

// register claims a name, and returns the flow and the ticket.
func register(n *session, claim string) (*flow, []byte) {
	n.Helper()
	f := n.open(nil, "register", []byte(claim))
	f.hears([]byte{0, 1, 0})
	return f, f.takeData(48)
}

// serveMux makes the mux of a registration.
func serveMux(f *flow) *mux {
	m, err := yamux.Server(f, muxConfig())
	check(f.T, err)
	f.Cleanup(func() { _ = m.Close() })
	return &mux{m, f}
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
	p := r.sp("outlet", "--relay", s.to, "--relay-identity", identifierOf(r, "relay"), "--name", "db",
		"--target", at.Addr().String(), quiet, "--allow", s.self.identifier().String())
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
	n.expect(7, nil)
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
	p := r.sp("outlet", "--relay", h.listener.Addr().String(), "--relay-identity", s.self.identifier().String(),
		"--name", "db", "--target", at.Addr().String(), quiet, "--allow", s.self.identifier().String())
	n := <-h.sessions
	n.control.track.about("the control link of the outlet's session with the relay")
	n.say(5, nil)
	c := <-h.calls
	if !bytes.Equal(c.onward, step(1, "register")) || string(c.payload) != "\x00db" {
		r.Errorf("the outlet asks for %q with %q", c.onward, c.payload)
	}
	c.answer(c.opened)
	ticket := some(48)
	c.says(ticket)
	client, err := yamux.Client(c.flow, muxConfig())
	check(r.T, err)
	r.Cleanup(func() { _ = client.Close() })
	m := &mux{client, c.flow}
	demands := s.dialIn(m)
	demands.track.about("demands")
	demands.send(raw([]byte{0}))
	spare := <-h.asked
	number := binary.BigEndian.Uint64(spare.payload[16:])
	if !bytes.Equal(spare.payload, sparePayload(ticket, number)) {
		r.Errorf("the spare link's payload is %x", spare.payload)
	}
	spare.link.send(answer(0, 1, ""))

	inlet := s.sessionVia(func(first ...piece) *link {
		l := spare.link
		if spare.link == nil {
			l = s.dialIn(m)
		}
		spare.link = nil
		l.send(append([]piece{s.opening(nil, step(2, "api"))}, first...)...)
		return l.owes(0, 1)
	}, "forward_to_db")
	inlet.control.track.about("the control link of the inlet's session with the outlet")
	inlet.expect(5, nil)
	inlet.ping(7)
	f := converse(inlet, at, nil)
	converse(inlet, at, f.link)
	p.signal(syscall.SIGTERM)
	inlet.expect(7, nil)
	inlet.expect(2, []byte{2})
	check(r.T, client.Close())
	p.stop(syscall.SIGCONT) // which changes nothing
}
