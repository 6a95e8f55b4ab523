//go:build !race && (amd64 || arm64)

package portal

import (
	"context"
	"runtime"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// What a connection may cost that has nothing to do, at its inlet and its outlet together, with the
// sockets of client and service, which are here as well, in bytes.
const (
	idleHeap  = 13 << 10
	idleStack = 18 << 10 // four of 4 KiB, and what the runtime keeps for others
)

// A connection that idles holds what it must, and nothing that was of use before. One field more in
// what there is of each may cost every connection a whole class of sizes.
func TestIdleConnection(t *testing.T) {
	var paths *route.Failover // as a daemon's inlet opens streams
	p := newTunnel(t, func(i *Inlet, _ *Outlet) {
		i.Open = func(ctx context.Context, client []byte) (*route.Stream, error) {
			return paths.OpenWith(ctx, wire.Lazy, client)
		}
	})
	paths = p.inlet.NewFailover([]route.Route{p.route()})
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
	}
	open(few)
	before := settled()
	open(many)
	after := settled()
	heap := int(after.HeapAlloc-before.HeapAlloc) / many
	stack := (int(after.StackInuse) - int(before.StackInuse)) / many
	t.Logf("an idle connection holds %d bytes, and stacks of %d", heap, stack)
	if heap > idleHeap || stack > idleStack {
		t.Errorf("an idle connection holds %d bytes of %d, and stacks of %d of %d", heap, idleHeap,
			stack, idleStack)
	}
}

// settled returns what is in use when the garbage is gone, and what pools keep through one
// collection.
func settled() (m runtime.MemStats) {
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m
}
