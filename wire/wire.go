// Package wire is the byte layout of what nodes say to each other outside secure channels and when
// they open a route: addresses, routes, opening messages and statuses, and the limits on each.
//
// It turns values into bytes and back. It never touches a socket, a key or a policy, and it
// allocates nothing for a length it has not checked.
//
// # Layout
//
// Integers are big-endian. A link carries, in this order:
//
//	dialer:   message, then whatever the service speaks
//	acceptor: status,  then whatever the service speaks
//
//	message = version (1) | flags (1) | length (2) | onward route | return route | payload
//	route   = count (1) | address × count
//	address = kind (1) | length (1) | value
//	status  = code (1) | hop (1) | length (1) | reason
//
//	kind        value
//	 1 service  name (1–80)                       a service of the node that reads it
//	 2 secure   name (1–80)                       a secure channel responder of that node
//	 3 ip4      address (4) | port (2)            TCP
//	 4 ip6      address (16) | port (2)           TCP
//	 5 dns      port (2) | name (1–253)           TCP
//	 6 label    random (8)                        a node that was passed; return routes only
//	 8 tls      port (2) | host                   TLS over TCP
//	 9 ws       port (2) | host | path            WebSocket
//	10 wss      port (2) | host | path            WebSocket over TLS
//	11 quic     port (2) | host                   QUIC over UDP
//	12 nats     port (2) | host | "/" | subject   a queue at a broker
//	13 kafka    port (2) | host | "/" | topic     the same
//	14 ble      PSM (2) | type (1) | device (6)   Bluetooth Low Energy
//
// A Unix socket's address, of kind 7, stands in the dialer's own route only, and is never encoded.
package wire

import "errors"

// Version is the protocol version in the first byte of each opening message.
const Version = 1

// Limits of the encoding. A decoder checks each before it allocates.
const (
	MaxRoute    = 16   // addresses in onward and return route together
	MaxMessage  = 4096 // bytes of an opening message, header included
	MaxName     = 80   // bytes of a service name
	MaxHost     = 253  // bytes of a DNS name
	MaxPath     = 104  // bytes of a Unix socket's path
	MaxReason   = 200  // bytes of a status's reason
	LabelSize   = 8    // bytes of a label
	headerSize  = 4    // version, flags, length
	statusSize  = 3    // code, hop, length of the reason
	addressSize = 2    // kind, length
)

// ErrMalformed is wrapped by every error a decoder gives for bytes that are not of the layout
// above.
var ErrMalformed = errors.New("malformed message")

// ErrVersion is given for a message of another protocol version, or for bytes that are no message
// at all.
var ErrVersion = errors.New("not an sp message, or one of another version")

// ErrTooLong is wrapped where a route or a message is over its limit.
var ErrTooLong = errors.New("over the limit")
