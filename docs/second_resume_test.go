// The second implementation's flows that go on where their links have not.

package docs_test

import (
	"bytes"
	"encoding/binary"
)

// named says which flow it is: by the session and the number that it was opened with.
type named struct {
	session [16]byte
	number  uint64
	key     []byte // to resume the flows of that session with
}

func (k *keys) named(number uint64) named { return named{k.id, number, k.resume} }

func (f named) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(append(b, f.session[:]...), f.number)
}

// The roles in a MAC.
const (
	asInitiator = 1
	asResponder = 2
)

// stand is where a side stands: an attempt, a position, and what proves that it is that side who
// says so, for the flow that is to be the new link.
func stand(of named, role byte, link named, attempt uint32, position uint64) []byte {
	b := binary.BigEndian.AppendUint32(nil, attempt)
	b = binary.BigEndian.AppendUint64(b, position)
	proof := mac(of.key, []byte("sp/1 resume"), []byte{role}, of.append(nil), link.append(nil), b)
	return append(b, proof[:16]...)
}

// stands reads where a side stands.
func stands(b []byte, of named, role byte, link named) (attempt uint32, position uint64, ok bool) {
	if len(b) != 4+8+16 {
		return 0, 0, false
	}
	attempt, position = binary.BigEndian.Uint32(b), binary.BigEndian.Uint64(b[4:])
	return attempt, position, bytes.Equal(b, stand(of, role, link, attempt, position))
}

// request is the first record of a flow that is to be the new link of f.
func (f *flow) request(link named) []byte {
	f.attempt++
	return append(f.named.append(nil), stand(f.named, asInitiator, link, f.attempt, f.receive.n)...)
}

// answered reads the answer to a request, and returns from where to send again.
func (f *flow) answered(data []byte, link named) (position uint64, ok bool) {
	attempt, position, ok := stands(data, f.named, asResponder, link)
	return position, ok && attempt == f.attempt && position <= f.send.n
}

// ask asks for f to go on on a new link of the session, and returns the link and what is said.
func (n *session) ask(f *flow) (on *flow, kind byte, data []byte) {
	n.Helper()
	hello, on := n.hello()
	on.link = n.via(hello, on.send.record(9, f.request(on.named)))
	kind, data = on.link.record(on.receive)
	return on, kind, data
}

// resume has f go on on a new link of the session, where what sp has not got is sent again.
func (n *session) resume(f *flow) {
	n.Helper()
	on, kind, data := n.ask(f)
	position, ok := f.answered(data, on.named)
	if kind != 9 || !ok {
		n.Fatalf("record of type %d with %x is the answer to attempt %d", kind, data, f.attempt)
	}
	f.link = on.link
	n.hasAcknowledged(f.named.append(nil), position)
	f.link.send(f.send.kept[position:]...)
}

// notResumed makes sure that sp does not go on with f.
func (n *session) notResumed(f *flow, reason byte) {
	n.Helper()
	on, kind, data := n.ask(f)
	if kind != 2 || !bytes.Equal(data, []byte{reason}) {
		n.Fatalf("record of type %d with %x is the answer, want abort %d", kind, data, reason)
	}
	on.link.ended()
}

// lost is what the responder says when a flow has lost the link that the last attempt has brought.
func (f *flow) lost() []byte {
	return binary.BigEndian.AppendUint32(f.named.append(nil), f.attempt)
}

// lose breaks a flow's link.
func (f *flow) lose() { _ = f.link.Close() }

// acknowledge says how far f has got.
func (n *session) acknowledge(f *flow) {
	n.Helper()
	n.say(10, binary.BigEndian.AppendUint64(f.named.append(nil), f.receive.n))
}

// acknowledged takes note of what sp acknowledges.
func (n *session) acknowledged(data []byte) {
	n.Helper()
	if len(data) < 32 || len(data)%16 != 0 || len(data) > 16+4000*16 {
		n.Fatalf("an acknowledgement of %d bytes", len(data))
	}
	for b := data[16:]; len(b) > 0; b = b[16:] {
		n.hasAcknowledged(append(data[:16:16], b[:8]...), binary.BigEndian.Uint64(b[8:]))
	}
}

func (n *session) hasAcknowledged(flow []byte, position uint64) {
	if n.acked == nil {
		n.acked = make(map[string]uint64)
	}
	n.acked[string(flow)] = position
}

// awaitAcknowledged waits until sp has acknowledged all that was said in f.
func (n *session) awaitAcknowledged(f *flow) {
	n.Helper()
	for n.acked[string(f.named.append(nil))] < f.send.n {
		kind, data := n.control.record(n.receive)
		if kind != 10 {
			n.Fatalf("record of type %d with %x, want an acknowledgement", kind, data)
		}
		n.acknowledged(data)
	}
}

// resuming is a flow in which sp asks for another one to go on.
type resuming struct {
	*flow
	request []byte
	over    chan bool // whether the link is clean
}

// resumedOn has a call that sp asks to go on with do so, where what sp has not got is sent again.
func (c *call) resumedOn(on *resuming) {
	c.Helper()
	of := c.named.append(nil)
	if !bytes.HasPrefix(on.request, of) {
		c.Fatalf("the request is %x, want one for %x", on.request, of)
	}
	attempt, position, ok := stands(on.request[len(of):], c.named, asInitiator, on.named)
	if !ok || attempt <= c.attempt || position > c.send.n {
		c.Fatalf("the request is %x", on.request)
	}
	c.attempt = attempt
	on.link.send(on.send.record(9, stand(c.named, asResponder, on.named, attempt, c.receive.n)))
	c.link, c.over = on.link, on.over
	c.link.send(c.send.kept[position:]...)
}

// loses breaks the call's link.
func (c *call) loses() {
	c.lose()
	c.over <- false
}
