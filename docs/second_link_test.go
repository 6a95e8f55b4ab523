// The second implementation's links, sessions and flows.

package docs_test

import (
	"bufio"
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/secureportal/sp/identity"
)

// patience is how long a link of the second implementation may take for everything.
const patience = 20 * time.Second

// second is a node of the second implementation. The suite is the hybrid one.
type second struct {
	*testing.T
	self  *person
	label [8]byte
	to    string // host:port of the node it talks to
	tape  *tape  // records what is said on the node's links; nil records nothing
}

const hybrid = "Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256"

func newSecond(t *testing.T, to string) *second {
	seed := make([]byte, 32)
	_, _ = rand.Read(seed)
	s := &second{T: t, self: newPerson(seed, time.Now()), to: to}
	_, _ = rand.Read(s.label[:])
	return s
}

// step is one address of a route, by the document.
func step(kind byte, value string) []byte {
	return append([]byte{kind, byte(len(value))}, value...)
}

// opening is an opening message without flags.
func (s *second) opening(payload []byte, onward ...[]byte) piece {
	return s.flagged(0, payload, onward...)
}

// The flags of an opening message.
const (
	probe = 1
	lazy  = 2
)

func (s *second) flagged(flags byte, payload []byte, onward ...[]byte) piece {
	body := append([]byte{byte(len(onward))}, bytes.Join(onward, nil)...)
	body = append(append(body, 1), step(6, string(s.label[:]))...)
	body = append(body, payload...)
	return piece{
		Kind:  isMessage,
		Bytes: append([]byte{1, flags, byte(len(body) >> 8), byte(len(body))}, body...),
	}
}

// raw is a piece that only its receiver understands.
func raw(b []byte) piece { return piece{Kind: isRaw, Bytes: b} }

// answer is a status.
func answer(code, hop byte, reason string) piece {
	return piece{Kind: isStatus, Bytes: append([]byte{code, hop, byte(len(reason))}, reason...)}
}

// link is one link, whatever it consists of.
type link struct {
	*testing.T
	net.Conn
	r     *bufio.Reader
	track *track // nil records nothing
	owed  func() // reads the status, which may come as late as what follows it; nil if it was read
}

// link makes a link of c. Who has dialed it is "second" or "sp".
func (s *second) link(c net.Conn, dialer string) *link {
	s.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &link{T: s.T, Conn: c, r: bufio.NewReader(c), track: s.tape.track(dialer)}
}

// dial opens a link and sends first, without waiting for anything.
func (s *second) dial(first ...piece) *link {
	s.Helper()
	c, err := net.Dial("tcp", s.to)
	check(s.T, err)
	l := s.link(c, bySecond)
	l.send(first...)
	return l
}

// send sends all pieces at once.
func (l *link) send(pieces ...piece) {
	l.Helper()
	check(l.T, l.say(pieces...))
}

func (l *link) say(pieces ...piece) error {
	var all []byte
	for _, p := range pieces {
		all = append(all, p.Bytes...)
		l.track.add(bySecond, p)
	}
	_, err := l.Write(all)
	return err
}

// take reads n bytes and leaves it to the caller to record what they are.
func (l *link) take(n int) []byte {
	l.Helper()
	l.settle()
	b := make([]byte, n)
	_, err := io.ReadFull(l.r, b)
	check(l.T, err)
	return b
}

// owes has the status be read before what follows it.
func (l *link) owes(code, hop byte) *link {
	l.owed = func() { l.status(code, hop, "") }
	return l
}

// settle reads the status if that has not been done.
func (l *link) settle() {
	if read := l.owed; read != nil {
		l.owed = nil
		read()
	}
}

// heard records what has been read.
func (l *link) heard(kind string, b, said []byte) {
	l.track.add(bySP, piece{Kind: kind, Bytes: b, Said: said})
}

// frame reads a frame and returns what is in it.
func (l *link) frame() []byte { return l.take(int(binary.BigEndian.Uint16(l.take(2)))) }

// status reads a status and compares it.
func (l *link) status(code, hop byte, reason string) {
	l.Helper()
	b := l.take(3)
	text := string(l.take(int(b[2])))
	l.heard(isStatus, append(bytes.Clone(b), text...), nil)
	if b[0] != code || b[1] != hop || text != reason {
		l.Errorf("status %d of hop %d: %q, want %d of hop %d: %q",
			b[0], b[1], text, code, hop, reason)
	}
}

// ended makes sure that the link brings nothing more.
func (l *link) ended() {
	l.Helper()
	l.settle()
	if b, err := io.ReadAll(l.r); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		l.Errorf("%d bytes more, %v", len(b), err)
	}
	l.heard(isEnd, nil, nil)
}

// opened is an opening message that has been read.
type opened struct {
	flags   byte
	onward  []byte // the addresses, without their count
	back    []byte // the labels as addresses, without their count
	labels  int
	payload []byte
}

// message reads an opening message.
func (l *link) message() opened {
	l.Helper()
	header := l.take(4)
	body := l.take(int(binary.BigEndian.Uint16(header[2:])))
	l.heard(isMessage, append(bytes.Clone(header), body...), nil)
	return parseOpening(header, body)
}

