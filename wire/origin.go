package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Origin is what an inlet says in the opening message to an outlet about the application whose
// connection it carries.
//
//	origin = version (1) = 1 | family (1) | from | to
//	from   = address (4 or 16) | port (2)             the application's own end of its connection
//	to     = address (4 or 16) | port (2)             the inlet's end
//
//	family   4 IPv4, 6 IPv6
//
// An outlet believes it as far as it trusts the inlet. A message without a payload says nothing:
// the application may have come through a Unix socket.
type Origin struct{ From, To netip.AddrPort }

const (
	originVersion = 1
	family4       = 4
	family6       = 6
	originHeader  = 2
)

// AppendOrigin appends o's encoding to dst. Both ends must be of one family; an IPv4 address may
// be in an IPv6 one.
func AppendOrigin(dst []byte, o Origin) ([]byte, error) {
	from, to := o.From.Addr().Unmap().WithZone(""), o.To.Addr().Unmap().WithZone("")
	if !from.IsValid() || !to.IsValid() || from.Is4() != to.Is4() {
		return nil, fmt.Errorf("%w: not two addresses of one family", ErrMalformed)
	}
	family := byte(family6)
	if from.Is4() {
		family = family4
	}
	dst = append(dst, originVersion, family)
	dst = binary.BigEndian.AppendUint16(append(dst, from.AsSlice()...), o.From.Port())
	return binary.BigEndian.AppendUint16(append(dst, to.AsSlice()...), o.To.Port()), nil
}

// ParseOrigin decodes b, which is all of an opening message's payload.
func ParseOrigin(b []byte) (Origin, error) {
	if len(b) < originHeader || b[0] != originVersion {
		return Origin{}, fmt.Errorf("%w: not an origin of this version", ErrMalformed)
	}
	size := 16
	if b[1] == family4 {
		size = 4
	}
	if b[1] != family4 && b[1] != family6 || len(b) != originHeader+2*(size+2) {
		return Origin{}, fmt.Errorf("%w: origin of family %d in %d bytes", ErrMalformed, b[1],
			len(b))
	}
	from, to := b[originHeader:originHeader+size+2], b[originHeader+size+2:]
	o := Origin{From: endpoint(from), To: endpoint(to)}
	if o.From.Addr().Is4In6() || o.To.Addr().Is4In6() {
		return Origin{}, fmt.Errorf("%w: an IPv4 address in an IPv6 one", ErrMalformed)
	}
	return o, nil
}

// endpoint reads an address of 4 or 16 bytes and a port.
func endpoint(b []byte) netip.AddrPort {
	size := len(b) - 2
	ip, _ := netip.AddrFromSlice(b[:size])
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[size:]))
}
