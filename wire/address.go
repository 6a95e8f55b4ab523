package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// Kind tells what an Address names.
type Kind uint8

// The kinds of address, as on the wire.
const (
	Service Kind = 1
	Secure  Kind = 2
	IP4     Kind = 3
	IP6     Kind = 4
	DNS     Kind = 5
	Label   Kind = 6
	Unix    Kind = 7
	TLS     Kind = 8
	WS      Kind = 9
	WSS     Kind = 10
	QUIC    Kind = 11
	NATS    Kind = 12
	Kafka   Kind = 13
	BLE     Kind = 14
)

// Local is the kind of an address that is never sent: of a transport that only the dialer knows.
// Its Name is scheme:REST. It may begin a route.
const Local Kind = 0xff

// Is is the kind of a step that is never sent: behind a secure step, the Identifier that the dialer
// expects there. Its Name is the Identifier's text.
const Is Kind = 0xfe

// UDP is the kind of an address that is never sent, and is no step of a route: where an inlet's
// clients send their datagrams, or where the service of an outlet gets them. Name is a host, or
// empty where IP is set; both are empty where somebody listens everywhere.
const UDP Kind = 0xfd

// Address is one step of a route. It is comparable, and only the fields of its kind are set: Name
// for all but IP4 and IP6; IP for those two; Port for IP4, IP6, DNS, TLS, WS, WSS, QUIC, BLE, NATS
// and Kafka.
//
// The Name of TLS and QUIC is a host, of WS and WSS a host and, from its first slash on, a path,
// and of NATS and Kafka a broker's host, a slash and the name of a queue there.
// Such a host may be an IP address. One that is a name may have an IP as well, which says which of
// the name's addresses is meant, here and now: it is never sent.
//
// The Name of BLE is a device's address, AA:BB:CC:DD:EE:FF, with RandomDevice behind it if it is a
// random one; its Port is a PSM.
type Address struct {
	Kind Kind
	Name string
	IP   netip.Addr
	Port uint16
}

// IsTransport tells whether a names another node's listener rather than something on the node that
// reads it.
func (a Address) IsTransport() bool {
	switch a.Kind {
	case IP4, IP6, DNS, Unix, Local, TLS, WS, WSS, QUIC, BLE, NATS, Kafka:
		return true
	}
	return false
}

// Host returns the host of a transport address that has one: its name, or the IP address that
// stands in place of a name. Both are empty where there is none.
func (a Address) Host() (name string, ip netip.Addr) {
	switch a.Kind {
	case IP4, IP6:
		return "", a.IP
	case DNS:
		return a.Name, netip.Addr{}
	case TLS, WS, WSS, QUIC, NATS, Kafka:
		name, _, _ = strings.Cut(a.Name, "/")
		if ip, err := netip.ParseAddr(name); err == nil {
			return "", ip
		}
		return name, netip.Addr{}
	}
	return "", netip.Addr{}
}

// IsNamed tells whether a has the name of a host, and does not say which of its addresses is meant.
func (a Address) IsNamed() bool {
	name, _ := a.Host()
	return name != "" && !a.IP.IsValid()
}

// Validate returns an error that says what keeps a from being encoded, or nil.
func (a Address) Validate() error {
	switch a.Kind {
	case Service, Secure:
		return validateName(a.Name)
	case IP4:
		if !a.IP.Is4() {
			return fmt.Errorf("%w: not an IPv4 address", ErrMalformed)
		}
	case IP6:
		if !a.IP.Is6() || a.IP.Is4In6() || a.IP.Zone() != "" {
			return fmt.Errorf("%w: not an IPv6 address without a zone", ErrMalformed)
		}
	case DNS:
		if err := validateHost(a.Name); err != nil {
			return err
		}
	case TLS, QUIC:
		if err := validateURLHost(a.Name); err != nil {
			return err
		}
	case WS, WSS:
		if err := validateURL(a.Name); err != nil {
			return err
		}
	case NATS, Kafka:
		if err := validateQueue(a.Name); err != nil {
			return err
		}
	case BLE:
		return validateDevice(a.Name, a.Port)
	case Unix:
		return validatePath(a.Name)
	case Label:
		if len(a.Name) != LabelSize {
			return fmt.Errorf("%w: label of %d bytes", ErrMalformed, len(a.Name))
		}
		return nil
	case Is:
		return fmt.Errorf("%w: an identity that only the dialer expects", ErrMalformed)
	case Local:
		return fmt.Errorf("%w: an address that only the dialer knows", ErrMalformed)
	case UDP:
		return fmt.Errorf("%w: an address of datagrams", ErrMalformed)
	default:
		return fmt.Errorf("%w: address of unknown kind %d", ErrMalformed, a.Kind)
	}
	if a.Port == 0 {
		return fmt.Errorf("%w: port 0", ErrMalformed)
	}
	return nil
}

func validateName(name string) error { return validateWord("service", name, MaxName) }

func validateHost(host string) error { return validateWord("host", host, MaxHost) }

// validateWord checks the name of what: a service or a host.
func validateWord(what, name string, most int) error {
	if name == "" || len(name) > most {
		return fmt.Errorf("%w: a %s name has 1 to %d characters", ErrMalformed, what, most)
	}
	for i := range len(name) {
		if !isNameByte(name[i]) {
			return fmt.Errorf("%w: a %s name has only letters, digits, dot, dash and underscore",
				ErrMalformed, what)
		}
	}
	return nil
}

