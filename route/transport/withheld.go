package transport

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// ErrWithheld says that an address is one of those that have to be written to be meant.
var ErrWithheld = errors.New("a name stands for an address of this machine or of its host, " +
	"which has to be written to be meant")

// withheld are the addresses that nobody means who writes a large network, and that an attacker
// asks for: a Pattern has those that it lies within, and no others.
var withheld = slices.Concat(withheld4, embedded(withheld4), prefixes(
	"::/128",                 // unspecified: this machine
	"::1/128",                // loopback
	"::/96",                  // once IPv4 addresses
	"fe80::/10", "fec0::/10", // link-local, and once site-local
	"ff00::/8",              // multicast
	"fd00:ec2::254/128",     // metadata: Amazon,
	"fd00:ec2::253/128",     //   its name server and clock,
	"fd00:ec2::123/128",     //
	"fd00:ec2::23/128",      //   its pods' credentials,
	"fd20:ce::254/128",      //   Google,
	"fd00:42::42/128",       //   Scaleway,
	"fd00:a9fe:a9fe::1/128", //   and others
))

var withheld4 = prefixes(
	"0.0.0.0/8",          // unspecified: this machine
	"127.0.0.0/8",        // loopback
	"169.254.0.0/16",     // link-local
	"224.0.0.0/4",        // multicast
	"255.255.255.255/32", // broadcast
	"169.254.169.254/32", // metadata of nearly everybody
	"169.254.169.253/32", // Amazon's name server,
	"169.254.169.123/32", //   clock,
	"169.254.170.2/32",   //   containers' credentials,
	"169.254.170.23/32",  //   and pods'
	"169.254.42.42/32",   // Scaleway
	"169.254.0.23/32",    // Tencent
	"100.100.100.200/32", // Alibaba
	"168.63.129.16/32",   // Azure's host
	"192.0.0.192/32",     // Oracle
)

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// embedded returns the IPv6 addresses that a translator or a tunnel makes IPv4 addresses of.
func embedded(of []netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range of {
		four := p.Addr().As4()
		nat64 := netip.MustParseAddr("64:ff9b::").As16()
		copy(nat64[12:], four[:])
		sixToFour := netip.MustParseAddr("2002::").As16()
		copy(sixToFour[2:], four[:])
		all = append(all, netip.PrefixFrom(netip.AddrFrom16(nat64), 96+p.Bits()),
			netip.PrefixFrom(netip.AddrFrom16(sixToFour), 16+p.Bits()))
	}
	return all
}

// plain returns an IP address in the one form in which it is compared.
func plain(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

// withholds tells whether p has ip, which lies within p, only by being so large.
func withholds(p netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(withheld, func(w netip.Prefix) bool {
		return w.Contains(ip) && (p.Bits() < w.Bits() || !w.Contains(p.Addr()))
	})
}

// MustBeWritten tells whether ip is an address that somebody has to have written to mean it: a name
// that stands for it does not, for names are in others' hands, but for localhost and its like.
func MustBeWritten(ip netip.Addr, name string) bool {
	ip = plain(ip)
	if isLocalhost(name) {
		return !ip.IsLoopback() && MustBeWritten(ip, "")
	}
	return withholds(netip.PrefixFrom(zeroOf(ip), 0), ip)
}

func isLocalhost(name string) bool {
	name = strings.ToLower(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// LeadsHome tells whether p has a, which it matches, only as one of a network, and a is an address
// of this machine: a service here that listens everywhere may count on a firewall, which does not
// see what comes from within.
func (p Pattern) LeadsHome(a Address) bool {
	if p.name != "" || p.prefix.IsSingleIP() {
		return false
	}
	ip := plain(a.IP)
	return !MustBeWritten(ip, "") && isOwn(ip) // of what must be written, it has what is
}

// isOwn tells whether ip is an address of this machine: the kernel sends to such a one from itself.
// Nothing is sent.
func isOwn(ip netip.Addr) bool {
	const discard = 9
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, discard)))
	if err != nil {
		return false // no way leads there
	}
	defer c.Close()
	from, ok := c.LocalAddr().(*net.UDPAddr)
	return ok && plain(from.AddrPort().Addr()) == ip
}

func zeroOf(ip netip.Addr) netip.Addr {
	if ip.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// Reaches returns nil if a link that was asked for by a, a host's name, may go to ip, for which
// that name stands, where the addresses of patterns have been written: ErrWithheld otherwise.
func Reaches(patterns []Pattern, a Address, ip netip.Addr) error {
	name, _ := a.Host()
	if name == "" || !MustBeWritten(ip, name) {
		return nil
	}
	at := ipAddress(plain(ip), a.Port)
	if urlOnly(a.Kind) != 0 {
		at, _ = withURL(at, a.Kind, pathOf(a))
	}
	if slices.ContainsFunc(patterns, func(p Pattern) bool { return p.Matches(at) }) {
		return nil
	}
	return ErrWithheld
}
