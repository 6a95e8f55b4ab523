package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/secureportal/sp/wire"
)

// Address is where a node or a service listens. Its text has two forms:
//
//	short            long
//	host:port        /dnsaddr/host/tcp/port, or /ip4/… or /ip6/… where host is an IP address
//	unix:PATH        /unix/PATH, with PATH escaped as in a URL
//	abstract:NAME    /abstract/NAME, likewise: a Unix socket of Linux's that has no file
//	scheme:REST      /scheme/REST, likewise, for a transport that is registered
//
// It is the address of package wire, so that it is a step of a route as it stands. Where to listen
// is an Address too; that one may have port 0, an empty host, which is everywhere, or a zone, and
// is never sent. No more are addresses of transports that the protocol has no kind for: those are
// of kind wire.Local, and may only begin a route.
type Address = wire.Address

const (
	unixPrefix     = "unix:"
	abstractScheme = "abstract" // of an address that the transport for Unix sockets has
	abstractMark   = "@"        // begins the Name of one
)

// isAbstract tells whether the name of a Unix socket is none of a file: it begins with a mark, or
// with the zero byte that the mark stands for.
func isAbstract(name string) bool {
	return hasAbstract && (strings.HasPrefix(name, abstractMark) || strings.HasPrefix(name, "\x00"))
}

// isScheme tells whether addresses of a scheme may be written.
func isScheme(scheme string) bool { return scheme == abstractScheme || maker(scheme) != nil }

// Scheme returns the name of the transport that a is an address of, or "" if it is no transport
// address.
func Scheme(a Address) string {
	switch a.Kind {
	case wire.IP4, wire.IP6, wire.DNS:
		return "tcp"
	case wire.Unix:
		return "unix"
	case wire.Local:
		scheme, _, _ := strings.Cut(a.Name, ":")
		return scheme
	}
	return ""
}

// Rest returns what follows the scheme in the short form of an address that is not host:port.
func Rest(a Address) string {
	if a.Kind != wire.Local {
		return a.Name
	}
	_, rest, _ := strings.Cut(a.Name, ":")
	return rest
}

// Parse reads the short form of an address that can be dialed. A host is a name, an IPv4 address,
// or an IPv6 address in brackets.
func Parse(text string) (Address, error) {
	if a, ok, err := parseScheme(text); ok {
		return a, err
	}
	host, port, err := splitHostPort(text)
	if err != nil {
		return Address{}, err
	}
	a, err := hostPort(host, port, 1)
	if err != nil {
		return a, err
	}
	return a, a.Validate()
}

// ParseListen is Parse for where to listen, or for a service next door: host stands for an empty
// host, the port may be 0, and an IPv6 address may have a zone. An empty host where host is empty
// as well is everywhere.
func ParseListen(text, host string) (Address, error) {
	if a, ok, err := parseScheme(text); ok {
		return a, err
	}
	if !strings.Contains(text, ":") {
		return Address{}, fmt.Errorf("%q is not host:port or unix:PATH", Printable(text))
	}
	name, port, err := splitHostPort(text)
	if err != nil {
		return Address{}, err
	}
	if name == "" {
		name = host
	}
	a, err := hostPort(name, port, 0)
	if err != nil || name == "" {
		return a, err
	}
	valid := a
	valid.Port, valid.IP = 1, a.IP.WithZone("")
	return a, valid.Validate()
}

// HasScheme tells whether text is the short form of an address that is not host:port: whatever
// follows the scheme belongs to it.
func HasScheme(text string) bool {
	_, ok, _ := parseScheme(text)
	return ok
}

// parseScheme reads scheme:REST, and unix:PATH. It reports false if text is of another form.
func parseScheme(text string) (a Address, ok bool, err error) {
	scheme, rest, ok := strings.Cut(text, ":")
	if !ok || scheme == "tcp" || strings.HasPrefix(rest, "//") || !isScheme(scheme) {
		return Address{}, false, nil
	}
	a, err = withScheme(scheme, rest)
	return a, true, err
}

// withScheme returns the address of a transport that has no hosts and ports.
func withScheme(scheme, rest string) (Address, error) {
	if rest == "" {
		return Address{}, fmt.Errorf("%s: stands without a path", scheme)
	}
	switch scheme {
	case "unix":
		a := Address{Kind: wire.Unix, Name: rest}
		if isAbstract(rest) {
			return a, fmt.Errorf("unix:%s is no file: a socket without one, which every user of this "+
				"machine can connect to, is abstract:%s; a file of that name is unix:./%[1]s",
				Printable(rest), Printable(rest[1:]))
		}
		return a, a.Validate()
	case abstractScheme:
		a := Address{Kind: wire.Unix, Name: abstractMark + rest}
		if !hasAbstract {
			return a, fmt.Errorf("%s: only Linux has such sockets", abstractScheme)
		}
		return a, a.Validate()
	}
	if len(rest) > wire.MaxPath {
		const what = "what follows %s: has more than %d bytes"
		return Address{}, fmt.Errorf(what, scheme, wire.MaxPath)
	}
	return Address{Kind: wire.Local, Name: scheme + ":" + rest}, nil
}

