package test

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testenv"
)

// received is what a device of a namespace gets. To drop that is a hole of which no sender's kernel
// hears.
type received struct{ namespace, device string }

// kernelHole is a hole between two namespaces.
type kernelHole struct {
	name string
	of   func(n *networks) []received
}

func kernelHoles() []kernelHole {
	var all []kernelHole
	for _, hop := range []struct {
		name        string
		forth, back func(n *networks) received
	}{
		{
			"inlet to relay",
			func(n *networks) received { return received{n.middle, "left"} },
			func(n *networks) received { return received{n.near, "eth"} },
		},
		{
			"relay to outlet",
			func(n *networks) received { return received{n.far, "eth"} },
			func(n *networks) received { return received{n.middle, "right"} },
		},
	} {
		all = append(all,
			kernelHole{hop.name + ", toward the outlet", func(n *networks) []received {
				return []received{hop.forth(n)}
			}},
			kernelHole{hop.name + ", back", func(n *networks) []received {
				return []received{hop.back(n)}
			}},
			kernelHole{hop.name + ", both ways", func(n *networks) []received {
				return []received{hop.forth(n), hop.back(n)}
			}})
	}
	return all
}

// lane is a portal with each part in a network of its own, in front of a service that echoes.
//
//	near: client ─▶ inlet ─▶ middle: relay ◀─ far: outlet ─▶ target
type lane struct {
	*topology
	networks *networks
	nft      string
	served   atomic.Int64 // connections that the target has
	ended    chan ending  // of those, when they end
}

func newLane(t *testing.T, nft string, flags ...string) *lane {
	t.Helper()
	return newLaneOver(t, nft, "", flags...)
}

// newLaneOver is newLane where the relay is reached by a scheme.
func newLaneOver(t *testing.T, nft, scheme string, flags ...string) *lane {
	t.Helper()
	l := &lane{networks: newNetworks(t), nft: nft, ended: make(chan ending, mostServed)}
	p := plan{flags: flags, over: scheme}
	if scheme == "tls" || scheme == "wss" {
		p.who = newPerson(t)
		p.relayFlags, _ = p.who.certified()
	}
	l.begin(t, l.echo, p)
	return l
}

// begin starts what p says in the networks, in front of a service.
func (l *lane) begin(t *testing.T, service func(conn), p plan) {
	t.Helper()
	p.target = serveInside(t, l.networks.far, service)
	l.beginAt(t, p)
}

// beginAt is begin where p says where the service is.
func (l *lane) beginAt(t *testing.T, p plan) {
	t.Helper()
	p.relay, p.networks, p.inlets = true, l.networks, 1
	l.topology = newTopology(t, p)
}

// serveInside serves in a network namespace, and returns where.
func serveInside(t *testing.T, space string, service func(conn)) (at string) {
	t.Helper()
	inNamespace(t, space, func() {
		listener, err := net.Listen("tcp", anywhere)
		if err != nil {
			t.Fatal(err)
		}
		serve(t, listener, service)
		at = listener.Addr().String()
	})
	return at
}

func (l *lane) echo(c conn) {
	l.served.Add(1)
	defer l.served.Add(-1)
	s := netio.Wrap(c)
	_, err := io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s})
	l.ended <- ending{err: err, at: time.Now()}
}

func (l *lane) dial() conn {
	l.t.Helper()
	var c conn
	inNamespace(l.t, l.networks.near, func() { c = dial(l.t, l.address) })
	return netio.Wrap(c).(conn) // after a reset has been told to who writes, who reads gets it too
}

// hole opens a hole, or closes it.
func (l *lane) hole(h kernelHole, open bool) {
	l.t.Helper()
	for _, r := range h.of(l.networks) {
		rules := "delete table inet hole"
		if open {
			const text = "table inet hole { " +
				"chain in { type filter hook input priority 0; iifname %q drop; }; }"
			rules = fmt.Sprintf(text, r.device)
		}
		setRules(l.t, l.nft, r.namespace, rules)
	}
}

// laneBusy is how much a busy connection has carried each way before the hole.
const laneBusy = 1 << 20

