//go:build linux

package proc

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
)

// Listening ports are taken from below Linux's ephemeral range (32768 and up),
// where thousands of outgoing connections cannot take them first.
const (
	firstPort = 20000
	lastPort  = 32000
)

var ports = struct {
	sync.Mutex
	next int
}{next: firstPort + rand.IntN(lastPort-firstPort)}

// FreeAddr is a loopback address nothing listens on. No port is given twice
// before all others were.
func FreeAddr() (string, error) {
	ports.Lock()
	defer ports.Unlock()
	for range lastPort - firstPort {
		ports.next++
		if ports.next >= lastPort {
			ports.next = firstPort
		}
		addr := fmt.Sprintf("127.0.0.1:%d", ports.next)
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue // in use
		}
		return addr, ln.Close()
	}
	return "", fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}

// RaiseFileLimit sets the soft limit of open files, which children inherit, to
// the hard one, and says what that is.
func RaiseFileLimit() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	limit.Cur = limit.Max
	return limit.Max, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