// splitHostPort cuts host:port, and takes the brackets off an IPv6 address.
func splitHostPort(text string) (host, port string, err error) {
	host, port, err = cutPort(text)
	if err != nil {
		return "", "", err
	}
	inside, bracketed := strings.CutPrefix(host, "[")
	if !bracketed {
		if strings.Contains(host, ":") {
			err = errors.New("an IPv6 address goes in brackets: [::1]:7000")
		}
		return host, port, err
	}
	host, closed := strings.CutSuffix(inside, "]")
	if !closed {
		return "", "", errUnclosed
	}
	return host, port, nil
}

var errUnclosed = errors.New("a bracket is not closed")

// cutPort cuts text at its last colon.
func cutPort(text string) (host, port string, err error) {
	if scheme, _, ok := strings.Cut(text, "://"); ok {
		return "", "", fmt.Errorf("a URL is no address: leave out %s://", Printable(scheme))
	}
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return "", "", errors.New("a port is missing: host:port")
	}
	return text[:i], text[i+1:], nil
}

// hostPort returns the address of a host, without brackets, and a port from least on. It does not
// look at a host's name.
func hostPort(host, port string, least uint16) (Address, error) {
	n, err := parsePort(port, least)
	if err != nil {
		return Address{}, err
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ipAddress(ip, n), nil
	}
	return Address{Kind: wire.DNS, Name: host, Port: n}, nil
}

func parsePort(text string, least uint16) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n < uint64(least) {
		const what = "a port is a number from %d to 65535, not %q"
		return 0, fmt.Errorf(what, least, Printable(text))
	}
	return uint16(n), nil
}

func ipAddress(ip netip.Addr, port uint16) Address {
	a := Address{Kind: wire.IP6, IP: ip.Unmap(), Port: port}
	if a.IP.Is4() {
		a.Kind = wire.IP4
	}
	return a
}

// FromAddrPort returns the address of an IP socket. A zone is left out: it means something on this
// machine only.
func FromAddrPort(ap netip.AddrPort) Address {
	return ipAddress(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// FromAddr returns the address that a listener or a link of some transport has. It reports false
// for what no transport here has made.
func FromAddr(addr net.Addr) (Address, bool) {
	switch addr := addr.(type) {
	case nil:
		return Address{}, false
	case *net.TCPAddr:
		ap := addr.AddrPort()
		return ipAddress(ap.Addr(), ap.Port()), ap.IsValid()
	}
	if maker(addr.Network()) == nil {
		return Address{}, false
	}
	if name := addr.String(); addr.Network() == "unix" && isAbstract(name) {
		return Address{Kind: wire.Unix, Name: name}, true
	}
	a, err := withScheme(addr.Network(), addr.String())
	return a, err == nil
}

// Format returns the short form of a.
func Format(a Address) string {
	switch a.Kind {
	case wire.Unix:
		if isAbstract(a.Name) {
			return abstractScheme + ":" + a.Name[1:]
		}
		return unixPrefix + a.Name
	case wire.Local:
		return a.Name
	case wire.DNS:
		return a.Name + ":" + strconv.Itoa(int(a.Port))
	}
	return netip.AddrPortFrom(a.IP, a.Port).String()
}

// ParseStep reads the long form of an address from the words between the slashes of a route, of
// which there are two at least, and returns how many it took: none if they do not begin a
// transport address.
func ParseStep(words []string) (a Address, took int, err error) {
	protocol, value := words[0], words[1]
	switch protocol {
	case "ip4":
		a, err = parseHostStep(wire.IP4, words)
		return a, 4, err
	case "ip6":
		a, err = parseHostStep(wire.IP6, words)
		return a, 4, err
	case "dnsaddr":
		a, err = parseHostStep(wire.DNS, words)
		return a, 4, err
	}
	if protocol == "tcp" || !isScheme(protocol) {
		return Address{}, 0, nil
	}
	rest, err := url.PathUnescape(value)
	if err == nil {
		a, err = withScheme(protocol, rest)
	}
	return a, 2, err
}

// parseHostStep reads /ip4/HOST/tcp/PORT and its like.
func parseHostStep(kind wire.Kind, words []string) (Address, error) {
	protocol, host := words[0], words[1]
	if len(words) < 4 || words[2] != "tcp" {
		const what = "/%s/%s is not followed by /tcp/PORT"
		return Address{}, fmt.Errorf(what, protocol, Printable(host))
	}
	a, err := hostPort(host, words[3], 1)
	if err == nil {
		err = a.Validate()
	}
	if err == nil && a.Kind != kind {
		err = fmt.Errorf("%s is not what /%s stands before", Printable(host), protocol)
	}
	return a, err
}

// FormatStep returns the long form of a, which ParseStep reads, or "" if a is no transport address.
func FormatStep(a Address) string {
	switch a.Kind {
	case wire.IP4:
		return fmt.Sprintf("/ip4/%s/tcp/%d", a.IP, a.Port)
	case wire.IP6:
		return fmt.Sprintf("/ip6/%s/tcp/%d", a.IP, a.Port)
	case wire.DNS:
		return fmt.Sprintf("/dnsaddr/%s/tcp/%d", a.Name, a.Port)
	case wire.Unix, wire.Local:
		if a.Kind == wire.Unix && isAbstract(a.Name) {
			return "/" + abstractScheme + "/" + url.PathEscape(a.Name[1:])
		}
		return "/" + Scheme(a) + "/" + url.PathEscape(Rest(a))
	}
	return ""
}

// Printable returns text as part of an error: one line of reasonable length, whatever it is.
func Printable(text string) string {
	const most = 120
	rest := ""
	if len(text) > most {
		text, rest = text[:most], "…"
	}
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text) + rest
}
