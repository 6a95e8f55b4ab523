package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"runtime"
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
//	tls://host:port, wss://host:port/path, ws://host:port/path and quic://host:port: see url.go
//	nats://host:port/subject and kafka://host:port/topic: see queueaddress.go
//	ble://AA:BB:CC:DD:EE:FF:psm: see bleaddress.go
//
// An IPv6 address may have a zone: [fe80::1%eth0]:port, /ip6/fe80::1%eth0/tcp/port. One parser
// and one printer is for all places where an address stands; what is printed can be read again.
//
// It is the address of package wire, so that it is a step of a route as it stands. Where to listen
// is an Address too; that one may have port 0 or an empty host, which is everywhere, and is never
// sent. No more are an address with a zone, and those of transports that the protocol has no kind
// for, which are of kind wire.Local: they may only begin a route.
type Address = wire.Address

const (
	unixPrefix     = "unix:"
	abstractScheme = "abstract" // of an address that the transport for Unix sockets has
	abstractMark   = "@"        // begins the Name of one
)

// maxSocketPath is the most bytes of a socket's path on this system. The BSDs want a zero byte
// behind it.
var maxSocketPath = func() int {
	if runtime.GOOS == "linux" || runtime.GOOS == "windows" {
		return wire.MaxPath
	}
	return wire.MaxPath - 1
}()

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
	case wire.UDP:
		return "udp"
	case wire.Local:
		scheme, _, _ := strings.Cut(a.Name, ":")
		return scheme
	}
	return urlScheme(a.Kind)
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
// or an IPv6 address in brackets, perhaps with a zone. unix:@NAME is abstract:NAME here, as other
// programs write it.
func Parse(text string) (Address, error) {
	if a, ok, err := parseScheme(text); ok {
		return a, err
	}
	if a, ok, err := parseURL(text); ok {
		switch {
		case err != nil:
			return a, err
		case a.Port == 0 && a.Kind != wire.BLE:
			return a, errors.New("nobody listens at port 0")
		}
		return a, hostMissing(a)
	}
	a, err := parseHostPort(text, "", 1)
	if err == nil && a.Kind == wire.DNS && a.Name == "" {
		return a, fmt.Errorf("a host name or address is missing before :%d: "+
			"this machine is 127.0.0.1:%[1]d", a.Port)
	}
	return a, err
}

// ParseTarget is Parse for a service next door: no host is loopback, and the port may be 0, where
// nobody will ever listen.
func ParseTarget(text, loopback string) (Address, error) {
	if a, ok, err := parseScheme(text); ok {
		return a, err
	}
	if _, ok, _ := parseURL(text); ok {
		return Address{}, errors.New("a service is reached over TCP or a Unix socket: host:port or " +
			"unix:PATH")
	}
	if !strings.Contains(text, ":") {
		return Address{}, notListen(text)
	}
	return parseHostPort(text, loopback, 0)
}

// ParseListen is Parse for where to listen: host stands for an empty host, and the port may be 0.
// An empty host where host is empty as well is everywhere. A socket without a file, to which every
// user of the machine can connect, is not had by accident: it is abstract:NAME and no other.
// It may also be a socket that was handed to this process: see handed.go.
func ParseListen(text, host string) (Address, error) {
	if a, ok, err := parseHanded(text); ok {
		return a, err
	}
	a, ok, err := parseScheme(text)
	if name, short := strings.CutPrefix(text, unixPrefix); short && err == nil && isAbstract(name) {
		return a, fmt.Errorf("unix:%s is no file: a socket without one, which every user of this "+
			"machine can connect to, is abstract:%s; a file of that name is unix:./%[1]s",
			Printable(name), Printable(name[1:]))
	}
	if ok {
		return a, err
	}
	if a, ok, err := parseURL(text); ok {
		return a, err
	}
	if !strings.Contains(text, ":") {
		return Address{}, notListen(text)
	}
	return parseHostPort(text, host, 0)
}

