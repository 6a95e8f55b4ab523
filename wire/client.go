package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Client is what an inlet says in the opening message to an outlet about the application whose connection it carries.
//
//	client = version (1) = 1 | family (1) | from | to
//	from   = address (4 or 16) | port (2)             the application's own end of its connection
//	to     = address (4 or 16) | port (2)             the inlet's end
//
//	family   4 IPv4, 6 IPv6
//
// An outlet believes it as far as it trusts the inlet. A message without a payload says nothing: the application may
// have come through a Unix socket.
type Client struct{ From, To netip.AddrPort }

const (
	clientVersion = 1
	family4       = 4
	family6       = 6
	clientHeader  = 2
)

// AppendClient appends c's encoding to dst. Both ends must be of one family; an IPv4 address may be in an IPv6 one.
func AppendClient(dst []byte, c Client) ([]byte, error) {
	from, to := c.From.Addr().Unmap().WithZone(""), c.To.Addr().Unmap().WithZone("")
	if !from.IsValid() || !to.IsValid() || from.Is4() != to.Is4() {
		return nil, fmt.Errorf("%w: not two addresses of one family", ErrMalformed)
	}
	family := byte(family6)
	if from.Is4() {
		family = family4
	}
	dst = append(dst, clientVersion, family)
	dst = binary.BigEndian.AppendUint16(append(dst, from.AsSlice()...), c.From.Port())
	return binary.BigEndian.AppendUint16(append(dst, to.AsSlice()...), c.To.Port()), nil
}

// ParseClient decodes b, which is all of an opening message's payload.
func ParseClient(b []byte) (Client, error) {
	if len(b) < clientHeader || b[0] != clientVersion {
		return Client{}, fmt.Errorf("%w: not a client's address of this version", ErrMalformed)
	}
	size := 16
	if b[1] == family4 {
		size = 4
	}
	if b[1] != family4 && b[1] != family6 || len(b) != clientHeader+2*(size+2) {
		return Client{}, fmt.Errorf("%w: client's address of family %d in %d bytes", ErrMalformed, b[1], len(b))
	}
	from, to := b[clientHeader:clientHeader+size+2], b[clientHeader+size+2:]
	c := Client{From: endpoint(from), To: endpoint(to)}
	if c.From.Addr().Is4In6() || c.To.Addr().Is4In6() {
		return Client{}, fmt.Errorf("%w: an IPv4 address in an IPv6 one", ErrMalformed)
	}
	return c, nil
}

// endpoint reads an address of 4 or 16 bytes and a port.
func endpoint(b []byte) netip.AddrPort {
	size := len(b) - 2
	ip, _ := netip.AddrFromSlice(b[:size])
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[size:]))
}
