package mux

import (
	"encoding/binary"
	"net"
	"time"
)

// muxPings may come at once, and as many again a second each.
const pingsAtOnce = 16

// pingLimit is the conn of a mux, and fails when more pings come than anybody needs: yamux answers each on a goroutine of
// its own, and whoever does not read the answers could make as many as he likes. It follows the frames that are read
// (spec.md of yamux). Reading belongs to one goroutine.
type pingLimit struct {
	net.Conn
	exceeded func() // is called before it fails

	header [headerSize]byte
	have   int    // bytes of header
	data   uint32 // bytes until the next header
	tokens int
	filled time.Time
}

// The header of yamux's frames: version, type, flags (2), stream (4), length (4).
const (
	headerSize = 12
	typeData   = 0
	typePing   = 2
	flagSYN    = 1
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
		if l.have == headerSize && !l.frame() {
			l.exceeded()
			return 0, errPings
		}
	}
	return n, err
}

// frame takes note of a header, and reports false if it is one ping too many.
func (l *pingLimit) frame() bool {
	l.have = 0
	switch l.header[1] {
	case typeData:
		l.data = binary.BigEndian.Uint32(l.header[8:])
	case typePing:
		if binary.BigEndian.Uint16(l.header[2:])&flagSYN != 0 {
			return l.take(time.Now())
		}
	}
	return true
}

func (l *pingLimit) take(now time.Time) bool {
	if now.Sub(l.filled) >= time.Second {
		l.tokens, l.filled = pingsAtOnce, now
	}
	l.tokens--
	return l.tokens >= 0
}
