package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What passes through a queue (PROTOCOL.md, Queues):
//
//	message = version (1) = 1 | type (1) | carrier (16) | number (8) | taken (8) | body
//
//	type       number    taken     body
//	1 hello    0         0         box (16) | place (4) | window (4)
//	2 welcome  0         0         the same
//	3 data     its own   so far    bytes of the mux
//	4 beat     its own   so far    none
//	5 end      its own   so far    none: nothing more comes
//	6 cut      0         0         none: there is no such carrier here
//
// A hello goes to the queue's own box, or to that of one who listens. What answers it goes to the
// box that it names, and what answers that to the box of the welcome. Numbers count the messages of
// one direction that have one, from 0 on.
const (
	version = 1

	headSize  = 1 + 1 + IDSize + 8 + 8
	helloSize = IDSize + 4 + 4

	// maxData is the most bytes of the body of one message.
	maxData = 128 << 10

	// MaxMessage is the most bytes of one message, and LeastMessage the least that a broker has to
	// take.
	MaxMessage   = headSize + maxData
	LeastMessage = headSize + 1<<10
)

type kind uint8

const (
	kindHello kind = 1 + iota
	kindWelcome
	kindData
	kindBeat
	kindEnd
	kindCut
)

// IDSize is how many bytes the names of boxes and carriers have. They are random.
const IDSize = 16

// ID is the name of a carrier, or of a box.
type ID [IDSize]byte

// Box is where somebody reads messages. The zero Box is the queue's own, which all read who listen.
type Box struct {
	ID    ID
	Place uint32 // the partition, where a broker has such
}

// message is one that has been taken apart. Its body is part of what it was read from.
type message struct {
	kind          kind
	carrier       ID
	number, taken uint64
	body          []byte

	// Of a hello and a welcome.
	box    Box
	window uint32
}

// errMessage says that something is no message of this protocol.
var errMessage = errors.New("not a message of sp")

func (m message) append(dst []byte) []byte {
	dst = append(dst, version, byte(m.kind))
	dst = append(dst, m.carrier[:]...)
	dst = binary.BigEndian.AppendUint64(dst, m.number)
	dst = binary.BigEndian.AppendUint64(dst, m.taken)
	if m.kind == kindHello || m.kind == kindWelcome {
		dst = append(dst, m.box.ID[:]...)
		dst = binary.BigEndian.AppendUint32(dst, m.box.Place)
		return binary.BigEndian.AppendUint32(dst, m.window)
	}
	return append(dst, m.body...)
}

func parse(b []byte) (m message, err error) {
	switch {
	case len(b) > MaxMessage:
		return m, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	case len(b) < headSize:
		return m, fmt.Errorf("%w: cut short", errMessage)
	case b[0] != version:
		return m, fmt.Errorf("%w: version %d", errMessage, b[0])
	}
	m.kind = kind(b[1])
	b = b[2:]
	b = b[copy(m.carrier[:], b):]
	m.number, m.taken = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	m.body = b[16:]
	want := 0
	switch m.kind {
	case kindHello, kindWelcome:
		want = helloSize
	case kindData:
		if len(m.body) == 0 {
			return m, fmt.Errorf("%w: no data", errMessage)
		}
		want = len(m.body)
	case kindBeat, kindEnd, kindCut:
	default:
		return m, fmt.Errorf("%w: type %d", errMessage, m.kind)
	}
	if len(m.body) != want {
		return m, fmt.Errorf("%w: %d bytes of type %d", errMessage, len(m.body), m.kind)
	}
	if m.kind == kindHello || m.kind == kindWelcome {
		copy(m.box.ID[:], m.body)
		m.box.Place = binary.BigEndian.Uint32(m.body[IDSize:])
		m.window = binary.BigEndian.Uint32(m.body[IDSize+4:])
		if m.box.ID == (ID{}) || m.window < leastWindow {
			return m, fmt.Errorf("%w: no box, or no window", errMessage)
		}
	}
	return m, nil
}
