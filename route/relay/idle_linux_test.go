package relay

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
)

// A relay has no goroutine for a name that nobody uses.
func TestIdleNameHasNoGoroutine(t *testing.T) {
	w := newWorld(t)
	node, at := w.listening(t)
	NewServer(node, ServerConfig{})
	const names = 8
	ctx, leave := context.WithCancel(t.Context())
	var tasks, there sync.WaitGroup
	outlet := w.node(t)
	for i := range names {
		there.Add(1)
		c := &Client{
			Relay: route.Route{at, secure()}, Name: fmt.Sprint("name", i), Dial: outlet, Serve: outlet,
			MuxOnly: true, ClaimTimeout: testkit.Patience, Registered: sync.OnceFunc(there.Done),
		}
		tasks.Go(func() { c.Run(ctx) })
	}
	defer tasks.Wait()
	defer leave()
	there.Wait()
	testkit.Eventually(t, "rest", func() bool {
		return goroutinesIn("relay.(*Server).register", "relay.(*holding)", "route.(*Node).secure",
			"channel.(*flowServer)", "channel.(*Session).attend") == 0
	})
}

// goroutinesIn returns how many goroutines there are that one of some functions waits in, or has
// begun.
func goroutinesIn(functions ...string) (n int) {
	b := make([]byte, 8<<20)
	for one := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
		for _, f := range functions {
			if strings.Contains(one, f) {
				n++
				break
			}
		}
	}
	return n
}
