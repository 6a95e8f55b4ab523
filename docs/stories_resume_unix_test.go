//go:build unix

// The stories in which links are lost.

package docs_test

import (
	"bytes"
	"syscall"
)

// survive is for how long the second implementation keeps a flow, in milliseconds.
const survive = 60_000

func storyResumed(r *recorder) {
	at := r.target()
	s, outlet := inletOf(r, at)
	s.survive = survive
	n := s.session("")
	n.control.track.about("the control link")
	n.expect(5, nil)

	f, app := greeted(n, at, nil)
	f.send.record(0, []byte("lost with the link, "))
	n.losesLink(f)
	f.send.record(0, []byte("said meanwhile, "))
	app.says([]byte("also said meanwhile"))
	n.resume(f)
	app.hears([]byte("lost with the link, said meanwhile, "))
	f.hears([]byte("also said meanwhile"))
	n.acknowledge(f)

	f.send.record(0, []byte("lost with the session, "))
	check(r.T, n.control.Close())
	f.lose()
	n = s.session("")
	n.control.track.about("the control link of the session after the first")
	n.expect(5, nil)
	n.resume(f)
	app.hears([]byte("lost with the session, "))

	f.end()
	app.ended()
	n.losesLink(f)
	app.says([]byte("last words"))
	app.closeWrite()
	n.resume(f)
	f.hears([]byte("last words"))
	f.ends()
	n.acknowledge(f)

	resetWhileLost(n, at)
	n.notResumed(&flow{named: n.keys.named(77), receive: new(direction)}, 7)
	outlet.signal(syscall.SIGTERM)
	n.leaves()
	n.control.ended()
}

// losesLink breaks a flow's link, and waits until sp says so.
func (n *session) losesLink(f *flow) {
	n.Helper()
	f.lose()
	for {
		kind, data := n.hear()
		switch {
		case kind == 11 && bytes.Equal(data, f.lost()):
			return
		case kind != 11 && kind != 12: // which may be about a flow that was reset
			n.Fatalf("record of type %d with %x, want a flow to be lost", kind, data)
		}
	}
}

// resetWhileLost has either application be reset while there is no link, and a flow be gone.
func resetWhileLost(n *session, at *target) {
	n.Helper()
	f, app := greeted(n, at, nil)
	n.losesLink(f)
	f.send.record(2, []byte{0})
	n.resume(f)
	app.wasReset()
	f.link.ended()

	f, app = greeted(n, at, nil)
	n.losesLink(f)
	app.reset()
	n.resume(f)
	f.aborted(0)
	n.acknowledge(f)

	f, app = greeted(n, at, nil)
	n.losesLink(f)
	n.say(12, f.named.append(nil))
	app.wasReset()
}

func storyResumes(r *recorder) {
	s := r.second("")
	s.survive = survive
	h := s.listen()
	inlet := r.sp("inlet", "--listen", "127.0.0.1:0", "--to", h.listener.Addr().String(),
		quiet, "--allow", s.self.identifier().String())
	n := soon(r.T, h.sessions)
	n.control.track.about("the control link")
	n.say(5, nil)
	address := inlet.ready()

	client, c := called(r, h, address)
	c.send.record(0, []byte("lost with the link, "))
	c.loses()
	on := soon(r.T, h.resuming)
	client.says([]byte("said meanwhile"))
	c.send.record(0, []byte("also said meanwhile"))
	c.resumedOn(on)
	client.hears([]byte("lost with the link, also said meanwhile"))
	c.hears([]byte("said meanwhile"))
	n.acknowledge(c.flow)

	before := c.over
	n.say(11, c.lost()) // as if it had lost the link, which is there
	c.resumedOn(soon(r.T, h.resuming))
	before <- false

	c.send.record(0, []byte("lost with the session"))
	check(r.T, n.control.Close())
	n = soon(r.T, h.sessions)
	n.control.track.about("the control link of the session after the first")
	n.say(5, nil)
	c.loses()
	c.resumedOn(soon(r.T, h.resuming))
	client.hears([]byte("lost with the session"))

	client.closeWrite()
	c.ends()
	c.loses()
	c.send.record(0, []byte("last words"))
	c.send.record(1, nil)
	c.resumedOn(soon(r.T, h.resuming))
	client.hears([]byte("last words"))
	client.ended()
	c.over <- true
	n.acknowledge(c.flow)

	resetAtInlet(r, h, address)
	inlet.signal(syscall.SIGTERM)
	for got := soon(r.T, h.told); got.kind != 2; got = soon(r.T, h.told) {
	}
}

// resetAtInlet has either application be reset while there is no link, and a flow be gone.
func resetAtInlet(r *recorder, h *host, address string) {
	r.Helper()
	client, c := called(r, h, address)
	c.loses()
	on := soon(r.T, h.resuming)
	client.reset()
	c.resumedOn(on)
	c.aborted(0)
	c.over <- false

	client, c = called(r, h, address)
	c.send.record(2, []byte{0})
	c.loses()
	c.resumedOn(soon(r.T, h.resuming))
	client.wasReset()
	c.over <- false

	client, c = called(r, h, address)
	c.loses()
	on = soon(r.T, h.resuming)
	on.link.send(on.send.record(2, []byte{6}))
	client.wasReset()
	on.over <- false
}
