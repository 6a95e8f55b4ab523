// The packages of this module read what another build has said.

package docs_test

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/noise"
	"github.com/secureportal/sp/wire"
)

// recorded are the stories that there is a recording of.
var recorded = []string{
	"bridge", "inlet", "outlet", "proxy", "refusals", "registration", "relay", "relayed",
}

// TestRecordings reads the recordings of another build: each byte of them, with the packages that
// nodes read with, from what the second implementation's side knew. What was encrypted has to say
// what was said, and what has one encoding only has to be encoded in the same way again.
func TestRecordings(t *testing.T) {
	all := load(t, recordings)
	for _, name := range recorded {
		r, ok := all[name]
		if !ok {
			t.Errorf("there is no recording of the story %s", name)
			continue
		}
		t.Run(name, func(t *testing.T) { newReading(t, r).all() })
	}
	if len(all) != len(recorded) {
		t.Errorf("there are %d recordings, want %d", len(all), len(recorded))
	}
}

// reading is one recording that is being read.
type reading struct {
	*testing.T
	*recording
	people   map[identity.Identifier]*identity.Identity // of the second implementation
	keys     map[identity.Identifier]bool               // sp's
	sessions map[[16]byte]*readSession
	flows    []*readFlow
}

// readSession is a session whose handshake has been read.
type readSession struct {
	secret    *noise.Secret
	number    int    // in the order of handshakes
	initiator string // "second" or "sp"
	who       identity.Identifier
}

// readFlow is a flow, and what each side has said in it.
type readFlow struct {
	*readSession
	link    int
	number  uint64
	ciphers map[string]*noise.CipherState
	data    map[string][]byte
	ended   map[string]bool
	aborted bool
}

func newReading(t *testing.T, r *recording) *reading {
	t.Helper()
	reading := &reading{
		T: t, recording: r,
		people:   make(map[identity.Identifier]*identity.Identity),
		keys:     make(map[identity.Identifier]bool),
		sessions: make(map[[16]byte]*readSession),
	}
	for name, p := range r.People {
		id, err := identity.New(bytes.NewReader(p.Seed), time.Unix(p.Created, 0))
		check(t, err)
		if id.Identifier().String() != name {
			t.Errorf("the identity of %s is %s", name, id.Identifier())
		}
		reading.people[id.Identifier()] = id
	}
	for role, text := range r.Keys {
		reading.keys[readKeyFile(t, role, text)] = true
	}
	return reading
}

// readKeyFile reads a key file and makes it anew.
func readKeyFile(t *testing.T, role, text string) identity.Identifier {
	t.Helper()
	path := filepath.Join(t.TempDir(), role)
	check(t, os.WriteFile(path, []byte(text), 0o600))
	id, err := identity.Load(path)
	check(t, err)
	check(t, id.Save(path, true))
	if again, err := os.ReadFile(path); err != nil || string(again) != text {
		t.Errorf("the key file of the %s is written as %q, %v", role, again, err)
	}
	return id.Identifier()
}

func (r *reading) all() {
	for i, l := range r.Links {
		if l.Plain == "" {
			(&readLink{reading: r, recordedLink: l, index: i, rest: r.Links[i].bytes()}).all()
		}
	}
	slices.SortStableFunc(r.flows, func(a, b *readFlow) int {
		sessions := cmp.Compare(a.readSession.number, b.readSession.number)
		return cmp.Or(sessions, cmp.Compare(a.number, b.number))
	})
	r.services()
	r.forwards()
}

// bytes returns all that each side says on the link.
func (l *recordedLink) bytes() map[string][]byte {
	all := make(map[string][]byte)
	for _, p := range l.Pieces {
		all[p.By] = append(all[p.By], p.Bytes...)
	}
	return all
}

// readLink is a link that is being read.
type readLink struct {
	*reading
	*recordedLink
	index   int
	rest    map[string][]byte // what each side is still to say
	first   map[string]bool   // each side has said something
	session *readSession      // of the control link, or nil
	control map[string]*noise.CipherState
	shaking *readHandshake
	flow    *readFlow
	refused error // why the opening message is none
}

func (l *readLink) all() {
	l.first = make(map[string]bool)
	for i, p := range l.Pieces {
		l.piece(p)
		l.rest[p.By] = l.rest[p.By][len(p.Bytes):]
		l.first[p.By] = true
		if l.Failed() {
			l.Fatalf("piece %d of link %d (%s) is not what it was: a %s by %s",
				i, l.index, l.About, p.Kind, p.By)
		}
	}
}

