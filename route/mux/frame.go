package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What passes on the carrier is yamux, version 0 (hashicorp/yamux, spec.md):
//
//	frame  = header, and behind one of type data: length bytes of the link
//	header = version (1) = 0 | type (1) | flags (2) | link (4) | length (4)
//
//	type             link        length
//	0 data           its number  bytes that follow
//	1 window update  its number  bytes more that the sender of this takes
//	2 ping           0           any number, which the answer repeats
//	3 go away        0           why: 0 normal, 1 protocol error, 2 internal error
//
//	flags   1 SYN opens a link; with a ping, asks      4 FIN ends the sender's direction
//	        2 ACK takes a link; with a ping, answers   8 RST ends the link both ways, at once
//
// The opener's links have odd numbers. Each direction of a new link has a window of 256 KiB.
const (
	headerSize = 12

	typeData   = 0
	typeWindow = 1
	typePing   = 2
	typeGoAway = 3

	flagSYN = 1
	flagACK = 2
	flagFIN = 4
	flagRST = 8

	goAwayNormal   = 0
	goAwayProtocol = 1

	firstWindow = 256 << 10 // of each direction, before any update
)

type header struct {
	kind   uint8
	flags  uint16
	link   uint32
	length uint32
}

func (h header) append(dst []byte) []byte {
	dst = append(dst, 0, h.kind)
	dst = binary.BigEndian.AppendUint16(dst, h.flags)
	dst = binary.BigEndian.AppendUint32(dst, h.link)
	return binary.BigEndian.AppendUint32(dst, h.length)
}

// errProtocol says that the other side has sent what is no mux.
var errProtocol = errors.New("not a frame of a mux")

func parseHeader(b [headerSize]byte) (header, error) {
	h := header{
		kind: b[1], flags: binary.BigEndian.Uint16(b[2:]),
		link: binary.BigEndian.Uint32(b[4:]), length: binary.BigEndian.Uint32(b[8:]),
	}
	ofMux := h.kind == typePing || h.kind == typeGoAway
	switch {
	case b[0] != 0:
		return h, fmt.Errorf("%w: version %d", errProtocol, b[0])
	case h.kind > typeGoAway:
		return h, fmt.Errorf("%w: type %d", errProtocol, h.kind)
	case ofMux != (h.link == 0):
		return h, fmt.Errorf("%w: type %d for link %d", errProtocol, h.kind, h.link)
	}
	return h, nil
}
