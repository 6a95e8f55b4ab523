package route

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/wire"
)

// A stranger whose link leads through a relay, and who does not end it when the outlet has, is rid of soon.
func TestUnendedThroughRelay(t *testing.T) {
	for name, muxed := range map[string]bool{"spare links": false, "mux": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			relay, at := w.listening(t, func(c *Config) { c.Channel.Keepalive = 50 * time.Millisecond })
			NewRegistry(relay, RegistryConfig{})
			outlet := w.node(t)
			registered := make(chan struct{}, 1)
			r := &Registrar{
				Relay: Route{at}, Name: "x", Dial: outlet, Serve: outlet, NoSpares: muxed,
				Registered: func() { registered <- struct{}{} },
			}
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			defer running.Wait()
			defer cancel()
			running.Go(func() { r.Run(ctx) })
			testkit.Within(t, registered, "the claim")
			c, err := net.Dial("tcp", HostPort(at))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			testkit.Write(t, c, opening(t, wire.Message{
				Onward: wire.Route{svc(ForwardPrefix + "x"), svc("nothing")}, Return: wire.Route{w.node(t).label},
			}))
			_ = c.SetDeadline(time.Now().Add(testkit.Patience))
			if b, err := io.ReadAll(c); err != nil || answered(t, string(b)).Code != wire.NoService {
				t.Fatalf("it hears %x, %v", b, err)
			}
			testkit.Eventually(t, "the relay has forgotten the stranger", func() bool {
				relay.mu.Lock()
				defer relay.mu.Unlock()
				return relay.active.all == 0
			})
		})
	}
}