func (l *readLink) piece(p piece) {
	switch p.Kind {
	case isMessage:
		if m, _ := l.message(l.rest[p.By], len(p.Bytes)); words(m) != p.Means {
			l.Errorf("it means %s, and meant %s", words(m), p.Means)
		}
	case isStatus:
		s, _ := l.status(l.rest[p.By], len(p.Bytes))
		means := fmt.Sprintf("status %d of hop %d: %s", s.Code, s.Hop, s.Reason)
		if means != p.Means {
			l.Errorf("it means %s, and meant %s", means, p.Means)
		} else if l.refused != nil && s.Code != refusal(l.refused) {
			l.Errorf("what is refused now with %v was refused with %v", l.refused, s)
		}
	case isHello:
		l.hello(p)
	case isFrame:
		if size := int(binary.BigEndian.Uint16(p.Bytes)); size != len(p.Bytes)-2 {
			l.Errorf("a frame of %d bytes", size)
		}
		l.handshake(p.By, p.Bytes[2:], p.Said)
	case isFlow:
		l.begin(p)
	case isRecord:
		l.record(p)
	case isRaw:
		if !l.first[p.By] && p.By == l.Dialer && l.Mux == nil {
			l.refused = l.refuse(l.rest[p.By])
		}
	case isEnd:
		if len(l.rest[p.By]) > 0 {
			l.Errorf("%d bytes behind the end", len(l.rest[p.By]))
		}
	default:
		l.Errorf("unknown")
	}
}

// message reads the opening message that b begins with, and returns it and what follows it.
func (r *reading) message(b []byte, want int) (wire.Message, []byte) {
	r.Helper()
	size, err := wire.MessageSize(b)
	if err != nil || want > 0 && size != want {
		r.Fatalf("a message of %d bytes, %v, want %d", size, err, want)
	}
	m, err := wire.ParseMessage(b[:size])
	check(r.T, err)
	if again, err := wire.AppendMessage(nil, m); err != nil || !bytes.Equal(again, b[:size]) {
		r.Errorf("the message %v is encoded as %x, %v, want %x", m, again, err, b[:size])
	}
	if means := meansMessage(b); words(m) != means {
		r.Errorf("a message means %s, want %s", words(m), means)
	}
	return m, b[size:]
}

// words says in words what a message says, as meansMessage does by the document.
func words(m wire.Message) string {
	var routes [2][]string
	for i, route := range []wire.Route{m.Onward, m.Return} {
		for _, a := range route {
			routes[i] = append(routes[i], wordsOf(a))
		}
	}
	return inWords(byte(m.Flags), routes[0], routes[1], m.Payload)
}

func wordsOf(a wire.Address) string {
	switch a.Kind {
	case wire.Service:
		return "service " + a.Name
	case wire.Secure:
		return "secure " + a.Name
	case wire.IP4, wire.IP6:
		return netip.AddrPortFrom(a.IP, a.Port).String()
	case wire.DNS:
		return net.JoinHostPort(a.Name, strconv.Itoa(int(a.Port)))
	default:
		return fmt.Sprintf("label %x", a.Name)
	}
}

// refuse makes sure that b begins with no message, and returns why.
func (r *reading) refuse(b []byte) error {
	r.Helper()
	size, err := wire.MessageSize(b)
	if err == nil {
		_, err = wire.ParseMessage(b[:size])
	}
	if err == nil {
		r.Errorf("%x is a message now", b)
	}
	return err
}

// refusal is the code of the status for what is no message.
func refusal(err error) wire.Code {
	if errors.Is(err, wire.ErrTooLong) {
		return wire.TooLong
	}
	return wire.BadMessage
}

// status reads the status that b begins with, and returns it and what follows it.
func (r *reading) status(b []byte, want int) (wire.Status, []byte) {
	r.Helper()
	s, size, err := wire.ParseStatus(b)
	if err != nil || want > 0 && size != want {
		r.Fatalf("a status of %d bytes, %v, want %d", size, err, want)
	}
	if again := wire.AppendStatus(nil, s); !bytes.Equal(again, b[:size]) {
		r.Errorf("the status %v is encoded as %x, want %x", s, again, b[:size])
	}
	return s, b[size:]
}

