package route

import (
	"net/netip"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// proxied returns a proxy in front of a node, and the proxy's address.
func proxied(t *testing.T, at wire.Address) (*faultnet.ProxyServer, wire.Address) {
	t.Helper()
	p, err := faultnet.Proxy(t.Context(), "127.0.0.1:0", transport.Format(at),
		faultnet.ProxyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p, transport.FromAddrPort(netip.MustParseAddrPort(p.Addr()))
}

// A path that swallows everything is left long before pings tell, if there is another one: the
// stream that waits goes on there, whether or not it outlives its link, and the next ones are
// opened there. It is taken again when it answers again. The same goes where it has just been
// suspected for another stream.
func TestSilentPathIsLeft(t *testing.T) {
	for name, test := range map[string]struct {
		before  bool
		survive time.Duration
	}{
		"at once":            {false, time.Minute},
		"suspected before":   {true, time.Minute},
		"ends with its link": {false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			silentPathIsLeft(t, test.before, test.survive)
		})
	}
}

func silentPathIsLeft(t *testing.T, before bool, survive time.Duration) {
	w := newWorld(t)
	survives := func(c *Config) {
		c.Channel.Survive = survive
		c.Channel.Keepalive = time.Hour // so no ping tells
	}
	far, at := w.listening(t, survives)
	far.HandleBasics()
	near := w.node(t, survives)
	hole, first := proxied(t, at)
	_, second := proxied(t, at)
	f := failover(t, near, Route{first, secure(), svc(EchoName)},
		Route{second, secure(), svc(EchoName)})
	bothUp := func() bool { return f.all()[0].isUp() && f.all()[1].isUp() }
	testkit.Eventually(t, "both paths", bothUp)
	expectUp(t, f)

	hole.BlackHole(true)
	if before {
		f.all()[0].maySuspect(time.Now())
	}
	expectUp(t, f)
	testkit.Eventually(t, "the silent path is down", func() bool { return !f.all()[0].isUp() })
	expectUp(t, f)

	hole.BlackHole(false)
	testkit.Eventually(t, "the path again", func() bool {
		f.RetryNow()
		return f.all()[0].isUp()
	})
}

// Where both paths are silent, or the far end is slow, none is left for that.
func TestSlowPathIsKept(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	far.HandleBasics()
	near := w.node(t)
	f := failover(t, near, Route{at, secure(), svc(EchoName)}, Route{at, secure(), svc(UppercaseName)})
	testkit.Eventually(t, "both paths", func() bool {
		return f.all()[0].isUp() && f.all()[1].isUp()
	})
	before := near.successor(f.all()[0].route, nil)
	f.compare(f.all()[0])
	if near.successor(f.all()[0].route, nil) != before {
		t.Error("a path that answers is left")
	}
}
