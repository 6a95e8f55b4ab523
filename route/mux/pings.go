package mux

import (
	"encoding/binary"
	"io"
	"time"
)

// pingLimit is what a mux reads, and fails when more pings come than anybody needs. yamux answers
// each ping on a goroutine of its own: one who sends pings and does not read the answers could have
// this side start any number. It follows the frames that pass (yamux, spec.md) and keeps none.
// Reading belongs to one goroutine.
type pingLimit struct {
	io.Reader
	exceeded func() // called before it fails

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

// Read implements io.Reader.
func (l *pingLimit) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
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
