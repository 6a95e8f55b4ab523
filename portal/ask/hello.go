package ask

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// The first message of TLS (RFC 8446, section 4.1.2; the server name is RFC 6066, section 3), in as
// many records as its sender likes:
//
//	record  = type (1) = 22 | version (2) = 3, any | length (2) | a part of the message
//	message = type (1) = 1 | length (3) | version (2) | random (32) | session | suites |
//	          compressions | extensions
const (
	recordHandshake = 22
	recordMajor     = 3
	recordHeader    = 5
	maxRecord       = 1 << 14
	messageHello    = 1
	messageHeader   = 4
	helloFixed      = 2 + 32 // version and random
	extensionName   = 0
	nameHost        = 0
)

// MaxHello is how many bytes the message has at most, and with all headers of its records at most
// twice as many.
const MaxHello = 16 << 10

// Hello takes in the first message of TLS. The zero value has none of it.
type Hello struct {
	message []byte // so far
	header  []byte // of a record, as far as it has come
	left    int    // of the record, behind its header
	taken   int    // bytes in all
}

// Take takes what has come next, however little, and reports whether the message is there as a
// whole; what follows it is not looked at. The error of what is no such message, or too long, wraps
// ErrMalformed.
func (h *Hello) Take(p []byte) (whole bool, err error) {
	if h.taken += len(p); h.taken > 2*MaxHello {
		p = p[:max(0, len(p)-(h.taken-2*MaxHello))]
	}
	for len(p) > 0 {
		if h.left == 0 {
			n := min(recordHeader-len(h.header), len(p))
			h.header, p = append(h.header, p[:n]...), p[n:]
			if err := h.begin(); err != nil {
				return false, err
			}
			continue
		}
		n := min(h.left, len(p))
		h.message, p = append(h.message, p[:n]...), p[n:]
		h.left -= n
		if whole, err = h.isWhole(); whole || err != nil {
			return whole, err
		}
	}
	if h.taken > 2*MaxHello {
		return false, fmt.Errorf("%w: too many records of TLS for a first message", ErrMalformed)
	}
	return false, nil
}

// begin begins a record, when its header is there.
func (h *Hello) begin() error {
	b := h.header
	if b[0] != recordHandshake || len(b) > 1 && b[1] != recordMajor {
		return fmt.Errorf("%w: no TLS", ErrMalformed)
	}
	if len(b) < recordHeader {
		return nil
	}
	h.left, h.header = int(binary.BigEndian.Uint16(b[3:])), b[:0]
	if h.left == 0 || h.left > maxRecord {
		return fmt.Errorf("%w: a record of TLS with %d bytes", ErrMalformed, h.left)
	}
	return nil
}

func (h *Hello) isWhole() (bool, error) {
	m := h.message
	if m[0] != messageHello {
		return false, fmt.Errorf("%w: TLS begins with message %d", ErrMalformed, m[0])
	}
	if len(m) < messageHeader {
		return false, nil
	}
	size := messageHeader + h.size()
	if size > MaxHello {
		return false, fmt.Errorf("%w: the first message of TLS has %d bytes", ErrMalformed, size)
	}
	return len(m) >= size, nil
}

func (h *Hello) size() int {
	return int(h.message[1])<<16 | int(binary.BigEndian.Uint16(h.message[2:]))
}

// IsEmpty tells whether nothing has come.
func (h *Hello) IsEmpty() bool { return h.taken == 0 }

// ServerName returns the name of the server that the client wants, in lower case, or "" if it names
// none, or an IP address, which is no name. It is for a message that is there as a whole. The error
// wraps ErrMalformed.
func (h *Hello) ServerName() (string, error) {
	b := fields(h.message[messageHeader : messageHeader+h.size()])
	ok := b.skip(helloFixed) && b.skipVector(1) && b.skipVector(2) && b.skipVector(1)
	if ok && len(b) == 0 {
		return "", nil // no extensions: older than the server name
	}
	extensions, ok := b.vector(2)
	if !ok || len(b) > 0 {
		return "", fmt.Errorf("%w: the first message of TLS ends where it should not", ErrMalformed)
	}
	for len(extensions) > 0 {
		kind, ok := extensions.number(2)
		extension, whole := extensions.vector(2)
		if !ok || !whole {
			return "", fmt.Errorf("%w: an extension of TLS ends where it should not", ErrMalformed)
		}
		if kind == extensionName {
			return serverName(extension)
		}
	}
	return "", nil
}

// serverName reads the extension. Only one kind of name has ever been.
func serverName(extension fields) (string, error) {
	names, ok := extension.vector(2)
	for ok && len(extension) == 0 && len(names) > 0 {
		var kind int
		var name fields
		if kind, ok = names.number(1); !ok {
			break
		}
		if name, ok = names.vector(2); !ok || kind != nameHost {
			continue
		}
		a, err := Where(string(name), 1)
		if err != nil {
			return "", fmt.Errorf("%w, as a server name", err)
		}
		return strings.ToLower(a.Name), nil
	}
	return "", fmt.Errorf("%w: a server name that cannot be read", ErrMalformed)
}

// fields are what is left of some bytes.
type fields []byte

func (b *fields) skip(n int) bool {
	if len(*b) < n {
		return false
	}
	*b = (*b)[n:]
	return true
}

// number takes a number of size bytes off the front.
func (b *fields) number(size int) (n int, ok bool) {
	if len(*b) < size {
		return 0, false
	}
	for _, c := range (*b)[:size] {
		n = n<<8 | int(c)
	}
	return n, b.skip(size)
}

// vector takes a length of size bytes, and as many bytes, off the front.
func (b *fields) vector(size int) (v fields, ok bool) {
	n, ok := b.number(size)
	if !ok || len(*b) < n {
		return nil, false
	}
	v = (*b)[:n]
	return v, b.skip(n)
}

func (b *fields) skipVector(size int) bool {
	_, ok := b.vector(size)
	return ok
}

// AlertUnrecognizedName is how who serves nobody of a server name says so, in a record of its own
// (RFC 8446, section 6).
var AlertUnrecognizedName = []byte{21, 3, 3, 0, 2, 2, 112}
