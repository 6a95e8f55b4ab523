package route

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// forTrusted has a node forward for those only whom it trusts.
func forTrusted(c *Config) { c.OpenForward = false }

func TestForwardingIsForSessions(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	far.HandleOpen("svc", func(_ context.Context, q *Request) error {
		return reply(q, func([]byte) {})
	})
	_, bridge := w.listening(t, anywhere, forTrusted)
	_, open := w.listening(t, anywhere)
	near := w.node(t)
	stranger := newWorld(t).node(t)
	expectEcho(t, near, Route{bridge, secure(), at, svc("svc")})
	expectEcho(t, stranger, Route{open, at, svc("svc")})
	_, err := ask(t, near, Route{bridge, at, svc("svc")}, "hello")
	expectStatus(t, err, wire.NotAllowed, 1, transport.Format(bridge))
	_, err = ask(t, stranger, Route{bridge, secure(), at, svc("svc")}, "hello")
	if !errors.Is(err, trust.ErrNotTrusted) {
		t.Errorf("a stranger in a channel: %v", err)
	}
}

func TestWhoSaysSo(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	refuse := func(_ context.Context, q *Request) error { return Refuse(wire.NotAllowed, "no") }
	far.HandleOpen("svc", refuse)
	liar, liarAt := w.listening(t)
	liar.HandleOpen("svc", func(_ context.Context, q *Request) error {
		q.Message.Return = q.Message.Return[:1] // which makes it hop 1
		return Refuse(wire.NotTrusted, "")
	})
	_, bridge := w.listening(t, anywhere, func(c *Config) {
		c.Forward = func(a wire.Address) bool { return a == at || a == liarAt }
	})
	near := w.node(t)
	for name, test := range map[string]struct {
		route   Route
		hearsay bool
		hop     int
	}{
		"outside":                  {Route{at, svc("svc")}, true, 1},
		"inside":                   {Route{at, secure(), svc("svc")}, false, 1},
		"behind":                   {Route{bridge, at, svc("svc")}, true, 2},
		"behind, in a channel":     {Route{bridge, secure(), at, svc("svc")}, true, 2},
		"a lie":                    {Route{bridge, secure(), liarAt, svc("svc")}, true, 2},
		"the bridge, in a channel": {Route{bridge, secure(), nowhere(t), svc("svc")}, false, 1},
		"in a channel behind": {
			Route{bridge, secure(), at, secure(), svc("svc")}, false, 2,
		},
	} {
		_, err := ask(t, near, test.route, "hello")
		var s *StatusError
		if !errors.As(err, &s) || s.Hearsay != test.hearsay || s.Hop != test.hop {
			t.Errorf("%s: got %+v, %v", name, s, err)
		}
	}
}

func TestNamesAreNotDialedAnywhere(t *testing.T) {
	w := newWorld(t)
	_, at := w.listening(t)
	_, bridge := w.listening(t, anywhere, func(c *Config) {
		c.Reach = func(wire.Address, netip.Addr) error { return transport.ErrWithheld }
	})
	named := wire.Address{Kind: wire.DNS, Name: "localhost", Port: at.Port}
	_, err := ask(t, w.node(t), Route{bridge, named, svc(EchoName)}, "hello")
	expectStatus(t, err, wire.NotAllowed, 1, transport.Format(bridge))
}

// TestExpectedIdentifiers has the far end be trusted, and not the one that the route expects.
func TestExpectedIdentifiers(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	sessions := make(chan *channel.Session, 8)
	far.Handle("svc", func(_ context.Context, q *Request) error {
		sessions <- q.Session
		return reply(q, func([]byte) {})
	})
	near := w.node(t)
	own, other := is(w.id.Identifier().String()), is(testkit.NewIdentity(t).Identifier().String())
	expectEcho(t, near, Route{at, secure(), svc("svc")})
	expectEcho(t, near, Route{at, secure(), own, svc("svc")})
	expectEcho(t, near, Route{at, secure(), own, secure(), own, svc("svc")})
	a := testkit.Within(t, sessions, "a session")
	if b := testkit.Within(t, sessions, "a session"); a == b {
		t.Error("routes with different expectations share a session")
	}
	for _, r := range []Route{
		{at, secure(), other, svc("svc")}, {at, secure(), own, secure(), other, svc("svc")},
	} {
		if _, err := ask(t, near, r, "hello"); !errors.Is(err, trust.ErrNotTrusted) {
			t.Errorf("%s: %v", Format(r), err)
		}
	}
	expectEcho(t, near, Route{at, secure(), svc("svc")})
	if d, err := near.Ping(testkit.Context(t), Route{at, secure(), own, svc("svc")}); err != nil ||
		d <= 0 {
		t.Errorf("ping: %v, %v", d, err)
	}
}
