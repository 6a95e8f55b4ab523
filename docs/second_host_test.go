// The second implementation where links come in: as a responder, for the roles of outlet and relay.

package docs_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/rand"
	"encoding/binary"
	"io"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// host accepts links for a second implementation. It answers what needs no thought, such as pings,
// and leaves the rest to whoever reads its channels.
type host struct {
	*second
	listener net.Listener
	sessions chan *session // shaken hands, and not told ready
	calls    chan *call    // flows that ask for a service
	asked    chan *asking  // links that ask for a service, outside of a channel
	told     chan told     // on the control links: what is no ping
	resuming chan *resuming

	mu    sync.Mutex
	known map[[16]byte]known
}

// known is a session that flows may name.
type known struct {
	*session
	keys *keys // which may be older than the session's
}

// call is a flow that asks for a service.
type call struct {
	*flow
	opened
	over chan bool // whether the link is clean
}

// asking is a link that asks for a service. It has no status yet.
type asking struct {
	*link
	opened
}

// told is a record on the control link.
type told struct {
	kind byte
	data []byte
}

// listen makes s a host, until the test ends.
func (s *second) listen() *host {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(s.T, err)
	h := &host{
		second: s, listener: l, known: make(map[[16]byte]known),
		sessions: make(chan *session, 8), calls: make(chan *call, 8),
		asked: make(chan *asking, 8), told: make(chan told, 8),
		resuming: make(chan *resuming, 8),
	}
	var serving sync.WaitGroup
	var conns []net.Conn
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c)
			serving.Go(func() { h.serve(h.link(c, bySP)) })
		}
		for _, c := range conns {
			_ = c.Close()
		}
	})
	s.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return h
}

// soon returns what comes on c, which must come soon.
func soon[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("sp does not do what it should")
	}
	panic("not reached")
}

// more tells whether anything more comes on the link, and waits for it.
func (l *link) more() bool {
	if _, err := l.r.Peek(1); err != nil {
		l.track.add(bySP, piece{Kind: isEnd})
		return false
	}
	return true
}

func (h *host) serve(l *link) {
	if !l.more() {
		return
	}
	m := l.message()
	if !bytes.Equal(m.onward, step(2, "api")) {
		hand(h, h.asked, &asking{l, m})
		return
	}
	if l.say(answer(0, byte(m.labels), "")) != nil {
		return // sp does not need it any more
	}
	for l.more() && h.hello(l) {
	}
}

// hello reads a hello, and serves what follows it. It tells whether the link is clean then.
func (h *host) hello(l *link) (clean bool) {
	switch first := l.take(1); first[0] {
	case 1:
		size := l.take(1)
		name := l.take(int(size[0]))
		l.heard(isHello, bytes.Join([][]byte{first, size, name}, nil), nil)
		if string(name) != hybrid {
			l.Errorf("the suite is %s", name)
		}
		n := h.answer(l)
		hand(h, h.sessions, n)
		h.control(n)
		return false
	case 2:
		hello := append(first, l.take(16+8)...)
		l.heard(isFlow, hello, nil)
		return h.flow(l, hello)
	default:
		l.Errorf("a hello that begins with %d", first[0])
		return false
	}
}

// hand gives v to whoever reads c, if the test still goes on.
func hand[T any](h *host, c chan<- T, v T) {
	select {
	case c <- v:
	case <-h.Context().Done():
	}
}

// answer shakes hands on a link whose hello has been read.
func (h *host) answer(l *link) *session {
	n := &session{second: h.second, control: l}
	r, encapsulate, random := h.responder([16]byte{})
	m1 := l.frame()
	l.heard(isFrame, frame(m1), nil)
	r.message1(m1)
	m2 := r.message2(encapsulate)
	l.send(piece{Kind: isFrame, Bytes: frame(m2), Said: r.sent})
	m3 := l.frame()
	r.message3(m3)
	l.heard(isFrame, frame(m3), r.payload)
	l.track.handshake(r.secrets(random))
	n.peer, n.name = r.peer, r.name
	h.renewed(n, r.keys())
	return n
}

