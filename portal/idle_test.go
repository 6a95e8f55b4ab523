//go:build !race && (amd64 || arm64)

package portal

import (
	"context"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/wire"
)

// What a connection may cost that has nothing to do, at its inlet and its outlet together, with the
// sockets of client and service, which are here as well, in bytes.
const (
	idleHeap  = 13 << 10
	idleStack = 18 << 10 // four of 4 KiB, and what the runtime keeps for others

	relayedHeap  = 18 << 10 // the relay's part is here as well
	relayedStack = 26 << 10 // six of 4 KiB, and so on

	// Where sockets can be parked there are none but the relay's, and what the runtime has not
	// taken back yet of those that were.
	parkedStack = 8 << 10
)

// A connection that idles holds what it must, and nothing that was of use before. One field more in
// what there is of each may cost every connection a whole class of sizes.
func TestIdleConnection(t *testing.T) {
	var paths *route.Failover // as a daemon's inlet opens streams
	p := newTunnel(t, func(i *Inlet, o *Outlet) {
		o.Track = func(route.Conn, string) Follower { return following(nil) } // as a daemon does
		i.Open = func(ctx context.Context, client []byte) (*route.Stream, error) {
			return paths.OpenWith(ctx, wire.Lazy, client)
		}
	})
	paths = p.inlet.NewFailover([]route.Route{p.route()})
	p.idles(t, paths, idleHeap, onLinux(parkedStack, idleStack))
}

// Who waits behind a relay has more frames below him, and none of them has room for what was of use
// before: with one that has, his stack is of twice the size.
func TestIdleConnectionThroughARelay(t *testing.T) {
	var paths *route.Failover
	p := newTunnel(t, func(i *Inlet, o *Outlet) {
		o.Track = func(route.Conn, string) Follower { return following(nil) } // as a daemon does
		i.Open = func(ctx context.Context, client []byte) (*route.Stream, error) {
			return paths.OpenWith(ctx, wire.Lazy, client)
		}
	})
	to := p.claims(t, "db")
	paths = p.inlet.NewFailover([]route.Route{to})
	p.idles(t, paths, relayedHeap, relayedStack)
}

// claims has the outlet claim a name on a relay, and returns the route by way of that.
func (p *tunnel) claims(t *testing.T, name string) route.Route {
	var at wire.Address
	relay.NewServer(listening(t, route.Config{
		Channel: channel.Config{Identity: p.id, Trust: testkit.Trusting(t, p.id)}, Logger: quiet(),
	}, &at), relay.ServerConfig{})
	claimed, over := make(chan struct{}), make(chan struct{})
	c := &relay.Client{
		Relay: route.Route{at}, Name: name, Dial: p.outlet, Serve: p.outlet,
		Registered: func() { close(claimed) },
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(over)
		c.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		testkit.Within(t, over, "the claim")
	})
	testkit.Within(t, claimed, "claiming")
	return append(route.Route{at, route.Forward(name)}, p.route()[1:]...)
}

// idles has connections wait, and compares what each of them costs with how much it may.
func (p *tunnel) idles(t *testing.T, paths *route.Failover, mostHeap, mostStack int) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		paths.Run(ctx)
	}()
	defer func() {
		cancel()
		testkit.Within(t, ended, "the paths")
	}()
	const few, many = 64, 512
	open := func(n int) {
		for range n {
			p.connect(t)
		}
		if runtime.GOOS == "linux" {
			testkit.Eventually(t, "nobody who waits", func() bool { return waiting(t) == 0 })
		}
	}
	open(few)
	before := settled()
	open(many)
	after := settled()
	heap := int(after.HeapAlloc-before.HeapAlloc) / many
	stack := (int(after.StackInuse) - int(before.StackInuse)) / many
	t.Logf("an idle connection holds %d bytes, and stacks of %d", heap, stack)
	if heap > mostHeap || stack > mostStack {
		t.Errorf("an idle connection holds %d bytes of %d, and stacks of %d of %d", heap, mostHeap,
			stack, mostStack)
	}
}

// onLinux returns the first of two where sockets can be parked.
func onLinux(there, elsewhere int) int {
	if runtime.GOOS == "linux" {
		return there
	}
	return elsewhere
}

// waiting returns how many goroutines read or write a flow, or wait for that.
func waiting(t *testing.T) int {
	var all strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&all, 2); err != nil {
		t.Fatal(err)
	}
	return strings.Count(all.String(), "channel.(*Flow).ReadFrom(") +
		strings.Count(all.String(), "channel.(*Flow).WriteTo(")
}

// settled returns what is in use when the garbage is gone, and what pools keep through one
// collection or let go of when somebody has the time: half a MiB now and then.
func settled() (least runtime.MemStats) {
	for i := range 10 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if i == 0 || m.HeapAlloc+m.StackInuse < least.HeapAlloc+least.StackInuse {
			least = m
		}
	}
	return least
}
