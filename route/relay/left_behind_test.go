package relay

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// roamer is an outlet that can be reached by a way on which nothing may come through any more, and
// has a link in use there.
type roamer struct {
	*holders
	client *Client
	way    *faultnet.ProxyServer
	inUse  *route.Stream // an inlet's, to its echo service
	lease  *Lease
}

func newRoamer(t *testing.T, outlives bool, relay ...func(*route.Config)) *roamer {
	t.Helper()
	h := newHolders(t, relay...)
	way, err := faultnet.Proxy(t.Context(), "127.0.0.1:0", transport.Format(h.at),
		faultnet.ProxyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = way.Close() })
	r := &roamer{holders: h, client: h.outliving(outlives), way: way}
	r.client.Relay = route.Route{transport.FromAddrPort(netip.MustParseAddrPort(way.Addr()))}
	registered(t, r.client)
	a, err := h.names.Lookup(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	r.lease = a.Lease
	testkit.Within(t, r.lease.ready, "the lease")
	r.lease.demand(demandLink)
	testkit.Eventually(t, "there is a standby link", func() bool { // or the mux would be used
		r.lease.parked.mu.Lock()
		defer r.lease.parked.mu.Unlock()
		return len(r.lease.parked.links) > 0
	})
	to := route.Route{h.at, route.Forward("x"), secure(), svc(route.EchoName)}
	if r.inUse, err = h.node(t).OpenAndAwait(testkit.Context(t), to, 0, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.inUse.Close() })
	r.echoes()
	return r
}

// outliving is process, with connections that outlive their links or do not.
func (h *holders) outliving(outlives bool) *Client {
	h.t.Helper()
	n := h.node(h.t, func(c *route.Config) {
		if outlives {
			c.Channel.Survive = time.Minute
		}
	})
	n.HandleBasics()
	return &Client{Relay: route.Route{h.at}, Name: "x", Dial: n, Serve: n}
}

// claimsAnew has the same process claim the name anew in another session, on a way that is well.
func (r *roamer) claimsAnew(outlives bool) {
	r.t.Helper()
	again := r.outliving(outlives)
	again.Instance = r.client.Instance
	registered(r.t, again)
}

func (r *roamer) echoes() {
	r.t.Helper()
	_ = r.inUse.SetDeadline(time.Now().Add(testkit.Patience))
	testkit.Write(r.t, r.inUse, "hello")
	testkit.Expect(r.t, r.inUse, "hello")
}

// Who uses a link that an outlet has left behind learns of it, and does not wait for pings that are
// not answered.
func TestLeftBehindLinksAreReset(t *testing.T) {
	for what, ended := range map[string]bool{
		"the session is silent": false, "the session has ended for that": true,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			leftBehindLinksAreReset(t, ended)
		})
	}
}

func leftBehindLinksAreReset(t *testing.T, ended bool) {
	t.Helper()
	// If it waits for the end, it is the relay that learns of it long before the inlet.
	r := newRoamer(t, true, func(c *route.Config) {
		if ended {
			c.Channel.Keepalive = time.Second
		}
	})
	r.way.BlackHole(true)
	if ended {
		testkit.Within(t, r.lease.session.Done(), "the end of the relay's session")
	}
	began := time.Now()
	r.claimsAnew(true)
	_ = r.inUse.SetDeadline(time.Now().Add(testkit.Patience))
	n, err := r.inUse.Read(make([]byte, 1))
	if n > 0 || err == nil || isTimeout(err) || errors.Is(err, channel.ErrMissedPongs) {
		t.Fatalf("read %d, %v", n, err)
	}
	t.Logf("%v, %v after the claim", err, time.Since(began).Round(time.Millisecond))
}

// Links in use live on where their being reset would end what they carry, where the outlet is still
// at their other end, and where it is another process that has the name now.
func TestLinksInUseOutliveAnotherClaim(t *testing.T) {
	for what, c := range map[string]struct{ outlives, silent, another bool }{
		"they end with their links":   {silent: true},
		"the outlet is there":         {outlives: true},
		"it is another process's now": {outlives: true, silent: true, another: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRoamer(t, c.outlives)
			r.way.BlackHole(c.silent)
			if c.another {
				registered(t, r.outliving(true)) // when the relay has asked the first
			} else {
				r.claimsAnew(c.outlives)
			}
			if r.server.isLeftBehind(r.lease) {
				t.Error("the links are to be reset")
			}
			r.way.BlackHole(false)
			r.echoes()
		})
	}
}