// validateURLHost checks a host that may be an IP address, in its one spelling.
func validateURLHost(host string) error {
	if strings.IndexByte(host, ':') < 0 {
		return validateHost(host)
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Is6() || ip.Is4In6() || ip.Zone() != "" || ip.String() != host {
		return fmt.Errorf("%w: not a host or an IP address without a zone", ErrMalformed)
	}
	return nil
}

// validateURL checks a host and the path behind it.
func validateURL(name string) error {
	if len(name) > MaxHost {
		return fmt.Errorf("%w: a host and a path have %d characters at most", ErrMalformed, MaxHost)
	}
	slash := strings.IndexByte(name, '/')
	if slash < 0 {
		return fmt.Errorf("%w: a host without a path", ErrMalformed)
	}
	for i := slash; i < len(name); i++ {
		if !isPathByte(name[i]) || name[i] == '%' && !isEscape(name[i:]) {
			return fmt.Errorf("%w: a path has only what a URL's has, without a query", ErrMalformed)
		}
	}
	return validateURLHost(name[:slash])
}

// validateQueue checks a broker's host and the name of a queue.
func validateQueue(name string) error {
	if len(name) > MaxHost {
		return fmt.Errorf("%w: a broker's host and a queue have %d characters at most", ErrMalformed,
			MaxHost)
	}
	host, queue, _ := strings.Cut(name, "/")
	if err := validateWord("queue", queue, MaxHost); err != nil {
		return err
	}
	if queue[0] == '.' || queue[len(queue)-1] == '.' || strings.Contains(queue, "..") {
		return fmt.Errorf("%w: each dot of a queue's name is between two others' characters",
			ErrMalformed)
	}
	return validateURLHost(host)
}

// isPathByte tells whether a path of a URL may have c: RFC 3986, section 3.3.
func isPathByte(c byte) bool {
	return isNameByte(c) || strings.IndexByte("/~!$&'()*+,;=:@%", c) >= 0
}

// isEscape tells whether text begins with %XX.
func isEscape(text string) bool {
	const digits = "0123456789abcdefABCDEF"
	return len(text) > 2 && strings.IndexByte(digits, text[1]) >= 0 &&
		strings.IndexByte(digits, text[2]) >= 0
}

func validatePath(path string) error {
	if path == "" || len(path) > MaxPath || strings.IndexByte(path, 0) >= 0 {
		return fmt.Errorf("%w: a socket's path has 1 to %d bytes, none of them zero", ErrMalformed,
			MaxPath)
	}
	return nil
}

func isNameByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return c == '.' || c == '-' || c == '_'
}

// AppendAddress appends a's encoding to dst. It gives an error that wraps ErrMalformed, and no
// bytes, for an address that a decoder would refuse.
func AppendAddress(dst []byte, a Address) ([]byte, error) {
	if err := a.Validate(); err != nil {
		return nil, err
	}
	dst = append(dst, byte(a.Kind), 0)
	start := len(dst)
	switch a.Kind {
	case IP4, IP6:
		dst = append(dst, a.IP.AsSlice()...)
		dst = binary.BigEndian.AppendUint16(dst, a.Port)
	case DNS, TLS, WS, WSS, QUIC, NATS, Kafka:
		dst = binary.BigEndian.AppendUint16(dst, a.Port)
		dst = append(dst, a.Name...)
	case BLE:
		dst = appendDevice(binary.BigEndian.AppendUint16(dst, a.Port), a.Name)
	default:
		dst = append(dst, a.Name...)
	}
	dst[start-1] = byte(len(dst) - start)
	return dst, nil
}

// ParseAddress takes one address, of any kind that is encoded, off the front of b. Its errors wrap
// ErrMalformed.
func ParseAddress(b []byte) (a Address, rest []byte, err error) {
	if len(b) < addressSize || len(b) < addressSize+int(b[1]) {
		return a, nil, fmt.Errorf("%w: address cut short", ErrMalformed)
	}
	value := b[addressSize : addressSize+int(b[1])]
	a = Address{Kind: Kind(b[0])}
	switch a.Kind {
	case IP4, IP6:
		size := netip.IPv4Unspecified().BitLen() / 8
		if a.Kind == IP6 {
			size = netip.IPv6Unspecified().BitLen() / 8
		}
		if len(value) != size+2 {
			return a, nil, fmt.Errorf("%w: IP address of %d bytes", ErrMalformed, len(value))
		}
		a.IP, _ = netip.AddrFromSlice(value[:size])
		a.Port = binary.BigEndian.Uint16(value[size:])
	case DNS, TLS, WS, WSS, QUIC, NATS, Kafka:
		if len(value) < 2 {
			return a, nil, fmt.Errorf("%w: address of %d bytes", ErrMalformed, len(value))
		}
		a.Port = binary.BigEndian.Uint16(value)
		a.Name = string(value[2:])
	case BLE:
		if len(value) != 2+deviceSize || value[2] > 1 {
			return a, nil, fmt.Errorf("%w: not the address of a device", ErrMalformed)
		}
		a.Port = binary.BigEndian.Uint16(value)
		a.Name = deviceName(value[2] == 1, value[3:])
	default:
		a.Name = string(value)
	}
	if err := a.Validate(); err != nil {
		return a, nil, err
	}
	return a, b[addressSize+len(value):], nil
}
