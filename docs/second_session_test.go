// The second implementation's sessions and flows.

package docs_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/secureportal/sp/identity"
)

// session is a control link, of either role.
type session struct {
	*second
	control       *link
	initiator     bool
	via           func(first ...piece) *link // opens a link to the same place
	keys          *keys
	peer          identity.Identifier
	name          string
	send, receive *direction
	saying        sync.Mutex // of records on the control link
	flows         uint64
	acked         map[string]uint64 // positions of the other side's that it has told, by flow
}

func (s *second) handshake(previous [16]byte) *initiator {
	e, err := ecdh.X25519().GenerateKey(rand.Reader)
	check(s.T, err)
	kem, err := mlkem.GenerateKey768()
	check(s.T, err)
	return &initiator{
		T: s.T, symmetric: newSymmetric(hybrid, prologue(hybrid, previous)),
		self: s.self, s: s.static, e: e, kem: kem, survive: s.survive,
	}
}

// session shakes hands with the node that the second implementation talks to.
func (s *second) session(name string) *session {
	s.Helper()
	return s.sessionVia(func(first ...piece) *link {
		return s.dial(append([]piece{s.opening(nil, step(2, "api"))}, first...)...).owes(0, 1)
	}, name)
}

// sessionVia shakes hands on a link that via opens. Opening message and hello go out together.
func (s *second) sessionVia(via func(first ...piece) *link, name string) *session {
	s.Helper()
	i := s.handshake([16]byte{})
	hello := append([]byte{1, byte(len(hybrid))}, hybrid...)
	l := via(piece{Kind: isHello, Bytes: hello}, piece{Kind: isFrame, Bytes: frame(i.message1())})
	m2 := l.frame()
	re := i.message2(m2)
	l.heard(isFrame, frame(m2), i.payload)
	m3 := i.message3(re, name)
	l.track.handshake(i.secrets(name))
	l.send(piece{Kind: isFrame, Bytes: frame(m3), Said: i.sent})
	n := &session{
		second: s, control: l, initiator: true, via: via,
		keys: i.keys(), peer: i.peer, name: name,
	}
	n.begin(l)
	return n
}

// begin takes the keys of the control link, at a handshake or a renewal.
func (n *session) begin(l *link) {
	n.send, n.receive = n.directions(0)
	n.control = l
}

// directions returns the keys of a flow: for what this side sends, and for what it receives.
func (n *session) directions(number uint64) (send, receive *direction) {
	initiator, responder := n.keys.flow(number)
	if n.initiator {
		return initiator, responder
	}
	return responder, initiator
}

// say sends a record on the control link.
func (n *session) say(kind byte, data []byte) {
	n.Helper()
	n.saying.Lock()
	defer n.saying.Unlock()
	n.control.send(n.send.record(kind, data))
}

// hear reads a record on the control link. It takes note of acknowledgements, and reads on.
func (n *session) hear() (kind byte, data []byte) {
	n.Helper()
	for {
		kind, data = n.control.record(n.receive)
		if kind != 10 || n.survive == 0 {
			return kind, data
		}
		n.acknowledged(data)
	}
}

func (l *link) record(d *direction) (kind byte, data []byte) {
	l.Helper()
	body := l.frame()
	kind, data = d.open(l.T, body)
	l.heard(isRecord, frame(body), append([]byte{kind}, data...))
	return kind, data
}

// record seals what is to be said.
func (d *direction) record(kind byte, data []byte) piece {
	p := piece{
		Kind: isRecord, Bytes: d.seal(kind, data), Said: append([]byte{kind}, data...),
	}
	d.kept = append(d.kept, p)
	return p
}

func (n *session) expect(kind byte, data []byte) {
	n.Helper()
	if k, d := n.hear(); k != kind || !bytes.Equal(d, data) {
		n.Fatalf("record of type %d with %x on the control link, want type %d with %x",
			k, d, kind, data)
	}
}

// leaves makes sure that the other side goes away in good order. It need not say that it will, and
// may say what becomes of flows.
func (n *session) leaves() {
	n.Helper()
	kind, data := n.hear()
	for kind == 7 || kind == 11 || kind == 12 {
		kind, data = n.hear()
	}
	if kind != 2 || !bytes.Equal(data, []byte{2}) {
		n.Fatalf("record of type %d with %x, want the end of the session", kind, data)
	}
}