// ---- handshakes

// readHandshake is a handshake that is being read, by the second implementation's side of it.
type readHandshake struct {
	handshakeSecrets
	state   *noise.HandshakeState
	renewal bool
	count   int // of messages
}

// hello begins a handshake.
func (l *readLink) hello(p piece) {
	suite := string(p.Bytes[2:])
	if p.Bytes[0] != 1 || int(p.Bytes[1]) != len(suite) {
		l.Errorf("the hello %x", p.Bytes)
	}
	l.shake([16]byte{})
	if suite != l.shaking.Suite {
		l.Errorf("the suite is %s, want %s", suite, l.shaking.Suite)
	}
}

// shake begins the link's next handshake.
func (l *readLink) shake(previous [16]byte) {
	l.Helper()
	if len(l.Handshakes) == 0 {
		l.Fatal("more handshakes than there are secrets of")
	}
	h := &readHandshake{handshakeSecrets: l.Handshakes[0], renewal: previous != [16]byte{}}
	l.Handshakes = l.Handshakes[1:]
	suite, err := noise.ParseSuite(h.Suite)
	check(l.T, err)
	random := bytes.Clone(h.Ephemeral)
	if h.Initiator {
		random = append(random, h.KEM...)
	}
	h.state, err = noise.NewHandshakeState(noise.Config{
		Suite: suite, Initiator: h.Initiator, Prologue: prologue(h.Suite, previous),
		Static: privateKey(h.Static), Random: bytes.NewReader(random),
	})
	check(l.T, err)
	if !l.keys[h.Peer] {
		l.Errorf("the peer %s has no key file", h.Peer)
	}
	l.shaking = h
}

// handshake reads a message of sp's, or makes one of the second implementation's again.
func (l *readLink) handshake(by string, message, said []byte) {
	l.Helper()
	h := l.shaking
	h.count++
	if by == bySecond {
		again, err := h.write(l.reading, said)
		check(l.T, err)
		if !bytes.Equal(again, message) {
			l.Errorf("handshake message %d is made differently", h.count)
		}
	} else {
		payload, hash, err := h.state.ReadMessage(message)
		check(l.T, err)
		if said != nil && !bytes.Equal(payload, said) {
			l.Errorf("handshake message %d says %x, want %x", h.count, payload, said)
		}
		h.proof(l.reading, payload, hash)
	}
	if h.state.Done() {
		l.done()
	}
}

// write makes the second implementation's next message.
func (h *readHandshake) write(r *reading, said []byte) ([]byte, error) {
	if h.count == 1 {
		return h.state.WriteMessage(nil, nil)
	}
	role, name := identity.Initiator, h.Name
	if !h.Initiator {
		role, name = identity.Responder, ""
		h.encapsulation(r)
	}
	prove := proving(r.people[h.Self], role, name)
	return h.state.WriteMessage(nil, func(hash []byte) ([]byte, error) {
		payload, err := prove(hash)
		if said != nil && !bytes.Equal(payload, said) {
			r.Errorf("handshake message %d proves with %x, want %x", h.count, payload, said)
		}
		return payload, err
	})
}

// encapsulation makes the next encapsulation the one that was recorded.
func (h *readHandshake) encapsulation(r *reading) {
	cryptotest.SetGlobalRandom(r.T, h.Random)
	drawn := make([]byte, len(h.KEM))
	_, _ = rand.Read(drawn)
	if !bytes.Equal(drawn, h.KEM) {
		r.Fatal("this version of Go draws other random bytes: the recordings have to be made anew")
	}
	cryptotest.SetGlobalRandom(r.T, h.Random)
}

// proof checks the payload of a message of sp's.
func (h *readHandshake) proof(r *reading, payload, hash []byte) {
	r.Helper()
	if h.count == 1 {
		if len(payload) > 0 {
			r.Errorf("message 1 says %x", payload)
		}
		return
	}
	role, want := identity.Responder, ""
	if !h.Initiator {
		role, want = identity.Initiator, h.Name
	}
	size := int(payload[0])
	if name := string(payload[1 : 1+size]); name != want {
		r.Errorf("the name is %q, want %q", name, want)
	}
	peer, err := identity.VerifyProof(role, hash, payload[1+size:])
	check(r.T, err)
	if peer.Identifier() != h.Peer {
		r.Errorf("message %d is by %s, want %s", h.count, peer.Identifier(), h.Peer)
	}
}