// connect has one connection that then says nothing and one that never stops to send, and tells
// when they end.
func (l *lane) connect() (ends []<-chan ending) {
	l.t.Helper()
	for _, busy := range []bool{false, true} {
		c := l.dial()
		if err := echoes(c, "before"); err != nil {
			l.t.Fatal(err)
		}
		if busy {
			go func() { _, _ = io.Copy(struct{ io.Writer }{c}, zeros{}) }()
			if _, err := io.CopyN(io.Discard, c, laneBusy); err != nil {
				l.t.Fatal(err)
			}
		}
		ends = append(ends, ended(c))
	}
	return ends
}

// reset waits until connections have been reset, in time, and returns how long after began the last
// was.
func (l *lane) reset(
	where string, ends []<-chan ending, began time.Time, within time.Duration,
) (last time.Duration) {
	l.t.Helper()
	for _, ended := range ends {
		e := isReset(l.t, "a connection of the "+where, ended)
		last = max(last, e.at.Sub(began))
		if !inTimeAt(began, e.at, within) {
			l.t.Errorf("the %s knows after %v, want %v", where, last, within)
		}
	}
	return last.Round(time.Millisecond)
}

// refused opens a connection, which must be reset in time, and returns how long that took.
func (l *lane) refused(within time.Duration) time.Duration {
	l.t.Helper()
	began := time.Now()
	var at time.Time
	inNamespace(l.t, l.networks.near, func() { at = isRefused(l.t, l.address) })
	took := at.Sub(began)
	if !inTimeAt(began, at, within) {
		l.t.Errorf("a new connection was refused after %v, want %v", took, within)
	}
	return took.Round(time.Millisecond)
}

// well connects until that goes well, and returns how long it took.
func (l *lane) well() time.Duration {
	l.t.Helper()
	began := time.Now()
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for time.Since(began) < patience {
		var c conn
		var err error
		inNamespace(l.t, l.networks.near, func() { c, err = dialWhere(l.address) })
		if err == nil { // else it was refused before this machine has told that there is one
			err = echoes(c, "after")
			_ = c.Close()
		}
		if err == nil {
			return time.Since(began).Round(time.Millisecond)
		}
		<-pace.C
	}
	l.t.Fatal("nothing goes through any more")
	return 0
}

// holeOver is within what time a hole that is gone is forgotten.
const holeOver = 5 * time.Second

// TestBlackHoleInKernel is TestBlackHole between network namespaces: nftables drops the packets
// themselves, so that the kernels send again, and wait longer each time, and new connections get no
// answer at all. Whatever the links are made of, it takes no longer to be known, where pings are
// sent each second; each transport has one of the holes.
func TestBlackHoleInKernel(t *testing.T) {
	t.Parallel()
	nft := testenv.NeedTool(t, "nft")
	testenv.NeedNetns(t)
	all := kernelHoles()
	keepalive := testenv.OfFull(time.Second, channel.DefaultKeepalive)
	for _, h := range testenv.OfFull([]kernelHole{all[1], all[5]}, all) {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			h.swallows(t, nft, "", keepalive)
		})
	}
	for i, scheme := range []string{"tls", "ws", "wss", "quic"} {
		h := all[i+1]
		t.Run(scheme+", "+h.name, func(t *testing.T) {
			t.Parallel()
			h.swallows(t, nft, scheme, time.Second)
		})
	}
}

func (h kernelHole) swallows(t *testing.T, nft, scheme string, keepalive time.Duration) {
	t.Helper()
	l := newLaneOver(t, nft, scheme, "--keepalive", keepalive.String(),
		"--connect-timeout", holeConnect.String(), "--log-level", "error")
	ended := l.connect()
	l.well() // leaves a link that the next connection takes
	<-l.ended
	began := time.Now()
	l.hole(h, true)
	// while the session is not known to be dead
	first := l.refused(holeConnect + holeAnswer + holeSlack)
	client := l.reset("client", ended, began, holeKnown(keepalive))
	service := l.reset("service", []<-chan ending{l.ended, l.ended}, began, holeKnownFar(keepalive))
	second := l.refused(holeConnect + holeSlack)
	l.hole(h, false)
	over := time.Now()
	well := l.well()
	if !inTime(over, holeOver) {
		t.Errorf("well again after %v, want %v", well, holeOver)
	}
	eventually(t, "the target has no connection left", func() bool { return l.served.Load() == 0 })
	t.Logf("client reset after %v, service after %v; new connections refused after %v and %v; "+
		"well again after %v",
		client, service, first, second, well)
}
