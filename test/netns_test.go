//go:build unix

package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// networks are three network namespaces. What is in the middle has a leg in each of the two others, and does not
// forward packets between them:
//
//	near ── 10.x.1.0/24 ── middle ── 10.x.2.0/24 ── far
//	    .2              .1        .1             .2
type networks struct {
	near, middle, far string
	nearNet, farNet   string // the first three bytes of each network, as text
}

var networkCount atomic.Int32

func newNetworks(t *testing.T) *networks {
	t.Helper()
	testenv.NeedNetns(t)
	id := fmt.Sprintf("sp%d-%d", os.Getpid(), networkCount.Add(1))
	n := &networks{
		near: id + "-near", middle: id + "-mid", far: id + "-far",
		nearNet: "10.77.1", farNet: "10.77.2",
	}
	for _, name := range []string{n.near, n.middle, n.far} {
		ip(t, "netns", "add", name)
		t.Cleanup(func() { // with what is in it; the veths go too
			if out, err := exec.Command("ip", "netns", "delete", name).CombinedOutput(); err != nil {
				t.Errorf("ip netns delete %s: %v: %s", name, err, out)
			}
		})
		ip(t, "-n", name, "link", "set", "lo", "up")
	}
	n.join(t, n.near, "left", n.nearNet)
	n.join(t, n.far, "right", n.farNet)
	const off = "echo 0 >/proc/sys/net/ipv4/ip_forward"
	if out, err := exec.Command("ip", "netns", "exec", n.middle, "sh", "-c", off).CombinedOutput(); err != nil {
		t.Logf("the middle's own setting stays as it is: %s", out) // nobody has a route through it
	}
	return n
}

// join lays a line from an outer network to the middle.
func (n *networks) join(t *testing.T, outer, leg, network string) {
	t.Helper()
	ip(t, "-n", n.middle, "link", "add", leg, "type", "veth", "peer", "name", "eth", "netns", outer)
	for _, end := range []struct{ namespace, device, address string }{
		{n.middle, leg, network + ".1/24"}, {outer, "eth", network + ".2/24"},
	} {
		ip(t, "-n", end.namespace, "address", "add", end.address, "dev", end.device)
		ip(t, "-n", end.namespace, "link", "set", end.device, "up")
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// in makes the lab's next processes start in a namespace.
func (l *nodes) in(namespace string) *nodes {
	there := *l
	there.inside = namespace
	return &there
}

// apart fails if one of the outer networks reaches the other.
func (n *networks) apart(l *nodes) {
	l.t.Helper()
	for _, way := range []struct{ from, address string }{{n.near, n.farNet + ".2"}, {n.far, n.nearNet + ".2"}} {
		l.in(way.from).fails(3, "cannot reach", "send", "--timeout", "5s", "--to", way.address+":7000", "hello")
	}
}

// unixMirror is a mirror that a process in any network reaches: a path has no network.
func (l *nodes) unixMirror(size int64) (*labMirror, string) {
	l.t.Helper()
	m := newMirror(l.t, size)
	path := l.dir + "/service"
	listener, err := net.Listen("unix", path)
	if err != nil {
		l.t.Fatal(err)
	}
	labServe(l.t, listener, m.serve)
	return m, "unix:" + path
}

// TestNetworksApart has an inlet and an outlet in networks that cannot reach each other.
func TestNetworksApart(t *testing.T) {
	n := newNetworks(t)
	middle := n.nearNet + ".1"
	for _, topology := range []struct {
		name  string
		build func(l *nodes, target string) (route string)
	}{
		{"relay", func(l *nodes, target string) string {
			l.in(n.middle).start("relay", "--listen", ":4000").ready()
			l.in(n.far).registered(n.farNet+".1:4000", "db", target)
			return "db@" + middle + ":4000"
		}},
		{"bridge", func(l *nodes, target string) string {
			l.in(n.far).start("outlet", "--listen", ":7000", "--target", target).ready()
			l.in(n.middle).start("bridge", "--listen", ":4000", "--next", n.farNet+".0/24:7000").ready()
			return step(middle+":4000") + step(n.farNet+".2:7000") + labOutlet
		}},
	} {
		t.Run(topology.name, func(t *testing.T) {
			l := newNodes(t)
			n.apart(l)
			m, target := l.unixMirror(labSize)
			to := topology.build(l, target)
			listens := "unix:" + l.dir + "/inlet"
			inlet := l.in(n.near).start("inlet", "--listen", listens, "--to", to)
			if line := inlet.ready(); line != listens {
				t.Errorf("the inlet listens at %s, want %s", line, listens)
			}
			if err := m.both(labDial(t, listens)); err != nil {
				t.Error("client ends first:", err)
			}
			if err := m.afterEnd(labDial(t, listens), labRest); err != nil {
				t.Error("service ends first:", err)
			}
			n.apart(l)
		})
	}
}