// parseHostPort reads host:port, where host stands for an empty host, and the port is least or
// more.
func parseHostPort(text, host string, least uint16) (Address, error) {
	name, port, err := splitHostPort(text)
	if err != nil {
		return Address{}, err
	}
	if name == "" {
		name = host
	}
	a, err := hostPort(name, port, least)
	if err != nil || name == "" {
		return a, err
	}
	return a, check(a)
}

// check tells why nothing can be dialed or listened at by an address, its port aside. What a
// message cannot hold, its first step may still have: a zone.
func check(a Address) error {
	if a.Kind == wire.Local {
		return nil
	}
	if zone := a.IP.Zone(); zone != "" &&
		(len(zone) > maxZone || !validZone.MatchString(zone)) {
		return fmt.Errorf("%q is not the name of an interface", Printable(zone))
	}
	a.IP = a.IP.WithZone("")
	if a.Port == 0 && a.Kind != wire.Unix {
		a.Port = 1
	}
	return Validate(a)
}

// Validate is a.Validate for an address that a person has written: the error says nothing of
// messages.
func Validate(a Address) error { return inWords(a.Validate()) }

// Impossible tells why nobody can be connected to by an address on any machine of this kind, or
// returns nil.
func Impossible(a Address) error {
	switch {
	case a.IP.IsMulticast(), a.IP == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%s is the address of many, and this is between two", a.IP)
	case a.IP.Is6() && a.IP.IsLinkLocalUnicast() && a.IP.Zone() == "":
		return fmt.Errorf("%s is link-local, and stands with its interface: [%[1]s%%eth0]:%d",
			a.IP, a.Port)
	}
	return nil
}

// MissingInterface tells which interface, that an address stands with, this machine does not have
// just now, or returns nil.
func MissingInterface(a Address) error {
	zone := a.IP.Zone()
	if _, err := strconv.Atoi(zone); zone == "" || err == nil {
		return nil
	}
	if _, err := net.InterfaceByName(zone); err != nil {
		return fmt.Errorf("this machine has no interface %s", zone)
	}
	return nil
}

// inWords takes off an error what is true of bytes only: nobody has sent a message here.
func inWords(err error) error {
	if !errors.Is(err, wire.ErrMalformed) {
		return err
	}
	return errors.New(strings.TrimPrefix(err.Error(), wire.ErrMalformed.Error()+": "))
}

// validZone is what a zone looks like: the name of an interface, or its number.
var validZone = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

const maxZone = 32

// IsPath tells whether text is the short form of an address that is neither host:port nor a URL:
// whatever follows the scheme belongs to it.
func IsPath(text string) bool {
	_, ok, _ := parseScheme(text)
	return ok
}

// HasScheme tells whether text is the short form of an address that is not host:port: whatever
// follows the scheme belongs to it.
func HasScheme(text string) bool {
	_, ok, _ := parseScheme(text)
	return ok || IsURL(text)
}

// parseScheme reads scheme:REST, and unix:PATH, also as a URL without a host. It reports false if
// text is of another form.
func parseScheme(text string) (a Address, ok bool, err error) {
	scheme, rest, ok := strings.Cut(text, ":")
	if scheme == "unix" && strings.HasPrefix(rest, "///") {
		rest = "/" + strings.TrimLeft(rest, "/")
	}
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
		return unixAddress(rest)
	case abstractScheme:
		if !hasAbstract {
			return Address{}, fmt.Errorf("%s: only Linux has such sockets", abstractScheme)
		}
		return unixAddress(abstractMark + rest)
	}
	if len(rest) > wire.MaxPath {
		const what = "what follows %s: has more than %d bytes"
		return Address{}, fmt.Errorf(what, scheme, wire.MaxPath)
	}
	return Address{Kind: wire.Local, Name: scheme + ":" + rest}, nil
}

