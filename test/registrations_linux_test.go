package test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
)

// What a name may cost a relay that nobody uses.
const (
	registrationMemory      = 40 << 10 // bytes
	registrationDescriptors = 2.0      // one link of the session, and that of the claim
)

// TestRegistrationsAreCheap has many outlets, all in this process, hold a name each on one relay,
// and nobody use them: with SP_FULL=1 5,000, after the three minutes in which each session finds
// out about its way. Then all have new keys, which leaves nothing behind either.
func TestRegistrationsAreCheap(t *testing.T) {
	alone(t)
	n := testenv.OfFull(200, 5000)
	settle := testenv.OfFull(4*time.Second, 3*time.Minute)
	watch := testenv.OfFull(4*time.Second, time.Minute)
	at := testkit.Address(t)
	me := newPerson(t)
	p := me.start(me.relayAt(at, "--allow-anyone", "--max-unauthenticated", "16384",
		"--max-connections", "65536", "--handshake-rate", "10000", "--log-level", "error")...)
	p.ready()
	register(t, at, earlier()) // what a relay has once
	time.Sleep(settle)
	before := p.use()
	began, cpu := time.Now(), p.cpu()
	nodes := register(t, at, n)
	t.Logf("%d names after %v, for which the relay computed %v", n, since(began), p.cpu()-cpu)
	time.Sleep(settle)
	isCheap(t, before, p.use(), n)
	wakes, cpu := p.wakes(), p.cpu()
	time.Sleep(watch)
	wakes, cpu = p.wakes()-wakes, p.cpu()-cpu
	t.Logf("all: %.2f %% of a core, %.0f wake-ups a second", 100*cpu.Seconds()/watch.Seconds(),
		float64(wakes)/watch.Seconds())
	for _, node := range nodes {
		node.Renew()
	}
	time.Sleep(settle)
	isCheap(t, before, p.use(), n)
}

// earlier is how many names there are before what others cost is looked at.
func earlier() int { return testenv.OfFull(50, 200) }

// isCheap tells what each of n names costs a process, and fails if that is too much.
func isCheap(t *testing.T, before, after usage, n int) {
	t.Helper()
	memory := (after.rss - before.rss) << 10 / int64(n)
	files := float64(after.descriptors-before.descriptors) / float64(n)
	t.Logf("each: %.1f KiB, %.2f descriptors", float64(memory)/1024, files)
	// For some minutes a session may have one more link, one from before as well. A few others come
	// and go.
	most := registrationDescriptors + testenv.OfFull(float64(n+earlier())/float64(n), 0) + 0.1
	if memory > registrationMemory && !raceDetector || files > most {
		t.Errorf("a registration costs %d bytes of %d, and %.2f descriptors of %.1f", memory,
			registrationMemory, files, most)
	}
}

var names atomic.Int64

// register has n people hold a name each on a relay, until the test has ended, and returns the
// nodes of each.
func register(t *testing.T, at string, n int) []*route.Node {
	t.Helper()
	return registerAll(t, n, func(int) *relay.Client {
		return &relay.Client{Relay: relayOf(t, at), Name: fmt.Sprint("name", names.Add(1))}
	})
}

// relayOf returns where a relay is, without an outlet's service behind it.
func relayOf(t *testing.T, at string) route.Route {
	t.Helper()
	to, err := route.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	return to[:1]
}

// registerAll has n people hold a name each, as client says which and where, until the test has
// ended, and returns the nodes of each when they do.
func registerAll(t *testing.T, n int, client func(k int) *relay.Client) []*route.Node {
	t.Helper()
	ctx, leave := context.WithCancel(context.Background())
	var tasks, there sync.WaitGroup
	nodes := make([]*route.Node, n)
	t.Cleanup(func() {
		leave()
		tasks.Wait()
		for _, node := range nodes {
			tasks.Go(func() { _ = node.Close() })
		}
		tasks.Wait()
	})
	for k := range nodes {
		nodes[k] = trustingNode(t)
		there.Add(1)
		c, once := client(k), sync.OnceFunc(there.Done)
		registered := c.Registered
		c.Dial, c.Serve, c.ClaimTimeout = nodes[k], nodes[k], patience
		c.Registered = func() {
			if registered != nil {
				registered()
			}
			once()
		}
		tasks.Go(func() { c.Run(ctx) })
	}
	there.Wait()
	return nodes
}