func parseOpening(header, body []byte) opened {
	at := 1
	for range body[0] {
		at += 2 + int(body[at+1])
	}
	end := at + 1 + 10*int(body[at])
	return opened{header[1], body[1:at], body[at+1 : end], int(body[at]), body[end:]}
}

// meansMessage says in words what an opening message says, of whose bytes there may be more.
func meansMessage(b []byte) string {
	rest := b[4 : 4+int(binary.BigEndian.Uint16(b[2:]))]
	var routes [2][]string
	for i := range routes {
		count := int(rest[0])
		rest = rest[1:]
		for range count {
			end := 2 + int(rest[1])
			routes[i] = append(routes[i], meansAddress(rest[0], rest[2:end]))
			rest = rest[end:]
		}
	}
	return inWords(b[1], routes[0], routes[1], rest)
}

// inWords are the words for an opening message.
func inWords(flags byte, onward, back []string, payload []byte) string {
	return fmt.Sprintf("flags %d, to [%s], from [%s], with %x",
		flags, strings.Join(onward, ", "), strings.Join(back, ", "), payload)
}

func meansAddress(kind byte, value []byte) string {
	port := func(b []byte) string { return strconv.Itoa(int(binary.BigEndian.Uint16(b))) }
	switch n := len(value); kind {
	case 1:
		return "service " + string(value)
	case 2:
		return "secure " + string(value)
	case 3, 4:
		return net.JoinHostPort(net.IP(value[:n-2]).String(), port(value[n-2:]))
	case 5:
		return net.JoinHostPort(string(value[2:]), port(value))
	default:
		return fmt.Sprintf("label %x", value)
	}
}

// meansStatus says in words what a status says.
func meansStatus(b []byte) string {
	return fmt.Sprintf("status %d of hop %d: %s", b[0], b[1], b[3:3+int(b[2])])
}

// session is a control link, of either role.
type session struct {
	*second
	control       *link
	initiator     bool
	via           func(first ...piece) *link // opens a link to the same place
	keys          *keys
	peer          identity.Identifier
	name          string
	static        *ecdh.PrivateKey
	send, receive *direction
	saying        sync.Mutex // of records on the control link
	flows         uint64
}

func (s *second) handshake(static *ecdh.PrivateKey, previous [16]byte) *initiator {
	e, err := ecdh.X25519().GenerateKey(rand.Reader)
	check(s.T, err)
	kem, err := mlkem.GenerateKey768()
	check(s.T, err)
	return &initiator{
		T: s.T, symmetric: newSymmetric(hybrid, prologue(hybrid, previous)),
		self: s.self, s: static, e: e, kem: kem,
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
	static, err := ecdh.X25519().GenerateKey(rand.Reader)
	check(s.T, err)
	i := s.handshake(static, [16]byte{})
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
		keys: i.keys(), peer: i.peer, name: name, static: static,
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

// hear reads a record on the control link.
func (n *session) hear() (kind byte, data []byte) {
	n.Helper()
	return n.control.record(n.receive)
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
	return piece{
		Kind: isRecord, Bytes: d.seal(kind, data), Said: append([]byte{kind}, data...),
	}
}

func (n *session) expect(kind byte, data []byte) {
	n.Helper()
	if k, d := n.hear(); k != kind || !bytes.Equal(d, data) {
		n.Fatalf("record of type %d with %x on the control link, want type %d with %x",
			k, d, kind, data)
	}
}

func (n *session) ping(number uint64) {
	n.Helper()
	b := binary.BigEndian.AppendUint64(nil, number)
	n.say(3, b)
	n.expect(4, b)
}

// renew makes new keys on the control link.
func (n *session) renew() {
	n.Helper()
	i := n.handshake(n.static, n.keys.id)
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
}

// flow is one of the session's flows, and an io.ReadWriteCloser.
type flow struct {
	*link
	send, receive *direction
	left          []byte
}

// hello returns the hello of the session's next flow, and its keys.
func (n *session) hello() (piece, *flow) {
	n.flows++
	f := new(flow)
	f.send, f.receive = n.directions(n.flows)
	hello := binary.BigEndian.AppendUint64(append([]byte{2}, n.keys.id[:]...), n.flows)
	return piece{Kind: isFlow, Bytes: hello}, f
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

// sparePayload is what a spare link begins with.
func sparePayload(ticket []byte, number uint64) []byte {
	said := binary.BigEndian.AppendUint64(bytes.Clone(ticket[:16]), number)
	return append(said, mac(ticket[16:48], said)[:16]...)
}

// mux is a mux in a flow.
type mux struct {
	*yamux.Session
	in *flow
}

// muxConfig does what the document asks for.
func muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.StreamCloseTimeout = 0
	c.LogOutput = io.Discard
	return c
}

// accept takes a link that the relay opens in the mux.
func (s *second) accept(m *mux) *link {
	s.Helper()
	stream, err := m.AcceptStream()
	check(s.T, err)
	l := s.link(stream, bySP)
	l.track.in(m.in.track, stream.StreamID())
	return l
}

// dialIn opens a link to the outlet in the mux.
func (s *second) dialIn(m *mux) *link {
	s.Helper()
	stream, err := m.OpenStream()
	check(s.T, err)
	l := s.link(stream, bySecond)
	l.track.in(m.in.track, stream.StreamID())
	return l
}
