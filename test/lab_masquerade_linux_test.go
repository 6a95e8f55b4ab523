package test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// nats are five network namespaces: two hosts that have private addresses, each behind a NAT of its
// own, and what they both reach, where relays are:
//
//	near ── 192.168.1.0/24 ── NAT ── 198.51.100.0/24 ── NAT ── 192.168.2.0/24 ── far
//	   .2                    .1 .11        .1          .12 .1                  .2
type nats struct {
	near, public, far string
	doors             [2]string // the NATs
	nft               string
}

const (
	publicNet   = "198.51.100"
	publicRelay = publicNet + ".1:4000"

	// sameForAll gives a host's port the same one outside, wherever it sends to; oneForEach another
	// for each place.
	sameForAll = "masquerade"
	oneForEach = "masquerade random,fully-random"

	// What a NAT does with who comes without having been sent to.
	dropsStrangers  = "drop"
	resetsStrangers = "meta l4proto tcp reject with tcp reset"
)

// newNATs makes NATs that treat connections that go out, and strangers, in some way.
func newNATs(t testing.TB, near, far, strangers string) *nats {
	t.Helper()
	testenv.NeedNetns(t)
	id := fmt.Sprintf("spn%d-%d", os.Getpid(), networkCount.Add(1))
	n := &nats{
		near: id + "-near", public: id + "-pub", far: id + "-far",
		doors: [2]string{id + "-n1", id + "-n2"}, nft: testenv.NeedTool(t, "nft"),
	}
	for _, name := range []string{n.near, n.public, n.far, n.doors[0], n.doors[1]} {
		ip(t, "netns", "add", name)
		t.Cleanup(func() {
			remove := exec.Command("ip", "netns", "delete", name)
			if out, err := remove.CombinedOutput(); err != nil {
				t.Errorf("%v: %v: %s", remove, err, out)
			}
		})
		ip(t, "-n", name, "link", "set", "lo", "up")
	}
	ip(t, "-n", n.public, "link", "add", "joint", "type", "bridge")
	ip(t, "-n", n.public, "address", "add", publicNet+".1/24", "dev", "joint")
	ip(t, "-n", n.public, "link", "set", "joint", "up")
	n.door(t, 1, n.near, near, strangers)
	n.door(t, 2, n.far, far, strangers)
	return n
}

// door puts a host behind a NAT.
func (n *nats) door(t testing.TB, which int, host, out, strangers string) {
	t.Helper()
	door, leg := n.doors[which-1], fmt.Sprint("leg", which)
	inside := fmt.Sprintf("192.168.%d", which)
	ip(t, "-n", n.public, "link", "add", leg, "type", "veth", "peer", "name", "out", "netns", door)
	ip(t, "-n", n.public, "link", "set", leg, "master", "joint", "up")
	ip(t, "-n", door, "link", "add", "in", "type", "veth", "peer", "name", "eth", "netns", host)
	for _, end := range []struct{ namespace, device, address string }{
		{door, "out", fmt.Sprintf("%s.1%d/24", publicNet, which)},
		{door, "in", inside + ".1/24"},
		{host, "eth", inside + ".2/24"},
	} {
		ip(t, "-n", end.namespace, "address", "add", end.address, "dev", end.device)
		ip(t, "-n", end.namespace, "link", "set", end.device, "up")
	}
	ip(t, "-n", host, "route", "add", "default", "via", inside+".1")
	forward := exec.Command("ip", "netns", "exec", door, "sh", "-c",
		"echo 1 >/proc/sys/net/ipv4/ip_forward")
	if out, err := forward.CombinedOutput(); err != nil {
		t.Skipf("packets cannot be forwarded here: %v: %s", err, out)
	}
	setRules(t, n.nft, door, `
		table ip door {
			chain out { type nat hook postrouting priority 100; oifname "out" `+out+`; }
			chain own {
				type filter hook input priority 0
				ct state established,related accept
				iifname "out" `+strangers+`
			}
			chain through {
				type filter hook forward priority 0
				ct state established,related accept
				iifname "out" `+strangers+`
			}
		}`)
}

// part has the NATs drop what goes from one to the other.
func (n *nats) part(t testing.TB) {
	t.Helper()
	for _, door := range n.doors {
		setRules(t, n.nft, door, `
			table ip apart {
				chain to {
					type filter hook forward priority -1
					ip daddr { `+publicNet+`.11, `+publicNet+`.12 } drop
					ip saddr { `+publicNet+`.11, `+publicNet+`.12 } drop
				}
			}`)
	}
}

// toRelay returns how many bytes have come to whatever is in the middle, and not passed it by.
func (n *nats) toRelay(t *testing.T) int64 {
	t.Helper()
	const file = "/sys/class/net/joint/statistics/rx_bytes"
	text := must(t, exec.Command("ip", "netns", "exec", n.public, "cat", file))
	count, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return count
}
