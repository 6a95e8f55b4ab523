package mesh

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/secureportal/sp/route/relay/set"
)

// What two nodes say to each other in a flow, whichever of them has made it (docs/PROTOCOL.md,
// Relay sets). Integers are big-endian.
//
//	frame = length (4) | kind (1) | what
//
//	kind  = 1 a list of nodes: all that the sender has a session with, and itself
//	        2 records of whose names are
const (
	frameHeader = 4
	maxFrame    = 1 + max(set.MaxList, set.MaxRecordsSize) // bytes, the kind included

	kindList    = 1
	kindRecords = 2
)

var errFrame = errors.New("not a frame of a set's")

// appendFrame appends a frame.
func appendFrame(dst []byte, kind byte, what []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(1+len(what)))
	return append(append(dst, kind), what...)
}

// readFrame reads a frame, whole.
func readFrame(r io.Reader) (kind byte, what []byte, err error) {
	var header [frameHeader + 1]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(header[:])
	if size < 1 || size > uint32(maxFrame) {
		return 0, nil, errFrame
	}
	what = make([]byte, size-1)
	_, err = io.ReadFull(r, what)
	return header[frameHeader], what, err
}
