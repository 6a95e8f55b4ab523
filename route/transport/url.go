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

// Addresses over TLS, WebSocket and QUIC. Their text has two forms, where HOST is a name or an IP
// address and the port may be left out if it is the usual one:
//
//	short                    long
//	tls://HOST:443           /dnsaddr/HOST/tcp/443/tls
//	wss://HOST:443/PATH      /dnsaddr/HOST/tcp/443/wss/PATH
//	ws://HOST:80/PATH        /dnsaddr/HOST/tcp/80/ws/PATH
//	quic://HOST:PORT         /dnsaddr/HOST/udp/PORT/quic-v1
//
// with /ip4/ or /ip6/ in place of /dnsaddr/ for an IP address, and with PATH escaped in the long
// form. Without a path it is empty, and nothing stands behind the last slash. Over Bluetooth Low
// Energy there is no host: see bleaddress.go.

// urlKind is what there is to know of such a kind of address.
type urlKind struct {
	scheme  string
	port    uint16 // the usual one; 0 if there is none
	hasPath bool
	under   string // what it is over, and
	step    string // what stands behind the port, in the long form
}

var urlKinds = map[wire.Kind]urlKind{
	wire.TLS:   {"tls", 443, false, "tcp", "tls"},
	wire.WS:    {"ws", 80, true, "tcp", "ws"},
	wire.WSS:   {"wss", 443, true, "tcp", "wss"},
	wire.QUIC:  {"quic", 0, false, "udp", "quic-v1"},
	wire.BLE:   {bleScheme, 0, false, "", ""},
	wire.NATS:  {"nats", 4222, true, "", ""},
	wire.Kafka: {"kafka", 9092, true, "", ""},
}

// urlScheme returns the scheme of a kind, or "".
func urlScheme(kind wire.Kind) string { return urlKinds[kind].scheme }

// urlKindOf returns the kind that a scheme is of.
func urlKindOf(scheme string) (kind wire.Kind, ok bool) {
	scheme = strings.ToLower(scheme)
	for kind, k := range urlKinds {
		if k.scheme == scheme {
			return kind, true
		}
	}
	return 0, false
}

// IsURL tells whether text is an address over TLS, WebSocket, QUIC or Bluetooth, or of a queue, as
// far as its scheme says.
func IsURL(text string) bool {
	scheme, _, ok := strings.Cut(text, "://")
	_, known := urlKindOf(scheme)
	return ok && known
}

// HasPath tells whether a URL, as far as its scheme says, may have slashes behind its host.
func HasPath(text string) bool {
	scheme, _, _ := strings.Cut(text, "://")
	kind, known := urlKindOf(scheme)
	return known && (urlKinds[kind].hasPath || kind == wire.BLE)
}

// parseURL reads tls://…, wss://…, ws://…, quic:// and ble://…. It reports false if text is of
// another form. Where to listen may be without a host.
func parseURL(text string) (a Address, ok bool, err error) {
	scheme, rest, ok := strings.Cut(text, "://")
	kind, known := urlKindOf(scheme)
	if !ok || !known {
		return Address{}, false, nil
	}
	if kind == wire.BLE {
		a, err = parseBLE(rest)
		return a, true, err
	}
	k := urlKinds[kind]
	at, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		at, path = rest[:i], rest[i:]
	}
	if !k.hasPath && path != "" {
		return a, true, fmt.Errorf("%s:// has no path, and what goes on from there is written in the "+
			"long form: /dnsaddr/HOST/%s/PORT/%s/…", k.scheme, k.under, k.step)
	}
	a, err = parseURLHost(at, k)
	if err != nil {
		return a, true, err
	}
	a, err = withURL(a, kind, path)
	return a, true, err
}

// parseURLHost reads HOST[:PORT].
func parseURLHost(text string, k urlKind) (Address, error) {
	if strings.Contains(text, "@") {
		return Address{}, errors.New("a user has no place in an address: NAME@ stands in front of it")
	}
	if i := strings.LastIndexByte(text, ':'); i < 0 || strings.HasSuffix(text, "]") {
		if k.port == 0 {
			return Address{}, fmt.Errorf("a port is missing: %s://%s:PORT", k.scheme, Printable(text))
		}
		text += ":" + strconv.Itoa(int(k.port))
	}
	return parseHostPort(text, "", 0)
}

// withURL returns the address of a kind, on the host and port of tcp, with a path or none.
func withURL(tcp Address, kind wire.Kind, path string) (Address, error) {
	a := Address{Kind: kind, Name: tcp.Name, Port: tcp.Port}
	if tcp.IP.IsValid() {
		if tcp.IP.Zone() != "" {
			return a, errors.New("a link-local address has no place in a URL")
		}
		a.Name = tcp.IP.String()
	}
	if !urlKinds[kind].hasPath {
		return a, checkURL(a)
	}
	if isQueue(kind) {
		return withQueue(a, path)
	}
	if path == "" {
		path = "/"
	}
	if path[0] != '/' {
		return a, errors.New("a query has no place in an address")
	}
	a.Name += path
	return a, checkURL(a)
}

// checkURL is check for an address that may be without a host.
func checkURL(a Address) error {
	if a.Port == 0 {
		a.Port = 1
	}
	if a.Name == "" || a.Name[0] == '/' {
		a.Name = "any" + a.Name
	}
	return Validate(a)
}

