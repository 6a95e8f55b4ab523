// The second implementation's nodes and links.

package docs_test

import (
	"bufio"
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long a link of the second implementation may take for everything.
const patience = 3 * time.Minute

// second is a node of the second implementation. The suite is the hybrid one.
type second struct {
	*testing.T
	self    *person
	static  *ecdh.PrivateKey // of all its handshakes
	survive uint32           // for how long it keeps a flow that has lost its link, in ms
	label   [8]byte
	to      string // host:port of the node it talks to
	tape    *tape  // records what is said on the node's links; nil records nothing
}

const hybrid = "Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256"

func newSecond(t *testing.T, to string) *second {
	seed := make([]byte, 32)
	_, _ = rand.Read(seed)
	static, err := ecdh.X25519().GenerateKey(rand.Reader)
	check(t, err)
	s := &second{T: t, self: newPerson(seed, time.Now()), static: static, to: to}
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
