package config

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Address is where to listen or what to dial: a TCP address, a Unix socket, or stdin and stdout.
type Address struct {
	Network string // "tcp", "unix" or "stdio"
	Address string // for package net; empty for "stdio"
}

// Stdio is the text of an address that is stdin and stdout.
const Stdio = "-"

const loopback = "127.0.0.1"

// ParseAddress reads host:port, :port with host in front, unix:PATH, or Stdio if that makes
// sense.
func ParseAddress(text, host string, stdio bool) (Address, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if path == "" {
			return Address{}, errors.New("unix: stands without a path")
		}
		return Address{"unix", path}, nil
	}
	if text == Stdio && stdio {
		return Address{Network: "stdio"}, nil
	}
	name, port, err := net.SplitHostPort(text)
	if err != nil {
		return Address{}, fmt.Errorf("%q is not host:port or unix:PATH", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return Address{}, fmt.Errorf("%q: a port is a number from 0 to 65535", text)
	}
	if name == "" {
		name = host
	}
	return Address{"tcp", net.JoinHostPort(name, port)}, nil
}

// String returns the form that ParseAddress reads.
func (a Address) String() string {
	switch a.Network {
	case "unix":
		return "unix:" + a.Address
	case "stdio":
		return Stdio
	}
	return a.Address
}