func (n *session) ping(number uint64) {
	n.Helper()
	b := binary.BigEndian.AppendUint64(nil, number)
	n.say(3, b)
	kind, data := n.hear()
	for kind == 12 && n.survive > 0 { // of a flow that this side has given up as well
		kind, data = n.hear()
	}
	if kind != 4 || !bytes.Equal(data, b) {
		n.Fatalf("record of type %d with %x, want the pong %d", kind, data, number)
	}
}

// renew makes new keys on the control link.
func (n *session) renew() {
	n.Helper()
	i := n.handshake(n.keys.id)
	n.say(6, i.message1())
	kind, m2 := n.hear()
	if kind != 6 {
		n.Fatalf("record of type %d in a renewal", kind)
	}
	re := i.message2(m2)
	m3 := i.message3(re, n.name)
	n.control.track.handshake(i.secrets(n.name))
	n.say(6, m3)
	n.expect(5, nil) // ready is the last record under the old key
	n.keys, n.flows = i.keys(), 0
	n.begin(n.control)
	n.expect(5, nil) // and the first under the new one
}

// flow is one of the session's flows, and an io.ReadWriteCloser.
type flow struct {
	*link
	named
	send, receive *direction
	left          []byte
	attempt       uint32 // the highest to resume it
}

// hello returns the hello of the session's next flow, and its keys.
func (n *session) hello() (piece, *flow) {
	n.flows++
	f := &flow{named: n.keys.named(n.flows)}
	f.send, f.receive = n.directions(n.flows)
	return piece{Kind: isFlow, Bytes: f.named.append([]byte{2})}, f
}

// open starts a flow on l, or on a new link, that asks for a service.
func (n *session) open(l *link, service string, payload []byte) *flow {
	n.Helper()
	return n.start(l, n.opening(payload, step(1, service)).Bytes)
}

// start starts a flow on l, or on a new link, with an opening message.
func (n *session) start(l *link, opening []byte) *flow {
	n.Helper()
	hello, f := n.hello()
	first := []piece{hello, f.send.record(0, opening)}
	if l == nil {
		l = n.via(first...)
	} else {
		l.send(first...)
	}
	f.link = l
	return f
}

func (f *flow) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), 65518)
		if err := f.say(f.send.record(0, rest[:n])); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

func (f *flow) end() { f.link.send(f.send.record(1, nil)) }

func (f *flow) Read(p []byte) (int, error) {
	f.settle()
	for len(f.left) == 0 {
		var size [2]byte
		if _, err := io.ReadFull(f.r, size[:]); err != nil {
			return 0, err
		}
		body := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(f.r, body); err != nil {
			return 0, err
		}
		kind, data := f.receive.open(f.T, body)
		f.heard(isRecord, frame(body), append([]byte{kind}, data...))
		switch kind {
		case 0:
			f.left = data
		case 1:
			return 0, io.EOF
		default:
			return 0, fmt.Errorf("record of type %d: %x", kind, data)
		}
	}
	n := copy(p, f.left)
	f.left = f.left[n:]
	return n, nil
}

// takeData reads n bytes of the flow's data.
func (f *flow) takeData(n int) []byte {
	f.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(f, b)
	check(f.T, err)
	return b
}

// reply reads the flow's status and what follows it, until the end.
func (f *flow) reply() string {
	f.Helper()
	b, err := io.ReadAll(f)
	check(f.T, err)
	if !bytes.HasPrefix(b, []byte{0, 1, 0}) {
		f.Fatalf("the flow's status is %x", b)
	}
	return string(b[3:])
}

// ends makes sure that the other side ends its direction.
func (f *flow) ends() {
	f.Helper()
	if !f.atEnd() {
		f.Fatal("the flow does not end well")
	}
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

// says sends bytes in a flow.
func (f *flow) says(b []byte) {
	f.Helper()
	_, err := f.Write(b)
	check(f.T, err)
}

// hears reads bytes in a flow.
func (f *flow) hears(want []byte) {
	f.Helper()
	if b := f.takeData(len(want)); !bytes.Equal(b, want) {
		f.Fatalf("the flow brings %q, want %q", b, want)
	}
}