// unixAddress returns the address of a Unix socket. That a system takes fewer bytes is said here,
// and not when the socket is needed.
func unixAddress(name string) (Address, error) {
	if strings.HasPrefix(name, "//") {
		name = "/" + strings.TrimLeft(name, "/") // which is the same file
	}
	a := Address{Kind: wire.Unix, Name: name}
	if name == abstractMark && hasAbstract {
		return a, fmt.Errorf("%s: stands without a name", abstractScheme)
	}
	if n := len(name); n > maxSocketPath {
		return a, fmt.Errorf("a socket's path has at most %d bytes on this system, and this one %d: "+
			"choose a shorter one, or a relative one", maxSocketPath, n)
	}
	return a, check(a)
}

// splitHostPort cuts host:port, and takes the brackets off an IPv6 address.
func splitHostPort(text string) (host, port string, err error) {
	host, port, err = cutPort(text)
	if err != nil {
		return "", "", err
	}
	inside, bracketed := strings.CutPrefix(host, "[")
	if !bracketed {
		return host, port, checkHost(host, text)
	}
	host, closed := strings.CutSuffix(inside, "]")
	if !closed {
		return "", "", errUnclosed
	}
	return host, port, nil
}

// checkHost says of what cannot be a host what is probably meant by it.
func checkHost(host, text string) error {
	switch {
	case strings.Contains(host, ":") && strings.ContainsAny(text, ", "):
		return errors.New("one address at a time, and the flag once more for each further one")
	case strings.HasPrefix(text, "tcp:"):
		return errors.New("an IPv6 address goes in brackets, [::1]:7000, and tcp: is left out")
	case strings.Contains(host, ":"):
		return errors.New("host:port has one colon, and an IPv6 address goes in brackets: [::1]:7000")
	case host == "*":
		return errors.New("* is no host: 0.0.0.0 is every IPv4 address of this machine, and [::] " +
			"every one")
	}
	return nil
}

var errUnclosed = errors.New("a bracket is not closed")

// cutPort cuts text at its last colon.
func cutPort(text string) (host, port string, err error) {
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		return "", "", notSuchURL(scheme, rest)
	}
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		return "", "", fmt.Errorf("a port is missing: %s:PORT", Printable(text))
	}
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return "", "", noPort(text)
	}
	return text[:i], text[i+1:], nil
}

// noPort says what is missing in a text without a colon.
func noPort(text string) error {
	_, notNumber := parsePort(text, 1)
	switch {
	case notNumber == nil:
		return fmt.Errorf("a host is missing: is 127.0.0.1:%s meant?", text)
	case strings.ContainsRune(text, filepath.Separator):
		return fmt.Errorf("a port is missing: is unix:%s meant?", Printable(text))
	case validateHost(text):
		return fmt.Errorf("a port is missing: %s:PORT", text)
	}
	return errors.New("a port is missing: host:port")
}

// notListen says what is wrong with a text without a colon, where no host is one of this machine.
func notListen(text string) error {
	said := fmt.Sprintf("%q is not host:port or unix:PATH", Printable(text))
	_, notNumber := parsePort(text, 0)
	switch {
	case notNumber == nil:
		return fmt.Errorf("%s: is :%s meant?", said, text)
	case strings.ContainsRune(text, filepath.Separator):
		return fmt.Errorf("%s: is unix:%s meant?", said, Printable(text))
	case validateHost(text):
		return fmt.Errorf("%s: a port is missing: %s:PORT", said, text)
	}
	return errors.New(said)
}

