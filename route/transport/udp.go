package transport

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/secureportal/sp/wire"
)

// udpPrefix begins the text of an address of datagrams: udp://HOST:PORT, where an inlet listens or
// an outlet's service does. No link is made there, so it has no place in a route.
const udpPrefix = "udp://"

// IsUDP tells whether text is an address of datagrams, as far as its scheme says.
func IsUDP(text string) bool {
	return len(text) >= len(udpPrefix) && strings.EqualFold(text[:len(udpPrefix)], udpPrefix)
}

// ParseUDP reads udp://HOST:PORT. host stands for an empty host; an empty host where host is empty
// as well is everywhere. The port may be 0.
func ParseUDP(text, host string) (Address, error) {
	if !IsUDP(text) {
		return Address{}, errors.New("an address of datagrams is udp://HOST:PORT")
	}
	rest := strings.TrimSuffix(text[len(udpPrefix):], "/")
	if !strings.Contains(rest, ":") || strings.Contains(rest, "/") {
		return Address{}, errors.New("an address of datagrams is udp://HOST:PORT, and no more")
	}
	a, err := parseHostPort(rest, host, 0)
	a.Kind = wire.UDP
	return a, err
}

// UDPHostPort returns HOST:PORT of an address of datagrams, as package net has it.
func UDPHostPort(a Address) string {
	host := a.Name
	if a.IP.IsValid() {
		host = a.IP.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(a.Port)))
}
