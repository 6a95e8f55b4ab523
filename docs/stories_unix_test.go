//go:build unix

// The stories that are recorded, and those with an inlet and an outlet only.

package docs_test

import (
	"bytes"
	"net"
	"strings"
	"syscall"
	"time"
)

var stories = []story{
	{"inlet", "the second implementation is an inlet, sp is the outlet", storyInlet},
	{"outlet", "the second implementation is an outlet, sp is the inlet", storyOutlet},
	{"proxy", "the second implementation is an inlet that says who its clients are", storyProxy},
	{"refusals", "sp is an outlet that refuses", storyRefusals},
	{"bridge", "the second implementation is before and behind sp's bridge", storyBridge},
	{"registration", "the second implementation is an outlet at sp's relay", storyRegistration},
	{"relayed", "the second implementation is an inlet, sp is relay and outlet", storyRelayed},
	{"resumed", "the second implementation is an inlet and loses links", storyResumed},
	{"resumes", "the second implementation is an outlet and loses links", storyResumes},
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
	n.leaves()
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
	n := soon(r.T, h.sessions)
	n.control.track.about("the control link")
	n.say(5, nil)
	address := inlet.ready()
	answerAtInlet(r, h, address)
	answerAtInlet(r, h, address)
	n.say(8, nil)
	if got := soon(r.T, h.told); got.kind != 6 {
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
	for got := soon(r.T, h.told); got.kind != 2; got = soon(r.T, h.told) {
	}
}

// called has a client connect to an inlet, and both ends say something.
func called(r *recorder, h *host, address string) (*link, *call) {
	r.Helper()
	client := r.client(address)
	client.says([]byte("hello"))
	c := soon(r.T, h.calls)
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
	loopback := make([]byte, 15)
	loopback = append(loopback, 1)
	six := bytes.Join([][]byte{{1, 6}, loopback, {0x9c, 0x40}, loopback, {0x17, 0x70}}, nil)
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
		s.opening(nil, step(4, "\x20\x01\x0d\xb8"+strings.Repeat("\x00", 11)+"\x01\x0f\xa0")),
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