// done takes the keys of the handshake: those of the responder's direction, in a renewal, only
// behind its ready.
func (l *readLink) done() {
	secret, err := l.shaking.state.Secret("sp/1 session")
	check(l.T, err)
	s := &readSession{secret: secret, number: len(l.sessions), initiator: bySP, who: l.shaking.Peer}
	if l.shaking.Initiator {
		s.initiator, s.who = bySecond, l.shaking.Self
	}
	l.sessions[secret.ID("sp/1 session id")] = s
	l.session = s
	next := s.ciphers(0)
	if l.shaking.renewal {
		responder := other(s.initiator)
		next[responder] = l.control[responder]
	}
	l.control = next
}

// ciphers returns what each side of flow n encrypts with.
func (s *readSession) ciphers(n uint64) map[string]*noise.CipherState {
	initiator, responder := s.secret.CipherStates("sp/1 flow", n)
	return map[string]*noise.CipherState{s.initiator: initiator, other(s.initiator): responder}
}

func other(by string) string {
	if by == bySP {
		return bySecond
	}
	return bySP
}

// ---- records

// begin reads the hello of a flow.
func (l *readLink) begin(p piece) {
	if p.Bytes[0] != 2 || len(p.Bytes) != 1+16+8 {
		l.Fatalf("the hello %x", p.Bytes)
	}
	if l.flow != nil && (len(l.flow.ended) < 2 || l.flow.aborted) {
		l.Error("a flow on a link that is not clean")
	}
	s := l.sessions[[16]byte(p.Bytes[1:17])]
	if s == nil {
		l.Fatalf("the session %x is unknown", p.Bytes[1:17])
	}
	number := binary.BigEndian.Uint64(p.Bytes[17:])
	l.flow = &readFlow{
		readSession: s, link: l.index, number: number, ciphers: s.ciphers(number),
		data: make(map[string][]byte), ended: make(map[string]bool),
	}
	l.flows = append(l.flows, l.flow)
}

func (l *readLink) record(p piece) {
	ciphers := l.control
	if l.flow != nil {
		ciphers = l.flow.ciphers
	}
	if size := int(binary.BigEndian.Uint16(p.Bytes)); size != len(p.Bytes)-2 {
		l.Errorf("a record of %d bytes", size)
	}
	said, err := ciphers[p.By].DecryptWithAd(nil, nil, p.Bytes[2:])
	check(l.T, err)
	if !bytes.Equal(said, p.Said) {
		l.Errorf("a record says %x, want %x", said, p.Said)
	}
	if l.flow != nil {
		l.flow.said(l.reading, p.By, said[0], said[1:])
	} else {
		l.told(p.By, said[0], said[1:])
	}
}

// said takes note of a record in a flow.
func (f *readFlow) said(r *reading, by string, kind byte, data []byte) {
	switch {
	case f.ended[by] || f.aborted:
		r.Errorf("a record of type %d behind the end", kind)
	case kind == 0:
		f.data[by] = append(f.data[by], data...)
	case kind == 1 && len(data) == 0:
		f.ended[by] = true
	case kind == 2 && len(data) == 1:
		f.aborted = true
	default:
		r.Errorf("a record of type %d with %x in a flow", kind, data)
	}
}

// told takes note of a record on the control link.
func (l *readLink) told(by string, kind byte, data []byte) {
	responder := other(l.session.initiator)
	switch {
	case kind == 2 && len(data) == 1, (kind == 3 || kind == 4) && len(data) == 8:
	case kind == 5 && len(data) == 0 && by == responder:
		if l.shaking.renewal { // it is the last under the old key
			l.control[by] = l.session.ciphers(0)[by]
		}
	case kind == 6:
		if by == l.session.initiator && l.shaking.state.Done() {
			l.shake(l.id())
		}
		l.handshake(by, data, nil)
	case kind == 7 && len(data) == 0, kind == 8 && len(data) == 0 && by == responder:
	default:
		l.Errorf("a record of type %d with %x on the control link", kind, data)
	}
}

// id returns the number of the control link's session.
func (l *readLink) id() [16]byte { return l.session.secret.ID("sp/1 session id") }
