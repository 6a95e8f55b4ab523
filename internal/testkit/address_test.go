package testkit

import (
	"net"
	"runtime"
	"testing"
)

// TestAddress is an address at which a server listens, and comes back after it has had clients.
func TestAddress(t *testing.T) {
	address := Address(t)
	if c, err := net.Dial("tcp", address); err == nil {
		_ = c.Close()
		t.Error("somebody listens where nobody has been told to")
	}
	for range 3 {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := net.Listen("tcp", address); err == nil {
			_ = second.Close()
			t.Error("two listen at one address")
		}
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, _, _ = s.Close(), c.Close(), l.Close() // what was accepted is remembered for a while
	}
}

// TestAddressIsNobodyElses gives a port to one test, and to the next when that has ended.
func TestAddressIsNobodyElses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere chance has to do")
	}
	const port = firstPort - 1
	for range 100 {
		letGo, err := hold(port)
		if err != nil {
			t.Skip("another program has the port: ", err)
		}
		if _, err := hold(port); err == nil {
			t.Fatal("two tests have one port")
		}
		letGo()
	}
}
