// The packages of this module read what another build has said.

package docs_test

import (
	"bytes"
	"cmp"
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
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/noise"
	"github.com/secureportal/sp/wire"
)

// recorded are the stories that there is a recording of.
var recorded = []string{
	"bridge", "inlet", "outlet", "proxy", "refusals", "registration", "relay", "relayed",
	"resumed", "resumes",
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

	sealed  map[string][][]byte // all records, as they went over a link
	again   map[string]int      // which of them is next, where they are sent again
	attempt uint32              // the highest to resume it
	resumes *readFlow           // the flow that this one is to be the new link of
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
