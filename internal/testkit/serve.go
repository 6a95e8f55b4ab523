package testkit

import (
	"net"
	"sync"
	"testing"
)

// Serve is a service on loopback that has each connection handled on a goroutine of its own, and
// then closed. When the test ends it accepts none any more, and waits for those.
func Serve(t testing.TB, handle func(net.Conn)) (address string) {
	t.Helper()
	l := Listen(t)
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		tasks.Wait()
	})
	return l.Addr().String()
}