// hostMissing says that an address that is to be dialed has no host.
func hostMissing(a Address) error {
	if a.Kind == wire.BLE {
		return bleHostMissing(a)
	}
	if a.Name == "" || a.Name[0] == '/' {
		return errors.New("a host name or address is missing")
	}
	return nil
}

// notSuchURL says of a URL that is none of these what is probably meant.
func notSuchURL(scheme, rest string) error {
	if strings.EqualFold(scheme, "udp") {
		return errors.New("udp:// is where an inlet listens, or an outlet's target: links go over TCP, " +
			"or over UDP as quic://")
	}
	instead := map[string]string{"http": "ws", "https": "wss", "ssl": "tls"}[strings.ToLower(scheme)]
	if instead != "" {
		return fmt.Errorf("a URL is no address: leave out %s://, or is %s://%s meant?",
			Printable(scheme), instead, Printable(rest))
	}
	return fmt.Errorf("a URL is no address: leave out %s://", Printable(scheme))
}

// pathOf returns the path of an address, or "".
func pathOf(a Address) string {
	if i := strings.IndexByte(a.Name, '/'); i >= 0 && urlKinds[a.Kind].hasPath {
		return a.Name[i:]
	}
	return ""
}

// beneath returns the address of the socket that a is over, as one of TCP. Where a says which of
// its host's addresses is meant, that is it.
func beneath(a Address) Address {
	name, ip := a.Host()
	switch {
	case a.Kind == wire.DNS || a.Kind == wire.IP4 || a.Kind == wire.IP6:
		return a
	case a.IP.IsValid():
		return ipAddress(a.IP, a.Port)
	case ip.IsValid():
		return ipAddress(ip, a.Port)
	}
	return Address{Kind: wire.DNS, Name: name, Port: a.Port}
}

// authority returns HOST[:PORT] of an address, as a URL has it.
func authority(a Address) string {
	host, _, _ := strings.Cut(a.Name, "/")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if a.Port != urlKinds[a.Kind].port {
		host += ":" + strconv.Itoa(int(a.Port))
	}
	return host
}

func formatURL(a Address) string {
	if a.Kind == wire.BLE {
		return formatBLE(a)
	}
	at := authority(a)
	if at == "" { // where somebody listens everywhere
		at = ":" + strconv.Itoa(int(a.Port))
	}
	return urlScheme(a.Kind) + "://" + at + pathOf(a)
}

func formatURLStep(a Address) string {
	if a.Kind == wire.BLE {
		return formatBLEStep(a)
	}
	a.IP = netip.Addr{}
	k := urlKinds[a.Kind]
	step := formatHostStep(beneath(a), k.under) + "/" + k.step
	if urlKinds[a.Kind].hasPath {
		step += "/" + url.PathEscape(strings.TrimPrefix(pathOf(a), "/"))
	}
	return step
}

// parseURLStep reads what makes the address of a socket one over TLS, WebSocket or QUIC from the
// words behind it, and returns how many it took. under is what kind of socket that is.
func parseURLStep(tcp Address, under string, words []string) (a Address, took int, err error) {
	kind := wire.Kind(0)
	for of, k := range urlKinds {
		if len(words) > 0 && k.step == words[0] && k.under == under && k.step != "" {
			kind = of
		}
	}
	switch {
	case kind == 0 && under == "udp":
		return tcp, 0, errOnlyQUIC
	case kind == 0:
		return tcp, 0, nil
	}
	if !urlKinds[kind].hasPath {
		a, err = withURL(tcp, kind, "")
		return a, 1, err
	}
	path := ""
	if took = 1; len(words) > 1 {
		took = 2
		if path, err = url.PathUnescape(words[1]); err != nil {
			return tcp, took, err
		}
	}
	a, err = withURL(tcp, kind, "/"+path)
	return a, took, err
}

var errOnlyQUIC = errors.New("over UDP there is QUIC: /udp/PORT/quic-v1")

// AtHost returns a, which is where somebody listens, with the host of tcp in place of its own.
func AtHost(a, tcp Address) Address {
	if urlOnly(a.Kind) == 0 {
		return tcp
	}
	if a.Kind == wire.BLE {
		return a
	}
	tcp.IP = tcp.IP.WithZone("")
	at, err := withURL(tcp, a.Kind, pathOf(a))
	if err != nil {
		return a
	}
	at.Port = a.Port
	return at
}

// IsEverywhere tells whether a, which is where somebody listens, has no host, or one that stands
// for all that this machine has.
func IsEverywhere(a Address) bool {
	if a.Kind == wire.BLE {
		return a.Name == ""
	}
	name, ip := a.Host()
	return name == "" && (!ip.IsValid() || ip.IsUnspecified())
}

// OverTLS tells whether links to a are made over TLS.
func OverTLS(a Address) bool { return a.Kind == wire.TLS || a.Kind == wire.WSS }

// OverUDP tells whether links to a are made over UDP, which no proxy carries.
func OverUDP(a Address) bool { return urlKinds[a.Kind].under == "udp" }

// urlAddr is the address of one end of a connection over another one.
type urlAddr struct {
	net.Addr // of the socket beneath

	scheme string
	at     Address // how it is dialed; the zero Address if nobody knows
}

// Network implements net.Addr.
func (a urlAddr) Network() string { return a.scheme }