// renewed puts the session under new keys.
func (h *host) renewed(n *session, k *keys) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n.keys = k
	n.begin(n.control)
	h.known[k.id] = known{n, k}
}

// responder begins a handshake. What it encapsulates with follows from random.
func (s *second) responder(previous [16]byte) (
	r *responder, encapsulate func(*mlkem.EncapsulationKey768) ([]byte, []byte), random uint64,
) {
	e, err := ecdh.X25519().GenerateKey(rand.Reader)
	check(s.T, err)
	random = mathrand.Uint64()
	r = &responder{
		T: s.T, symmetric: newSymmetric(hybrid, prologue(hybrid, previous)),
		self: s.self, s: s.static, e: e, survive: s.survive,
	}
	return r, func(key *mlkem.EncapsulationKey768) ([]byte, []byte) {
		shared, ciphertext, err := mlkemtest.Encapsulate768(key, kemRandom(random))
		check(s.T, err)
		return shared, ciphertext
	}, random
}

// control reads the control link until it ends.
func (h *host) control(n *session) {
	for n.control.more() {
		switch kind, data := n.control.record(n.receive); kind {
		case 3:
			n.say(4, data)
		case 10:
			n.acknowledged(data)
		case 6:
			h.renew(n, data)
		default:
			hand(h, h.told, told{kind, data})
		}
	}
}

// renew answers a renewal.
func (h *host) renew(n *session, m1 []byte) {
	r, encapsulate, random := h.responder(n.keys.id)
	r.message1(m1)
	n.say(6, r.message2(encapsulate))
	kind, m3 := n.hear()
	if kind != 6 {
		n.Errorf("record of type %d in a renewal", kind)
	}
	r.message3(m3)
	n.control.track.handshake(r.secrets(random))
	n.say(5, nil)
	h.renewed(n, r.keys())
	n.say(5, nil)
	hand(h, h.told, told{6, nil})
}

// flow serves one flow, and tells whether its link is clean then.
func (h *host) flow(l *link, hello []byte) (clean bool) {
	h.mu.Lock()
	k := h.known[[16]byte(hello[1:17])]
	h.mu.Unlock()
	if k.keys == nil {
		l.Errorf("a flow of the unknown session %x", hello[1:17])
		return false
	}
	f := &flow{link: l, named: k.keys.named(binary.BigEndian.Uint64(hello[17:]))}
	f.receive, f.send = k.keys.flow(f.number)
	kind, data := l.record(f.receive)
	if kind == 9 && h.survive > 0 {
		r := &resuming{flow: f, request: data, over: make(chan bool, 1)}
		hand(h, h.resuming, r)
		return h.awaitOver(r.over)
	}
	if kind == 1 { // it asks for nothing
		f.end()
		return true
	}
	f.left = data
	header := f.takeData(4)
	m := parseOpening(header, f.takeData(int(binary.BigEndian.Uint16(header[2:]))))
	if m.flags&probe != 0 {
		f.answer(m)
		f.end()
		clean = f.atEnd()
	} else {
		over := make(chan bool, 1)
		hand(h, h.calls, &call{f, m, over})
		clean = h.awaitOver(over)
	}
	if clean && h.survive > 0 {
		k.acknowledge(f)
	}
	return clean
}

// awaitOver returns whether a link is clean that a call has been on.
func (h *host) awaitOver(over <-chan bool) (clean bool) {
	select {
	case clean = <-over:
	case <-h.Context().Done():
	}
	return clean
}

// answer says that the service is there.
func (f *flow) answer(m opened) {
	f.Helper()
	_, err := f.Write([]byte{0, byte(m.labels), 0})
	check(f.T, err)
}

// atEnd tells whether the flow ends with nothing more.
func (f *flow) atEnd() bool {
	b, err := io.ReadAll(f)
	return len(b) == 0 && err == nil
}
