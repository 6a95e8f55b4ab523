package daemon

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/testkit"
)

// dialAt connects to where a portal listens.
func dialAt(address string) (net.Conn, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return net.Dial("unix", path)
	}
	return net.Dial("tcp", address)
}

// An inlet that listens when it is ready does so while its outlet is there, at the same address
// each time, and at no other time. What is open goes on, and the address is free when the inlet
// ends.
func TestListenWhenReady(t *testing.T) {
	for name, listen := range map[string]string{
		"an address": loopback, "localhost": ":0",
		"a Unix socket": "unix:" + filepath.Join(t.TempDir(), "s"),
	} {
		t.Run(name, func(t *testing.T) {
			far, near := newLab(t), newLab(t)
			near.node.Identity = far.node.Identity
			service := serviceThatSays(t, "hello")
			first, second := testkit.Address(t), testkit.Address(t)
			in := config.Inlet{Listen: listen, To: []string{first, second}, ListenWhenReady: true}
			near.start(t, config.Config{Inlets: []config.Inlet{in}})
			if s := near.status(t, InletKind, listen); s.Ready || s.Address != "" {
				t.Errorf("nobody is there, and it listens: %+v", s)
			}
			outlet := func(at string) config.Config {
				return config.Config{Outlets: []config.Outlet{
					{Entrance: config.Entrance{Listen: at}, Target: service},
				}}
			}
			far.start(t, outlet(first))
			address := near.ready(t, InletKind, listen).Address
			held := func() net.Conn {
				c, err := dialAt(address)
				if err != nil {
					t.Fatal(err)
				}
				testkit.Hurry(t, c)
				testkit.Expect(t, c, "hello")
				return c
			}
			open := held()
			defer open.Close()
			// The outlet goes away, and lets open connections finish.
			stopped := make(chan error, 1)
			go func() { stopped <- far.Shutdown() }()
			testkit.Eventually(t, "it does not listen", func() bool {
				c, err := dialAt(address)
				if err == nil {
					_ = c.Close()
				}
				return err != nil
			})
			if s := near.status(t, InletKind, listen); s.Ready || s.Address != "" {
				t.Errorf("no path is open: %+v", s)
			}
			talk(t, open, "still here")
			again := &lab{node: far.node}
			again.start(t, outlet(second))
			if at := near.ready(t, InletKind, listen).Address; at != address {
				t.Errorf("it listens at %s, and not at %s", at, address)
			}
			other := held()
			talk(t, other, "again")
			_, _ = other.Close(), open.Close()
			if err := testkit.Within(t, stopped, "the outlet's end"); err != nil {
				t.Error(err)
			}
			if err := near.Shutdown(); err != nil {
				t.Error(err)
			}
			if c, err := dialAt(address); err == nil {
				_ = c.Close()
				t.Error("it still listens")
			}
		})
	}
}
