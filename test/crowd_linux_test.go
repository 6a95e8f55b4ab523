package test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
)

// TestCrowd has many people behind one address each keep a session with one outlet, as an inlet
// does. The outlet is killed and started anew, so all come at once, and all are back soon.
func TestCrowd(t *testing.T) {
	alone(t)
	t.Run("direct", func(t *testing.T) { comesBack(t, false) })
	t.Run("relayed", func(t *testing.T) { comesBack(t, true) })
	t.Run("outlets", claimsBack)
}

// claimsBack has many outlets behind one address, each with an identity and a name of its own, keep
// those names on one relay, which is killed and started anew.
func claimsBack(t *testing.T) {
	n := testenv.OfRun(50, 200, 5000)
	me := newPerson(t)
	relay := me.start(me.relayAt(testkit.Address(t), "--allow-anyone", "--log-level", "error")...)
	at := relay.ready()
	began := time.Now()
	c := claimAll(t, n, at)
	c.await(t)
	t.Logf("%d have their names after %v, for which the relay computed %v: it has %v", n,
		since(began), relay.cpu(), relay.use())
	relay.kill()
	relay = relay.again()
	began = time.Now()
	c.await(t)
	t.Logf("%d have them again after %v, for which the relay computed %v", n, since(began),
		relay.cpu())
	if bound := testenv.OfFull(10*time.Second, 2*time.Minute); !inTime(began, bound) {
		t.Errorf("all are back after %v, want %v", since(began), bound)
	}
}

// claimants each keep a name.
type claimants struct {
	n          int
	registered chan int // who has claimed it, again and again
}

func claimAll(t *testing.T, n int, at string) *claimants {
	t.Helper()
	c := &claimants{n, make(chan int)}
	ctx, leave := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	var nodes []*route.Node
	t.Cleanup(func() {
		leave()
		for _, node := range nodes {
			tasks.Go(func() { _ = node.Close() })
		}
		tasks.Wait()
	})
	for k := range n {
		node := trustingNode(t)
		nodes = append(nodes, node)
		client := &relay.Client{
			Relay: route.Route{transport.FromAddrPort(netip.MustParseAddrPort(at))},
			Name:  fmt.Sprintf("outlet-%d", k), Dial: node, Serve: node, MuxOnly: true,
			Registered: func() {
				select {
				case c.registered <- k:
				case <-ctx.Done():
				}
			},
		}
		tasks.Go(func() { client.Run(ctx) })
	}
	return c
}

// await returns when all have claimed their names since it was called.
func (c *claimants) await(t *testing.T) {
	t.Helper()
	late := time.After(patience)
	for missing := newSet(c.n); len(missing) > 0; {
		select {
		case k := <-c.registered:
			delete(missing, k)
		case <-late:
			t.Fatalf("%d of %d have no name", len(missing), c.n)
		}
	}
}

func newSet(n int) map[int]bool {
	all := make(map[int]bool, n)
	for k := range n {
		all[k] = true
	}
	return all
}

func comesBack(t *testing.T, relayed bool) {
	t.Helper()
	n := testenv.OfRun(25, 100, 5000)
	me := newPerson(t)
	at := testkit.Address(t)
	args := []string{"outlet", "--target", anywhere, "--allow-anyone", "--log-level", "error"}
	to := at
	if relayed {
		me.start(me.relayAt(at, "--max-per-source", "16384",
			"--max-connections", "16384", "--log-level", "error")...).ready()
		args, to = append(args, "--relay", at, "--name", "db", "--mux"), "db@"+at
	} else {
		args = append(args, "--listen", at)
	}
	outlet := me.start(args...)
	outlet.ready()
	c := gather(t, n, to)
	began := time.Now()
	sessions := c.await(t)
	t.Logf("%d are there after %v, for which the outlet computed %v", n, since(began), outlet.cpu())
	outlet.kill()
	for _, s := range sessions {
		<-s.Done()
	}
	outlet = outlet.again()
	began = time.Now()
	c.await(t)
	t.Logf("%d are back after %v, for which the outlet computed %v", n, since(began), outlet.cpu())
	if bound := testenv.OfFull(10*time.Second, time.Minute); !inTime(began, bound) {
		t.Errorf("all are back after %v, want %v", since(began), bound)
	}
}

func since(began time.Time) time.Duration { return time.Since(began).Round(10 * time.Millisecond) }

// assembly is people of whom each has a node, and keeps a path up.
type assembly struct {
	to    route.Route
	nodes []*route.Node
	paths []*route.Failover
}

func gather(t *testing.T, n int, to string) *assembly {
	t.Helper()
	parsed, err := route.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	c := &assembly{to: parsed}
	ctx, leave := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	t.Cleanup(func() {
		leave()
		tasks.Wait()
		for _, node := range c.nodes {
			tasks.Go(func() { _ = node.Close() })
		}
		tasks.Wait()
	})
	for range n {
		node := trustingNode(t)
		path := node.NewFailover([]route.Route{parsed})
		c.nodes, c.paths = append(c.nodes, node), append(c.paths, path)
		tasks.Go(func() { path.Run(ctx) })
	}
	return c
}

// trustingNode returns a node of somebody new, who trusts everybody.
func trustingNode(t testing.TB) *route.Node {
	t.Helper()
	node, err := newTrustingNode()
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// await returns the sessions of all, when all have one.
func (c *assembly) await(t *testing.T) []*channel.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sessions := make([]*channel.Session, len(c.nodes))
	each(t, len(c.nodes), len(c.nodes), func(k int) (err error) {
		if err = c.paths[k].Await(ctx); err == nil {
			sessions[k], err = c.nodes[k].Session(ctx, c.to)
		}
		return err
	})
	return sessions
}
