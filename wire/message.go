package wire

import (
	"encoding/binary"
	"fmt"
)

// Route is a list of addresses, the next one first.
type Route []Address

// Flags ask something of the node that ends an opening message's onward route. Unknown flags are
// refused.
type Flags uint8

const (
	// Probe asks whether the service is there. The status answers; nothing is opened.
	Probe Flags = 1 << 0
	// Lazy allows an OK status to wait until the service has something to say: its bytes then go
	// out together.
	Lazy Flags = 1 << 1

	knownFlags = Probe | Lazy
)

// Message is what opens a link: where to, the way back, and a few bytes for the service.
type Message struct {
	Flags   Flags
	Onward  Route
	Return  Route
	Payload []byte
}

// AppendMessage appends m's encoding to dst. It gives an error that wraps ErrTooLong or
// ErrMalformed, and no bytes, for a message that a decoder would refuse.
func AppendMessage(dst []byte, m Message) ([]byte, error) {
	if len(m.Onward)+len(m.Return) > MaxRoute {
		return nil, fmt.Errorf("%w: a route has at most %d addresses", ErrTooLong, MaxRoute)
	}
	if m.Flags&^knownFlags != 0 {
		return nil, fmt.Errorf("%w: unknown flags %#x", ErrMalformed, m.Flags)
	}
	start := len(dst)
	dst = append(dst, Version, byte(m.Flags), 0, 0)
	dst, err := appendRoute(dst, m.Onward, false)
	if err != nil {
		return nil, err
	}
	if dst, err = appendRoute(dst, m.Return, true); err != nil {
		return nil, err
	}
	dst = append(dst, m.Payload...)
	if len(dst)-start > MaxMessage {
		return nil, fmt.Errorf("%w: a message has at most %d bytes", ErrTooLong, MaxMessage)
	}
	binary.BigEndian.PutUint16(dst[start+2:], uint16(len(dst)-start-headerSize))
	return dst, nil
}

// MessageSize returns the size of the message that begins b, header included, or 0 where b is too
// short to tell. Only the header has been looked at: an error means that b does not begin a message
// of this version and within the limits.
func MessageSize(b []byte) (int, error) {
	if len(b) > 0 && b[0] != Version {
		return 0, ErrVersion
	}
	if len(b) < headerSize {
		return 0, nil
	}
	size := headerSize + int(binary.BigEndian.Uint16(b[2:]))
	if size > MaxMessage {
		return 0, fmt.Errorf("%w: message of %d bytes", ErrTooLong, size)
	}
	return size, nil
}

// ParseMessage decodes b, which is one whole message as MessageSize measured it. The payload shares
// b's memory.
func ParseMessage(b []byte) (Message, error) {
	size, err := MessageSize(b)
	if err != nil {
		return Message{}, err
	}
	if size == 0 || size != len(b) {
		return Message{}, fmt.Errorf("%w: length does not fit", ErrMalformed)
	}
	m := Message{Flags: Flags(b[1])}
	if m.Flags&^knownFlags != 0 {
		return Message{}, fmt.Errorf("%w: unknown flags %#x", ErrMalformed, b[1])
	}
	b = b[headerSize:]
	if m.Onward, b, err = parseRoute(b, MaxRoute, false); err != nil {
		return Message{}, err
	}
	if m.Return, b, err = parseRoute(b, MaxRoute-len(m.Onward), true); err != nil {
		return Message{}, err
	}
	m.Payload = b
	return m, nil
}

// appendRoute appends r. Labels belong in return routes, and nothing else does.
func appendRoute(dst []byte, r Route, labels bool) ([]byte, error) {
	dst = append(dst, byte(len(r)))
	for _, a := range r {
		if (a.Kind == Label) != labels || a.Kind == Unix {
			return nil, fmt.Errorf("%w: address of kind %d out of place", ErrMalformed, a.Kind)
		}
		var err error
		if dst, err = AppendAddress(dst, a); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func parseRoute(b []byte, limit int, labels bool) (Route, []byte, error) {
	if len(b) == 0 {
		return nil, nil, fmt.Errorf("%w: route cut short", ErrMalformed)
	}
	count := int(b[0])
	if count > limit {
		return nil, nil, fmt.Errorf("%w: route of %d addresses", ErrTooLong, count)
	}
	b = b[1:]
	if count == 0 {
		return nil, b, nil
	}
	r := make(Route, count)
	for i := range r {
		var err error
		if r[i], b, err = ParseAddress(b); err != nil {
			return nil, nil, err
		}
		if (r[i].Kind == Label) != labels || r[i].Kind == Unix {
			return nil, nil, fmt.Errorf("%w: address of kind %d out of place", ErrMalformed,
				r[i].Kind)
		}
	}
	return r, b, nil
}
