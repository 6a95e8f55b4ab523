package testkit

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports below those that kernels take for outgoing connections, of which a busy machine has many:
// nobody can listen on the port of one, not even for a while after it has ended.
const (
	firstPort = 11000
	ports     = 20000
)

// Address returns an address on loopback where nobody listens, and which is this test's until it
// ends: whoever is told to can listen there, again and again. On Linux nobody else takes it by
// chance, and no other test is given it, in whatever process.
func Address(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		port := firstPort + rand.N(ports)
		var letGo func()
		if letGo, err = hold(port); err == nil {
			t.Cleanup(letGo)
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		}
	}
	t.Fatal("no free port: ", err)
	return ""
}
