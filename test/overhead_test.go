//go:build unix

package test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/secureportal/sp/internal/faultnet"
)

// TestOverhead measures at the socket what one more channel around a message costs, everything included: messages of
// 1,000 bytes follow one another, each sent when the one before has arrived, so that each is a record of its own, and
// a proxy counts all bytes of all links, both ways.
func TestOverhead(t *testing.T) {
	t.Parallel()
	const (
		size     = 1000
		messages = 500
		most     = 20 // bytes for each message and channel
	)
	l := newNodes(t)
	arrived := make(chan int, 1)
	target := labService(t, func(c labConn) {
		b := make([]byte, size)
		for {
			n, err := io.ReadFull(c, b)
			if err != nil {
				return
			}
			arrived <- n
		}
	})
	_, relay := l.relay()
	var wire [100]atomic.Int64 // by link: those that are made ahead meanwhile do not count
	proxy := labProxy(t, relay, func(conn int, _ faultnet.Direction, p []byte) { wire[conn%len(wire)].Add(int64(len(p))) })
	l.registered(relay, "db", target, "--keepalive", "1h")

	before := float64(size)
	for channels := 1; channels <= 4; channels++ {
		// The channels inside the first are as much between the same two sockets as any others.
		to := step(proxy.Addr()) + forwardTo("db") + strings.Repeat(labAgain, channels-1) + labOutlet
		c := labDial(t, l.inlet(to, "--keepalive", "1h"))
		message := make([]byte, size)
		var begin [len(wire)]int64
		for i := range 1 + messages {
			if i == 1 { // behind the message that opened the connection
				for link := range wire {
					begin[link] = wire[link].Load()
				}
			}
			if _, err := c.Write(message); err != nil {
				t.Fatal(err)
			}
			<-arrived
		}
		var busiest int64
		for link := range wire {
			busiest = max(busiest, wire[link].Load()-begin[link])
		}
		each := float64(busiest) / messages
		t.Logf("%d channels: %.3f bytes on the wire for a message of %d, %.3f more", channels, each, size, each-before)
		if each-before > most {
			t.Errorf("channel %d costs %.3f bytes a message, more than %d", channels, each-before, most)
		}
		before = each
		_ = c.Close()
	}
}

// labProxy is a TCP proxy in front of an address, which shows all that passes to tap.
func labProxy(t *testing.T, target string, tap func(conn int, dir faultnet.Direction, p []byte)) *faultnet.ProxyServer {
	t.Helper()
	p, err := faultnet.Proxy(context.Background(), "127.0.0.1:0", target, faultnet.ProxyConfig{Tap: tap})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}
