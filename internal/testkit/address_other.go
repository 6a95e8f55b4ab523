//go:build !linux

package testkit

import (
	"net"
	"strconv"
)

// hold sees that nobody listens on a port just now, and is nothing to be let go.
func hold(port int) (letGo func(), err error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	return func() {}, l.Close()
}
