package portal

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/portal/ask"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// hello is the first message of a client of TLS that wants a server, in records of some size.
func hello(name string, size int) string {
	number := func(n, size int) string {
		return string([]byte{byte(n >> 16), byte(n >> 8), byte(n)}[3-size:])
	}
	names := "\x00" + number(len(name), 2) + name
	extension := "\x00\x00" + number(len(names)+2, 2) + number(len(names), 2) + names
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00\x00\x02\x13\x01\x01\x00" +
		number(len(extension), 2) + extension
	message, all := "\x01"+number(len(body), 3)+body, ""
	for len(message) > 0 {
		n := min(size, len(message))
		all += "\x16\x03\x01" + number(n, 2) + message[:n]
		message = message[n:]
	}
	return all
}

// TestServerNames leads clients by what they say first, of which the service gets every byte.
func TestServerNames(t *testing.T) {
	p := newTunnel(t, func(_ *Inlet, o *Outlet) {
		s := Service{Target: "the service", Dial: DialTarget(o.Target, 0)}
		o.Choose = ByServerName{
			Services: map[string]Service{"a.example": s, "closed.example": s},
			Rules: Rules{
				{Service: "a.example"},
				{Service: "closed.example", Who: Who{Identifier: identity.Identifier{1}}},
			},
		}
	})
	for _, size := range []int{3, 1000} {
		client, said := p.dial(t), hello("A.example", size)
		for piece := range strings.SplitSeq(said, "") {
			testkit.Write(t, client, piece)
		}
		testkit.Write(t, client, "more")
		service := p.accept(t)
		testkit.Expect(t, service, said+"more")
		testkit.Write(t, service, "answer")
		testkit.Expect(t, client, "answer")
	}
	for _, name := range []string{"other.example", "closed.example"} { // as if it were not there
		client := p.dial(t)
		testkit.Write(t, client, hello(name, 1000))
		testkit.Expect(t, client, string(ask.AlertUnrecognizedName))
		testkit.ExpectEnd(t, client)
	}
	client := p.dial(t) // it looks whether the port is open
	closeWrite(t, client)
	testkit.ExpectEnd(t, client)
	client = p.dial(t)
	testkit.Write(t, client, "GET / HTTP/1.1\r\n\r\n")
	expectReset(t, client)
}

// TestDefaultService is for whoever wants no server of those that are known, or names none.
func TestDefaultService(t *testing.T) {
	p := newTunnel(t, func(_ *Inlet, o *Outlet) {
		other := Service{Dial: DialTarget(o.Target, 0)}
		o.Choose = ByServerName{Services: map[string]Service{"a.example": {}}, Default: &other}
	})
	client := p.dial(t)
	testkit.Write(t, client, hello("b.example", 1000))
	testkit.Expect(t, p.accept(t), hello("b.example", 1000))
}

// named opens a flow for a name.
func (p *tunnel) named(t *testing.T, name string) (*route.Stream, error) {
	t.Helper()
	to := route.ThroughRelay(p.route()[:1], name)
	s, err := p.inlet.OpenWith(testkit.Context(t), to, 0, nil)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, s.Await(testkit.Context(t))
}

// TestNames leads by the name of the session, and nowhere else.
func TestNames(t *testing.T) {
	other := testkit.Listen(t)
	p := newTunnel(t, func(_ *Inlet, o *Outlet) {
		at, _ := transport.FromAddr(other.Addr())
		o.Choose = ByName{Services: map[string]Service{
			"a": {Target: "a", Dial: DialTarget(o.Target, 0)}, "b": {Target: "b", Dial: DialTarget(at, 0)},
		}}
	})
	for _, name := range []string{"a", "b", "c"} {
		defer p.outlet.Claim(route.ForwardPrefix + name)()
	}
	for name, l := range map[string]net.Listener{"a": p.service, "b": other} {
		if _, err := p.named(t, name); err != nil {
			t.Fatal(err)
		}
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	var refused *route.StatusError
	if _, err := p.named(t, "c"); !errors.As(err, &refused) || refused.Code != route.CodeNotAllowed ||
		refused.Hearsay || refused.Reason != NotAllowed {
		t.Errorf("a name without a target: %v", err)
	}
}

// changing trusts everybody, whose attributes are what it says.
type changing struct {
	channel.Trust
	role    atomic.Pointer[string]
	changed atomic.Pointer[chan struct{}]
}

func (c *changing) say(role string) {
	c.role.Store(&role)
	next := make(chan struct{})
	if before := c.changed.Swap(&next); before != nil {
		close(*before)
	}
}

func (c *changing) decision() trust.Decision {
	return trust.Decision{
		Anchor: trust.AnchorAuthority, Attributes: map[string]string{"role": *c.role.Load()},
	}
}

func (c *changing) MightTrust(identity.Claim, trust.As, time.Time) error { return nil }

func (c *changing) Check(*identity.Peer, trust.As, time.Time) (trust.Decision, error) {
	return c.decision(), nil
}

func (c *changing) Accept(*identity.Peer, trust.As, time.Time) (trust.Decision, error) {
	return c.decision(), nil
}

func (c *changing) Changed() <-chan struct{} { return *c.changed.Load() }

// TestRightsEnd ends a connection whose far end has no longer what a rule asks for, and only then.
func TestRightsEnd(t *testing.T) {
	whom := new(changing)
	whom.say("dba")
	outlet, err := route.NewNode(route.Config{
		Channel: channel.Config{Identity: testkit.NewIdentity(t), Trust: whom}, Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	p := newTunnel(t)
	target, _ := transport.FromAddr(p.service.Addr())
	links, served := testkit.Listen(t), make(chan struct{})
	go func() {
		defer close(served)
		outlet.Serve(context.Background(), links)
	}()
	defer func() {
		_ = outlet.Close()
		testkit.Within(t, served, "serving links")
	}()
	o := &Outlet{Logger: quiet(), Choose: ByName{
		Services: map[string]Service{"": {Dial: DialTarget(target, 0)}},
		Rules:    Rules{{Service: "", Who: Who{Attributes: map[string]string{"role": "dba"}}}},
	}}
	outlet.Offer(route.OutletName, route.Service{Handler: o.Serve, Admit: o.Admits})
	anyone, err := trust.NewPolicy(trust.Config{
		Self: testkit.NewIdentity(t).Identifier(), AllowAnyone: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	inlet, err := route.NewNode(route.Config{
		Channel: channel.Config{Identity: testkit.NewIdentity(t), Trust: anyone}, Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer inlet.Close()
	at, _ := transport.FromAddr(links.Addr())
	s, err := inlet.OpenWith(testkit.Context(t), route.ToOutlet(at), 0, nil)
	if err == nil {
		err = s.Await(testkit.Context(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	service := p.accept(t)
	testkit.Write(t, service, "a")
	testkit.Expect(t, s, "a")
	whom.say("guest")
	if _, err := io.ReadAll(s); err == nil {
		t.Error("the connection ends in order")
	}
	if err := inlet.Probe(testkit.Context(t), route.ToOutlet(at)); err == nil ||
		!strings.Contains(err.Error(), NotAllowed) {
		t.Errorf("a probe: %v", err)
	}
	whom.say("dba")
	testkit.Eventually(t, "the right again", func() bool {
		return inlet.Probe(testkit.Context(t), route.ToOutlet(at)) == nil
	})
}
