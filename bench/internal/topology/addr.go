//go:build linux

package topology

import (
	"net"

	"github.com/secureportal/sp/bench/internal/proc"
)

// addrs are n free addresses.
func addrs(n int) ([]string, error) {
	var list []string
	for range n {
		addr, err := proc.FreeAddr()
		if err != nil {
			return nil, err
		}
		list = append(list, addr)
	}
	return list, nil
}

// split takes apart an address that this program made.
func split(addr string) (host, port string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err)
	}
	return host, port
}

func port(addr string) string {
	_, port := split(addr)
	return port
}

// bracketed is an address as spiped writes it.
func bracketed(addr string) string {
	host, port := split(addr)
	return "[" + host + "]:" + port
}
