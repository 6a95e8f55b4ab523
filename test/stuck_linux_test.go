package test

import (
	"fmt"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
)

// TestBigPacketsLost drops the big packets of one hop and lets small ones through, pings among
// them, as a network does whose MTU is smaller than it says. Only who sends a lot notices, and is
// told; what is small goes on.
func TestBigPacketsLost(t *testing.T) {
	nft := testenv.NeedTool(t, "nft")
	t.Parallel()
	for name, of := range map[string]func(n *networks) received{
		"inlet to relay":  func(n *networks) received { return received{n.middle, "left"} },
		"relay to outlet": func(n *networks) received { return received{n.far, "eth"} },
		"outlet to relay": func(n *networks) received { return received{n.middle, "right"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLane(t, nft, "--keepalive", unhurried(time.Second).String(),
				"--log-level", "warn")
			big, small := l.dial(), l.dial()
			for _, c := range []conn{big, small} {
				if err := echoes(c, "before"); err != nil {
					t.Fatal(err)
				}
			}
			r := of(l.networks)
			setRules(t, nft, r.namespace, fmt.Sprintf(
				"table inet mtu { chain in { type filter hook input priority 0; "+
					"iifname %q meta length > 800 drop; }; }", r.device))
			sent := make([]byte, 4000)
			for range 8 {
				if _, err := big.Write(sent); err != nil {
					t.Fatal(err)
				}
			}
			receivesReset(t, big)
			if err := echoes(small, "goes on"); err != nil {
				t.Error("a connection that sends little:", err)
			}
		})
	}
}