func validateHost(host string) bool {
	return Address{Kind: wire.DNS, Name: host, Port: 1}.Validate() == nil
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

// FromAddrPort returns the address of an IP socket, for others to use: a zone is left out, which
// means something on this machine only.
func FromAddrPort(ap netip.AddrPort) Address {
	return ipAddress(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// FromAddr returns the address that a listener or a link of some transport has. It reports false
// for what no transport here has made.
func FromAddr(addr net.Addr) (Address, bool) {
	switch addr := addr.(type) {
	case nil:
		return Address{}, false
	case urlAddr:
		return addr.at, addr.at.Kind != 0
	case proxyAddr:
		return addr.at, true
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
		if isAbstract(a.Name) && !strings.HasPrefix(a.Name[1:], "//") { // that reads like a URL
			return abstractScheme + ":" + a.Name[1:]
		}
		return unixPrefix + a.Name
	case wire.Local:
		return a.Name
	case wire.DNS:
		return a.Name + ":" + strconv.Itoa(int(a.Port))
	case wire.TLS, wire.WS, wire.WSS, wire.QUIC, wire.BLE, wire.NATS, wire.Kafka:
		return formatURL(a)
	case wire.UDP:
		return udpPrefix + UDPHostPort(a)
	}
	return netip.AddrPortFrom(a.IP, a.Port).String()
}

// ParseStep reads the long form of an address from the words between the slashes of a route, of
// which there are two at least, and returns how many it took: none if they do not begin a
// transport address.
func ParseStep(words []string) (a Address, took int, err error) {
	protocol, value := words[0], words[1]
	if kind, ok := hostKinds[protocol]; ok {
		if a, err = parseHostStep(kind, words); err != nil {
			return a, len(words), err
		}
		a, took, err = parseURLStep(a, words[2], words[4:])
		return a, 4 + took, err
	}
	if kind, ok := urlKindOf(protocol); ok && isQueue(kind) {
		return parseQueueStep(kind, words)
	}
	if protocol == bleScheme {
		return parseBLEStep(words)
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

// hostKinds are the kinds of what the long form of an address of a host begins with.
var hostKinds = map[string]wire.Kind{"ip4": wire.IP4, "ip6": wire.IP6, "dnsaddr": wire.DNS}

// parseHostStep reads /ip4/HOST/tcp/PORT and its like, of which some have udp in place of tcp.
func parseHostStep(kind wire.Kind, words []string) (Address, error) {
	protocol, host := words[0], words[1]
	if len(words) < 4 || words[2] != "tcp" && words[2] != "udp" {
		const what = "/%s/%s is not followed by /tcp/PORT"
		return Address{}, fmt.Errorf(what, protocol, Printable(host))
	}
	a, err := hostPort(host, words[3], 1)
	if err == nil {
		err = check(a)
	}
	if err == nil && a.Kind != kind {
		err = fmt.Errorf("%s is not what /%s stands before: is %s meant?",
			Printable(host), protocol, formatHostStep(a, words[2]))
	}
	return a, err
}

// FormatStep returns the long form of a, which ParseStep reads, or "" if a is no transport address.
func FormatStep(a Address) string {
	switch a.Kind {
	case wire.IP4, wire.IP6, wire.DNS:
		return formatHostStep(a, "tcp")
	case wire.TLS, wire.WS, wire.WSS, wire.QUIC, wire.BLE:
		return formatURLStep(a)
	case wire.NATS, wire.Kafka:
		return formatQueueStep(a)
	case wire.Unix, wire.Local:
		if a.Kind == wire.Unix && isAbstract(a.Name) {
			return "/" + abstractScheme + "/" + url.PathEscape(a.Name[1:])
		}
		return "/" + Scheme(a) + "/" + url.PathEscape(Rest(a))
	}
	return ""
}

// formatHostStep returns the long form of the address of a host's socket, of whichever kind.
func formatHostStep(a Address, under string) string {
	switch a.Kind {
	case wire.IP4:
		return fmt.Sprintf("/ip4/%s/%s/%d", a.IP, under, a.Port)
	case wire.IP6:
		return fmt.Sprintf("/ip6/%s/%s/%d", a.IP, under, a.Port)
	}
	return fmt.Sprintf("/dnsaddr/%s/%s/%d", a.Name, under, a.Port)
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
