package transport

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"github.com/secureportal/sp/wire"
)

// Proxies say which proxy leads where, as the variables of an environment do: what is over TLS goes
// by HTTPS, a WebSocket without TLS by HTTP, and by All whatever has no other. Nothing goes by a
// proxy to what Except lists, nor to this machine unless HereToo is set. The zero value has none.
type Proxies struct {
	HTTPS, HTTP, All *Proxy
	HereToo          bool

	// Except is NO_PROXY: hosts, which stand for their subdomains as well, IP addresses and networks,
	// perhaps with a port, with commas or blanks between. * is everything.
	Except string
}

// For returns the proxy that leads to a, or nil.
func (p Proxies) For(a Address) *Proxy {
	by := p.All
	switch {
	case OverTLS(a) && p.HTTPS != nil:
		by = p.HTTPS
	case a.Kind == wire.WS && p.HTTP != nil:
		by = p.HTTP
	}
	if by == nil || isHere(a) && !p.HereToo || p.excepts(a) {
		return nil
	}
	return by
}

// Each calls f with each proxy.
func (p Proxies) Each(f func(*Proxy)) {
	for _, one := range []*Proxy{p.HTTPS, p.HTTP, p.All} {
		if one != nil {
			f(one)
		}
	}
}

// isHere tells whether a is on this machine as far as it says so.
func isHere(a Address) bool {
	name, ip := a.Host()
	if name = strings.ToLower(name); name == Localhost || strings.HasSuffix(name, "."+Localhost) {
		return true
	}
	return ip.IsLoopback() || ip.IsUnspecified() || ip.Zone() != "" && ip.IsLinkLocalUnicast()
}

func (p Proxies) excepts(a Address) bool {
	name, ip := a.Host()
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for _, one := range strings.FieldsFunc(strings.ToLower(p.Except), isBetween) {
		if one == "*" || excepted(one, name, ip, a.Port) {
			return true
		}
	}
	return false
}

// isBetween tells whether a character stands between two exceptions: curl knows both.
func isBetween(r rune) bool { return r == ',' || unicode.IsSpace(r) }

// excepted tells whether one exception is for a host at a port.
func excepted(one, name string, ip netip.Addr, port uint16) bool {
	if network, err := netip.ParsePrefix(one); err == nil {
		return ip.IsValid() && network.Contains(ip.Unmap())
	}
	if other, err := netip.ParseAddr(strings.Trim(one, "[]")); err == nil {
		return other == ip
	}
	if i := strings.LastIndexByte(one, ':'); i >= 0 {
		if one[i+1:] != strconv.Itoa(int(port)) {
			return false
		}
		one = one[:i]
		if other, err := netip.ParseAddr(strings.Trim(one, "[]")); err == nil {
			return other == ip
		}
	}
	one = strings.TrimPrefix(strings.TrimPrefix(one, "*"), ".")
	return one != "" && (name == one || strings.HasSuffix(name, "."+one))
}
