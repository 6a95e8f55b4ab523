//go:build unix

package test

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/secureportal/sp/internal/faultnet"
)

// TestOverhead measures at the socket what one more channel around a message costs, everything
// included: messages of 1,000 bytes follow one another, each sent when the one before has arrived,
// so that each is a record of its own, and a proxy counts all bytes of all links, both ways.
func TestOverhead(t *testing.T) {
	t.Parallel()
	const (
		size     = 1000
		messages = 500
		most     = 20 // bytes for each message and channel
	)
	me := newPerson(t)
	arrived := make(chan int, 1)
	target := service(t, func(c conn) {
		b := make([]byte, size)
		for {
			n, err := io.ReadFull(c, b)
			if err != nil {
				return
			}
			arrived <- n
		}
	})
	_, relay := me.startRelay()
	var wire [100]atomic.Int64 // by link: those that are made ahead meanwhile do not count
	count := func(conn int, _ faultnet.Direction, p []byte) {
		wire[conn%len(wire)].Add(int64(len(p)))
	}
	counter := proxy(t, relay, faultnet.ProxyConfig{Tap: count})
	me.startNamed(relay, "db", target, "--keepalive", "1h")

	before := float64(size)
	for channels := 1; channels <= 4; channels++ {
		// The channels inside the first are as much between the same two sockets as any others.
		to := step(counter.Addr()) + forwardTo("db") + strings.Repeat(toAgain, channels-1) +
			toOutlet
		c := dial(t, me.inletTo(to, "--keepalive", "1h"))
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
		t.Logf("%d channels: %.3f bytes on the wire for a message of %d, %.3f more", channels, each,
			size, each-before)
		if each-before > most {
			t.Errorf("channel %d costs %.3f bytes a message, more than %d", channels, each-before,
				most)
		}
		before = each
		_ = c.Close()
	}
}
