package route

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// What the other side of a mux may have this one keep. yamux has no limits for these.
const (
	muxPings      = 16               // that may come at once, and as many again a second each
	muxUnended    = 1024             // links that a relay has closed and the outlet has not
	muxUnendedFor = 10 * time.Second // since they were closed, at least
	muxUntaken    = time.Minute      // for which links wait to be taken, and none is
)

// errPings is the end of a mux.
var errPings = errors.New("too many pings in the mux")

// pingLimit is the conn of a mux, and fails when more pings come than anybody needs: yamux answers each on a goroutine of
// its own, and whoever does not read the answers could make as many as he likes. It follows the frames that are read
// (spec.md of yamux). Reading belongs to one goroutine.
type pingLimit struct {
	net.Conn

	header [muxHeader]byte
	have   int    // bytes of header
	data   uint32 // bytes until the next header
	tokens int
	filled time.Time
}

// The header of yamux's frames: version, type, flags (2), stream (4), length (4).
const (
	muxHeader   = 12
	muxTypeData = 0
	muxTypePing = 2
	muxFlagSYN  = 1
)

// Read implements net.Conn.
func (l *pingLimit) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	for b := p[:n]; len(b) > 0; {
		if skip := min(uint32(len(b)), l.data); skip > 0 {
			l.data -= skip
			b = b[skip:]
			continue
		}
		took := copy(l.header[l.have:], b)
		l.have += took
		b = b[took:]
		if l.have == muxHeader && !l.frame() {
			return 0, errPings
		}
	}
	return n, err
}

// frame takes note of a header, and reports false if it is one ping too many.
func (l *pingLimit) frame() bool {
	l.have = 0
	switch l.header[1] {
	case muxTypeData:
		l.data = binary.BigEndian.Uint32(l.header[8:])
	case muxTypePing:
		if binary.BigEndian.Uint16(l.header[2:])&muxFlagSYN != 0 {
			return l.take(time.Now())
		}
	}
	return true
}

func (l *pingLimit) take(now time.Time) bool {
	if now.Sub(l.filled) >= time.Second {
		l.tokens, l.filled = muxPings, now
	}
	l.tokens--
	return l.tokens >= 0
}

// muxLinks is what the links of a mux have in common.
type muxLinks struct {
	run     func(func()) bool // has something run by the node, which waits for it
	most    int32             // links that the other side may leave open, or the mux ends; 0 is any number
	unended atomic.Int32      // that it does

	opening, opened atomic.Int64 // how many wait to be taken, and how many have been
}

// link returns one of them.
func (k *muxLinks) link(s *yamux.Stream) *muxLink { return &muxLink{Stream: s, links: k} }

// open opens one.
func (k *muxLinks) open(mux *yamux.Session) (*muxLink, error) {
	k.opening.Add(1)
	defer k.opening.Add(-1)
	s, err := mux.OpenStream()
	if err != nil {
		return nil, err
	}
	k.opened.Add(1)
	return k.link(s), nil
}

// drain throws away what comes on a closed link until the other side ends it. Somebody who never does may be an
// application behind it that has nothing to say, or one who has many and means harm.
func (k *muxLinks) drain(l *muxLink) {
	l.reading.Lock() // whoever reads has been told to stop, and nobody begins any more
	l.reading.Unlock()
	_ = l.SetReadDeadline(time.Now().Add(muxUnendedFor))
	if _, err := io.Copy(io.Discard, l.Stream); err != yamux.ErrTimeout {
		return
	}
	defer k.unended.Add(-1)
	if k.unended.Add(1) > k.most && k.most > 0 {
		_ = l.Session().Close()
		return
	}
	_ = l.SetReadDeadline(time.Time{})
	_, _ = io.Copy(io.Discard, l.Stream)
}

// watch ends a mux whose other side takes none of the links that wait for it. It returns when the mux has ended.
func (k *muxLinks) watch(mux *yamux.Session) {
	look := time.NewTicker(muxUntaken)
	defer look.Stop()
	waited, before := false, int64(0)
	for {
		select {
		case <-mux.CloseChan():
			return
		case <-look.C:
		}
		waits, opened := k.opening.Load() > 0, k.opened.Load()
		if waits && waited && opened == before {
			_ = mux.Close()
			return
		}
		waited, before = waits, opened
	}
}
