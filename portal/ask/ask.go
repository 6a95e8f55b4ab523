// Package ask reads what a client says in front of everything else to tell where it wants to go: a
// request of SOCKS 5 or of HTTP's CONNECT, or the server name in the first message of TLS. It knows
// bytes only: no sockets, no clock, and nobody's trust. What it is given is a stranger's, so every
// decoder has a limit, and none keeps more than that.
package ask

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/secureportal/sp/wire"
)

// ErrMalformed is wrapped by the errors of bytes that are not what they should be, whether by
// mistake or not.
var ErrMalformed = errors.New("not what a client says first")

// ErrUnsupported is wrapped by the errors of requests that are as they should be, for what is not
// done here.
var ErrUnsupported = errors.New("not done here")

// Protocol is what a client speaks.
type Protocol uint8

// The protocols.
const (
	Unknown Protocol = iota // none of the others
	SOCKS4                  // which is refused
	SOCKS5
	HTTP
)

// Recognize tells a protocol by a client's first byte.
func Recognize(first byte) Protocol {
	switch {
	case first == version5:
		return SOCKS5
	case first == version4:
		return SOCKS4
	case first >= 'A' && first <= 'Z':
		return HTTP
	}
	return Unknown
}

// Where returns the address of a host, which is a name or an IP address however it was written, and
// a port. A name may end with a dot, as one that is complete. The error wraps ErrMalformed.
func Where(host string, port uint16) (wire.Address, error) {
	var a wire.Address
	if ip, err := netip.ParseAddr(host); err == nil {
		a = ipAddress(ip, port)
	} else {
		name := strings.TrimSuffix(host, ".")
		a = wire.Address{Kind: wire.DNS, Name: strings.ToLower(name), Port: port}
	}
	if err := a.Validate(); err != nil {
		return wire.Address{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return a, nil
}

func ipAddress(ip netip.Addr, port uint16) wire.Address {
	ip = ip.Unmap()
	if ip.Is4() {
		return wire.Address{Kind: wire.IP4, IP: ip, Port: port}
	}
	return wire.Address{Kind: wire.IP6, IP: ip, Port: port}
}
