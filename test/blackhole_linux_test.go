package test

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testenv"
)

// inNamespace does work on a thread in a network namespace, where the sockets that it makes stay. The thread goes back:
// were it to end, the kernel would end the processes that it has started for other tests.
func inNamespace(t *testing.T, namespace string, work func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	enter := func(path string) (leave func()) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			defer f.Close()
			if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
				panic(err) // nobody else may have this thread
			}
		}
	}
	back := enter("/proc/thread-self/ns/net")
	defer back()
	enter("/run/netns/" + namespace)()
	work()
}

// received is what a device of a namespace gets. To drop that is a hole of which no sender's kernel hears.
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
			kernelHole{hop.name + ", toward the outlet", func(n *networks) []received { return []received{hop.forth(n)} }},
			kernelHole{hop.name + ", back", func(n *networks) []received { return []received{hop.back(n)} }},
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
	*nodes
	*networks
	nft     string
	inletAt string       // in near
	served  atomic.Int64 // connections that the target has
	ended   chan ending  // of those, when they end
}

// ending is how a connection ended.
type ending struct {
	err error
	at  time.Time
}

func newLane(t *testing.T, nft string, flags ...string) *lane {
	t.Helper()
	n := newNetworks(t)
	l := &lane{nodes: newNodes(t), networks: n, nft: nft, ended: make(chan ending, labConnections)}
	var listener net.Listener
	inNamespace(t, n.far, func() {
		var err error
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	})
	labServe(t, listener, l.echo)
	run := func(namespace string, args ...string) string {
		return l.in(namespace).start(append(args, flags...)...).ready()
	}
	run(n.middle, "relay", "--listen", ":4000")
	run(n.far, "outlet", "--relay", n.farNet+".1:4000", "--name", "db", "--target", listener.Addr().String())
	l.inletAt = run(n.near, "inlet", "--listen", "127.0.0.1:0", "--to", "db@"+n.nearNet+".1:4000")
	return l
}

func (l *lane) echo(c labConn) {
	l.served.Add(1)
	defer l.served.Add(-1)
	s := netio.Wrap(c)
	_, err := io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s})
	l.ended <- ending{err, time.Now()}
}

func (l *lane) dial() labConn {
	l.t.Helper()
	var c labConn
	inNamespace(l.t, l.near, func() { c = labDial(l.t, l.inletAt) })
	return netio.Wrap(c).(labConn) // after a reset has been told to who writes, who reads gets it too
}

// hole opens a hole, or closes it.
func (l *lane) hole(h kernelHole, open bool) {
	l.t.Helper()
	for _, r := range h.of(l.networks) {
		rules := "delete table inet hole"
		if open {
			const text = "table inet hole { chain in { type filter hook input priority 0; iifname %q drop; }; }"
			rules = fmt.Sprintf(text, r.device)
		}
		setRules(l.t, l.nft, r.namespace, rules)
	}
}

// laneBusy is how much a busy connection has carried each way before the hole.
const laneBusy = 1 << 20

// connect has one connection that then says nothing and one that never stops to send, and tells when they end.
func (l *lane) connect() <-chan ending {
	l.t.Helper()
	ended := make(chan ending, 2)
	for _, busy := range []bool{false, true} {
		c := l.dial()
		if err := labEcho(c, "before"); err != nil {
			l.t.Fatal(err)
		}
		if busy {
			go func() { _, _ = io.Copy(struct{ io.Writer }{c}, labZeros{}) }()
			if _, err := io.CopyN(io.Discard, c, laneBusy); err != nil {
				l.t.Fatal(err)
			}
		}
		go func() {
			_, err := io.Copy(io.Discard, struct{ io.Reader }{c})
			ended <- ending{err, time.Now()}
		}()
	}
	return ended
}

// reset waits until two connections have been reset, and returns how long after began the last was.
func (l *lane) reset(where string, ended <-chan ending, began time.Time) (last time.Duration) {
	l.t.Helper()
	late := time.After(2 * soon)
	for range 2 {
		select {
		case e := <-ended:
			if !netio.IsReset(e.err) {
				l.t.Errorf("a connection of the %s ended with %v, and not a reset", where, e.err)
			}
			last = max(last, e.at.Sub(began))
		case <-late:
			l.t.Fatalf("a connection of the %s is left hanging", where)
		}
	}
	if last > holeKnown {
		l.t.Errorf("the %s knows after %v, want %v", where, last, holeKnown)
	}
	return last.Round(time.Millisecond)
}

// refused opens a connection, which must be reset in time.
func (l *lane) refused(within time.Duration) time.Duration {
	l.t.Helper()
	began := time.Now()
	c := l.dial()
	send(l.t, c, "is anybody there?")
	refused := make(chan error, 1)
	go func() { refused <- waitReset(c) }()
	took := awaitEnd(l.t, "a new connection", refused, began)
	if took > within {
		l.t.Errorf("a new connection was refused after %v, want %v", took, within)
	}
	return took
}

// well connects until that goes well, and returns how long it took.
func (l *lane) well() time.Duration {
	l.t.Helper()
	began := time.Now()
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for time.Since(began) < labPatience {
		c := l.dial()
		err := labEcho(c, "after")
		_ = c.Close()
		if err == nil {
			return time.Since(began).Round(time.Millisecond)
		}
		<-pace.C
	}
	l.t.Fatal("nothing goes through any more")
	return 0
}

const (
	holeAnswer = 5 * time.Second // that an outlet has for its answer, beyond --connect-timeout
	holeSlack  = 2 * time.Second // on a busy machine
	holeOver   = 5 * time.Second // a hole that is gone is forgotten within this time
)

// TestBlackHoleInKernel is TestBlackHole between network namespaces: nftables drops the packets themselves, so that the
// kernels send again, and wait longer each time, and new connections get no answer at all.
func TestBlackHoleInKernel(t *testing.T) {
	t.Parallel()
	nft := testenv.NeedTool(t, "nft")
	testenv.NeedNetns(t)
	all := kernelHoles()
	for _, h := range ofFull([]kernelHole{all[1], all[5]}, all) {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			h.swallows(t, nft, ofFull([]string{"--keepalive", "1s"}, nil)...)
		})
	}
}

func (h kernelHole) swallows(t *testing.T, nft string, flags ...string) {
	t.Helper()
	l := newLane(t, nft, append(flags, "--connect-timeout", holeConnect.String(), "--log-level", "error")...)
	ended := l.connect()
	l.well() // leaves a link that the next connection takes
	<-l.ended
	began := time.Now()
	l.hole(h, true)
	first := l.refused(holeConnect + holeAnswer + holeSlack) // while the session is not known to be dead
	client, service := l.reset("client", ended, began), l.reset("service", l.ended, began)
	second := l.refused(holeConnect + holeSlack)
	l.hole(h, false)
	well := l.well()
	if well > holeOver {
		t.Errorf("well again after %v, want %v", well, holeOver)
	}
	eventually(t, "the target has no connection left", func() bool { return l.served.Load() == 0 })
	t.Logf("client reset after %v, service after %v; new connections refused after %v and %v; well again after %v",
		client, service, first, second, well)
}
