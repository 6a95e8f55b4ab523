//go:build unix

package test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// networks are three network namespaces. What is in the middle has a leg in each of the two others,
// and does not forward packets between them:
//
//	near ── 10.x.1.0/24 ── middle ── 10.x.2.0/24 ── far
//	    .2              .1        .1             .2
type networks struct {
	near, middle, far string
	nearNet, farNet   string // the first three bytes of each network, as text
}

var networkCount atomic.Int32

func newNetworks(t testing.TB) *networks {
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
			remove := exec.Command("ip", "netns", "delete", name)
			if out, err := remove.CombinedOutput(); err != nil {
				t.Errorf("%v: %v: %s", remove, err, out)
			}
		})
		ip(t, "-n", name, "link", "set", "lo", "up")
	}
	n.join(t, n.near, "left", n.nearNet)
	n.join(t, n.far, "right", n.farNet)
	const off = "echo 0 >/proc/sys/net/ipv4/ip_forward"
	cmd := exec.Command("ip", "netns", "exec", n.middle, "sh", "-c", off)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("the middle's own setting stays as it is: %s", out) // nobody has a route through it
	}
	return n
}

// join lays a line from an outer network to the middle.
func (n *networks) join(t testing.TB, outer, leg, network string) {
	t.Helper()
	ip(t, "-n", n.middle, "link", "add", leg, "type", "veth", "peer", "name", "eth", "netns", outer)
	for _, end := range []struct{ namespace, device, address string }{
		{n.middle, leg, network + ".1/24"}, {outer, "eth", network + ".2/24"},
	} {
		ip(t, "-n", end.namespace, "address", "add", end.address, "dev", end.device)
		ip(t, "-n", end.namespace, "link", "set", end.device, "up")
	}
}

// runIn has a command run in a network namespace; empty is the test's own.
func runIn(t testing.TB, cmd *exec.Cmd, namespace string) {
	t.Helper()
	if namespace == "" {
		return
	}
	cmd.Args = append([]string{"ip", "netns", "exec", namespace, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = testenv.NeedTool(t, "ip")
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// apart fails if one of the outer networks reaches the other.
func (n *networks) apart(me person) {
	me.t.Helper()
	for _, way := range []struct{ from, address string }{
		{n.near, n.farNet + ".2"},
		{n.far, n.nearNet + ".2"},
	} {
		me.in(way.from).fails(3, "cannot reach", "send", "--timeout", "5s",
			"--to", way.address+":7000", "hello")
	}
}

// setRules gives rules to a namespace's nftables.
func setRules(t testing.TB, nft, space, rules string) {
	t.Helper()
	cmd := exec.Command("ip", "netns", "exec", space, nft, "-f", "-")
	cmd.Stdin = strings.NewReader(rules + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
}
