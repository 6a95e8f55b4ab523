package mux

import (
	"fmt"
	"math"
	"time"
)

// input takes frames apart, wherever reads cut them. It belongs to the goroutine that reads the
// carrier.
type input struct {
	mux    *Mux
	header [headerSize]byte
	have   int   // bytes of header
	data   int   // bytes until the next header
	link   *Link // whose they are; nil if they are thrown away
	ends   bool  // the link, with the last of them
}

// feed handles b.
func (in *input) feed(b []byte) error {
	for len(b) > 0 {
		if in.data > 0 {
			n := min(in.data, len(b))
			if in.link != nil {
				in.link.receive(b[:n])
			}
			in.data -= n
			b = b[n:]
			in.endFrame()
			continue
		}
		n := copy(in.header[in.have:], b)
		in.have += n
		b = b[n:]
		if in.have < headerSize {
			return nil
		}
		in.have = 0
		h, err := parseHeader(in.header)
		if err == nil {
			err = in.frame(h)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// endFrame handles what comes behind the last byte of a frame.
func (in *input) endFrame() {
	if in.data > 0 {
		return
	}
	if in.link != nil && in.ends {
		in.link.end()
	}
	in.link, in.ends = nil, false
}

// frame handles a frame whose header has come.
func (in *input) frame(h header) error {
	switch h.kind {
	case typePing:
		return in.ping(h)
	case typeGoAway:
		in.mux.noteGoAway()
		return nil
	}
	l, err := in.mux.linkFor(h)
	if err != nil {
		return err
	}
	if h.kind == typeData {
		in.data, in.link, in.ends = int(h.length), l, h.flags&flagFIN != 0
	}
	if l == nil {
		return nil
	}
	if h.flags&flagACK != 0 {
		in.mux.acknowledge(l)
	}
	switch {
	case h.flags&flagRST != 0:
		l.noteReset()
		in.link = nil
		return nil
	case h.kind == typeData:
		if !l.mayReceive(in.data) {
			return fmt.Errorf("%w: more than link %d has a window for", errProtocol, l.id)
		}
		in.endFrame()
		return nil
	}
	if !l.widen(h.length) {
		return fmt.Errorf("%w: link %d has a window over all bounds", errProtocol, l.id)
	}
	if h.flags&flagFIN != 0 {
		l.end()
	}
	return nil
}

// ping answers a ping.
func (in *input) ping(h header) error {
	if h.flags&flagSYN == 0 {
		return nil // the answer to one that this side never sends
	}
	if !in.mux.pings.take(time.Now()) {
		return errPings
	}
	in.mux.out.tell(header{kind: typePing, flags: flagACK, length: h.length})
	return nil
}

// pingsAtOnce may come at once, and as many again a second each.
const pingsAtOnce = 16

// pingLimit bounds the answers to pings. It belongs to one goroutine.
type pingLimit struct {
	tokens int
	filled time.Time
}

func (l *pingLimit) take(now time.Time) bool {
	if now.Sub(l.filled) >= time.Second {
		l.tokens, l.filled = pingsAtOnce, now
	}
	l.tokens--
	return l.tokens >= 0
}

func (m *Mux) noteGoAway() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.goneAway = true
}

// What may wait to be told to the other side: some, and the grants, the ends and the reset of each
// of the links that there have been at once. Who reads nothing and asks on would have it grow.
const (
	owedAtOnce  = 64 << 10
	owedForLink = 4 * headerSize
)

func (m *Mux) addLocked(l *Link) {
	m.links[l.id] = l
	m.busyLocked()
	m.most = max(m.most, len(m.links))
}

// linkFor returns the link that a frame is for, and makes it if the frame says so; or nil if there
// is none, as when it has been reset from here.
func (m *Mux) linkFor(h header) (*Link, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.out.owes() > owedAtOnce+owedForLink*m.most {
		return nil, errOwed
	}
	l := m.links[h.link]
	if h.flags&flagSYN == 0 || m.links == nil {
		return l, nil
	}
	if l != nil || h.link%2 == m.next%2 {
		return nil, fmt.Errorf("%w: link %d is opened, and is not free", errProtocol, h.link)
	}
	if !m.accepts || len(m.links) >= maxLinks || h.flags&flagRST != 0 {
		m.out.tell(header{kind: typeWindow, flags: flagRST, link: h.link})
		return nil, nil
	}
	l = newLink(m, h.link)
	select {
	case m.queuedLocked() <- l:
		m.addLocked(l)
		return l, nil
	default:
		m.out.tell(header{kind: typeWindow, flags: flagRST, link: h.link})
		return nil, nil
	}
}

// acknowledge takes note that the other side has taken l, or that it will not.
func (m *Mux) acknowledge(l *Link) {
	if l.acknowledge() {
		m.taken.Add(1)
		<-m.slots
	}
}

// maxSendWindow bounds what the other side may say that it takes.
const maxSendWindow = math.MaxInt32
