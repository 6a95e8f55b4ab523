// Package direct is what two ends that a relay has joined say to each other to make a connection
// without it, and what each of them believes: which addresses it is ready to connect to, and how
// often it takes part. It has no sockets.
package direct

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// Kind is what a frame is.
type Kind uint8

// The frames of the service.
const (
	Addresses Kind = 1 // where the sender may be met
	Ask       Kind = 2 // the initiator measures the way
	Answer    Kind = 3 // to that
	Now       Kind = 4 // both dial
)

const (
	headerSize = 3 // kind (1) | length (2)

	// MaxAddresses is how many one side says.
	MaxAddresses = 4

	version4, version6 = 4, 6
	// maxBody is the longest body: a count, and addresses of IPv6.
	maxBody = 1 + MaxAddresses*(1+16+2)
)

// ErrMalformed says that something is no frame, or not one that comes here.
var ErrMalformed = errors.New("malformed frame of the direct service")

// Frame is one of them.
type Frame struct {
	Kind      Kind
	Addresses []netip.AddrPort // of Addresses, 1 to MaxAddresses
}

// Append appends f.
func Append(b []byte, f Frame) []byte {
	var body []byte
	if f.Kind == Addresses {
		body = AppendAddresses(nil, f.Addresses)
	}
	b = append(b, byte(f.Kind))
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// AppendAddresses appends a list, of MaxAddresses at most.
func AppendAddresses(b []byte, all []netip.AddrPort) []byte {
	b = append(b, byte(len(all)))
	for _, a := range all {
		ip := a.Addr().Unmap()
		family := byte(version6)
		if ip.Is4() {
			family = version4
		}
		b = append(append(b, family), ip.AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, a.Port())
	}
	return b
}

// Read reads a frame, and no more.
func Read(r io.Reader) (f Frame, err error) {
	var head [headerSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return f, err
	}
	f.Kind = Kind(head[0])
	size := int(binary.BigEndian.Uint16(head[1:]))
	switch {
	case size > maxBody:
		return f, fmt.Errorf("%w: %d bytes", ErrMalformed, size)
	case f.Kind < Addresses || f.Kind > Now:
		return f, fmt.Errorf("%w: kind %d", ErrMalformed, f.Kind)
	case f.Kind != Addresses && size > 0:
		return f, fmt.Errorf("%w: %d bytes in kind %d", ErrMalformed, size, f.Kind)
	case f.Kind != Addresses:
		return f, nil
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return f, err
	}
	f.Addresses, err = ParseAddresses(body)
	return f, err
}

// ParseAddresses reads a list of 1 to MaxAddresses, and nothing behind it.
func ParseAddresses(b []byte) (all []netip.AddrPort, err error) {
	if len(b) == 0 || b[0] == 0 || b[0] > MaxAddresses {
		return nil, fmt.Errorf("%w: number of addresses", ErrMalformed)
	}
	n, rest := int(b[0]), b[1:]
	for range n {
		if len(rest) == 0 {
			return nil, fmt.Errorf("%w: too few addresses", ErrMalformed)
		}
		size := 0
		switch rest[0] {
		case version4:
			size = 4
		case version6:
			size = 16
		default:
			return nil, fmt.Errorf("%w: family %d", ErrMalformed, rest[0])
		}
		if len(rest) < 1+size+2 {
			return nil, fmt.Errorf("%w: address cut short", ErrMalformed)
		}
		ip, _ := netip.AddrFromSlice(rest[1 : 1+size])
		port := binary.BigEndian.Uint16(rest[1+size:])
		if port == 0 || ip.Is4In6() {
			return nil, fmt.Errorf("%w: address", ErrMalformed)
		}
		all = append(all, netip.AddrPortFrom(ip, port))
		rest = rest[1+size+2:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: bytes behind the addresses", ErrMalformed)
	}
	return all, nil
}
