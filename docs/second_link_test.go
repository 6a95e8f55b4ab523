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
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"github.com/secureportal/sp/identity"
)

// second is a node of the second implementation. The suite is the hybrid one.
type second struct {
	*testing.T
	self  *person
	label [8]byte
	to    string // host:port of the node it talks to
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

func (s *second) opening(payload []byte, onward ...[]byte) []byte {
	body := append([]byte{byte(len(onward))}, bytes.Join(onward, nil)...)
	body = append(append(body, 1), step(6, string(s.label[:]))...)
	body = append(body, payload...)
	return append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...)
}

// link is one TCP connection.
type link struct {
	*testing.T
	net.Conn
	r *bufio.Reader
}

// dial opens a link and sends first, without waiting for anything.
func (s *second) dial(first []byte) *link {
	s.Helper()
	c, err := net.Dial("tcp", s.to)
	check(s.T, err)
	s.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	l := &link{s.T, c, bufio.NewReader(c)}
	l.send(first)
	return l
}

func (l *link) send(b []byte) {
	l.Helper()
	_, err := l.Write(b)
	check(l.T, err)
}

func (l *link) take(n int) []byte {
	l.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(l.r, b)
	check(l.T, err)
	return b
}

func (l *link) frame() []byte { return l.take(int(binary.BigEndian.Uint16(l.take(2)))) }

// status reads a status and compares it.
func (l *link) status(code, hop byte, reason string) {
	l.Helper()
	b := l.take(3)
	text := string(l.take(int(b[2])))
	if b[0] != code || b[1] != hop || text != reason {
		l.Errorf("status %d of hop %d: %q, want %d of hop %d: %q", b[0], b[1], text, code, hop, reason)
	}
}

// ended makes sure that the link brings nothing more.
func (l *link) ended() {
	l.Helper()
	if b, err := io.ReadAll(l.r); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		l.Errorf("%d bytes more, %v", len(b), err)
	}
}

// session is a control link.
type session struct {
	*second
	control       *link
	keys          *keys
	peer          identity.Identifier
	name          string
	static        *ecdh.PrivateKey
	send, receive *direction
	flows         uint64
}

func (s *second) handshake(static *ecdh.PrivateKey, previous [16]byte) *initiator {
	e, err := ecdh.X25519().GenerateKey(rand.Reader)
	check(s.T, err)
	kem, err := mlkem.GenerateKey768()
	check(s.T, err)
	return &initiator{
		T: s.T, symmetric: newSymmetric(hybrid, prologue(hybrid, previous)), self: s.self, s: static, e: e, kem: kem,
	}
}

// session shakes hands. The opening message and the hello go out together.
func (s *second) session(name string) *session {
	s.Helper()
	static, err := ecdh.X25519().GenerateKey(rand.Reader)
	check(s.T, err)
	i := s.handshake(static, [16]byte{})
	first := s.opening(nil, step(2, "api"))
	first = append(append(first, 1, byte(len(hybrid))), hybrid...)
	l := s.dial(append(first, frame(i.message1())...))
	l.status(0, 1, "")
	re := i.message2(l.frame())
	l.send(frame(i.message3(re, name)))
	n := &session{second: s, control: l, keys: i.keys(), peer: i.peer, name: name, static: static}
	n.send, n.receive = n.keys.flow(0)
	return n
}

func (n *session) expect(kind byte, data []byte) {
	n.Helper()
	if k, d := n.receive.open(n.T, n.control.frame()); k != kind || !bytes.Equal(d, data) {
		n.Fatalf("record of type %d with %x on the control link, want type %d with %x", k, d, kind, data)
	}
}

func (n *session) ping(number uint64) {
	n.Helper()
	b := binary.BigEndian.AppendUint64(nil, number)
	n.control.send(n.send.seal(3, b))
	n.expect(4, b)
}

// renew makes new keys on the control link.
func (n *session) renew() {
	n.Helper()
	i := n.handshake(n.static, n.keys.id)
	n.control.send(n.send.seal(6, i.message1()))
	kind, m2 := n.receive.open(n.T, n.control.frame())
	if kind != 6 {
		n.Fatalf("record of type %d in a renewal", kind)
	}
	re := i.message2(m2)
	n.control.send(n.send.seal(6, i.message3(re, n.name)))
	n.expect(5, nil) // ready is the last record under the old key
	n.keys, n.flows = i.keys(), 0
	n.send, n.receive = n.keys.flow(0)
}

// flow is one of the session's flows, and an io.ReadWriteCloser.
type flow struct {
	*link
	send, receive *direction
	left          []byte
}

// hello returns the hello of the session's next flow, and its keys.
func (n *session) hello() ([]byte, *flow) {
	n.flows++
	f := new(flow)
	f.send, f.receive = n.keys.flow(n.flows)
	return binary.BigEndian.AppendUint64(append([]byte{2}, n.keys.id[:]...), n.flows), f
}

// open starts a flow on l, or on a new link, that asks for a service.
func (n *session) open(l *link, service string, payload []byte) *flow {
	n.Helper()
	hello, f := n.hello()
	first := append(hello, f.send.seal(0, n.opening(payload, step(1, service)))...)
	if l == nil {
		l = n.dial(append(n.opening(nil, step(2, "api")), first...))
		l.status(0, 1, "")
	} else {
		l.send(first)
	}
	f.link = l
	return f
}

func (f *flow) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), 65518)
		if _, err := f.link.Write(f.send.seal(0, rest[:n])); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

func (f *flow) end() { f.link.send(f.send.seal(1, nil)) }

func (f *flow) Read(p []byte) (int, error) {
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

// message reads an opening message and returns its onward route and the number of its labels.
func (l *link) message() (onward []byte, labels int) {
	l.Helper()
	header := l.take(4)
	body := l.take(int(binary.BigEndian.Uint16(header[2:])))
	at := 1
	for range body[0] {
		at += 2 + int(body[at+1])
	}
	return body[1:at], int(body[at])
}

// accept takes a link that the relay opens in the mux.
func (s *second) accept(mux *yamux.Session) *link {
	s.Helper()
	stream, err := mux.Accept()
	check(s.T, err)
	_ = stream.SetDeadline(time.Now().Add(20 * time.Second))
	return &link{s.T, stream, bufio.NewReader(stream)}
}
