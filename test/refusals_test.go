//go:build unix

package test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// TestRefusals has each thing that may be wrong with a route or a claim end in one clear error.
func TestRefusals(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	_, strangerID := me.identity("stranger")
	_, unknownID := me.identity("unknown")
	m := newMirror(t, meanwhile)
	s := &refusalSite{
		own: me.identifier(), unknown: unknownID, nowhere: testkit.Address(t),
		target: m.address, keys: me.home,
	}
	_, s.relay = me.startRelay(append(me.ownKey(), "--allow", s.own, "--allow", strangerID)...)
	me.startNamed(s.relay, "db", m.address)
	_, s.bridge = me.startBridge("127.0.0.1:1")
	everywhere := "127.0.0.0/8:1-65535"
	_, s.round = me.startBridge(everywhere, "--open", "--next", "localhost:1-65535")
	_, s.about = me.startBridge(everywhere, "--open")
	s.itself = testkit.Address(t)
	me.start(me.relayAt(s.itself, append(me.ownKey(), "--relay", s.itself, "--name", "itself")...)...).
		says("msg=registered")
	check := undisturbed(t, me.inletTo("db@"+s.relay), m)
	for _, c := range append(s.claims(), s.routes()...) {
		t.Run(c.name, func(t *testing.T) {
			here := me
			here.t = t
			here.fails(c.code, c.text, c.args...)
		})
	}
	me.saysHello(step(s.relay) + strings.Repeat("/service/hop", 13)) // which makes 16 steps
	check()
}

// refusalSite is what the refusals of TestRefusals come from.
type refusalSite struct {
	own, unknown  string // Identifiers
	relay, bridge string // the bridge leads nowhere
	round, about  string // two bridges that lead everywhere
	itself        string // a relay that is registered with itself
	nowhere       string // nobody listens there
	target        string
	keys          string // the folder of key files
}

// refusal is a command that is to fail.
type refusal struct {
	name string
	code int
	text string
	args []string
}

// claims are those that a relay refuses, or that do not reach one.
func (s *refusalSite) claims() []refusal {
	claim := func(relay, name string, more ...string) []string {
		return append([]string{
			"outlet", "--no-wait", "--target", s.target, "--relay", relay,
			"--name", name,
		}, more...)
	}
	as := func(name string) string { return "--identity=" + s.keys + "/" + name + ".identity" }
	return []refusal{
		{
			"name taken", 4, "the name db belongs to another identity",
			claim(s.relay, "db", as("stranger")),
		},
		{
			"relay with another identity than named", 4, s.own,
			claim(s.relay, "other", as("stranger"), "--relay-identity", s.unknown),
		},
		{
			"relay that no authority calls one", 4, s.own,
			claim(s.relay, "other", as("stranger"), "--authority", s.unknown),
		},
		{"relay that is denied", 4, s.own, claim(s.relay, "other", as("stranger"), "--deny", s.own)},
		{
			"claimant not allowed", 4, "not trusted by the far end",
			claim(s.relay, "other", as("unknown")),
		},
		{"no relay there", 3, "cannot reach " + s.nowhere, claim(s.nowhere, "other")},
		{"a bridge is no relay", 3, "no service named register", claim(s.bridge, "other")},
		{"name that is none", 2, `--name "no/name"`, claim(s.relay, "no/name")},
		{"name too long", 2, `--name "xxx`, claim(s.relay, strings.Repeat("x", 70))},
	}
}

// routes are those that lead nowhere.
func (s *refusalSite) routes() []refusal {
	alias := "/dnsaddr/localhost/tcp/" + s.round[strings.LastIndexByte(s.round, ':')+1:]
	return []refusal{
		{
			"unknown name", 3, "hop 1 says: no outlet named nobody (at " + s.relay + ")",
			[]string{"inlet", "--no-wait", "--listen", anywhere, "--to", "nobody@" + s.relay},
		},
		{
			"unknown name behind a name", 3, "hop 2 says: no outlet named nobody (at forward_to_db)",
			hello(step(s.relay) + forwardTo("db") + forwardTo("nobody")),
		},
		{
			"unknown service", 3, "no service named nothing",
			sendTo(step(s.relay) + toChannel + "/service/nothing"),
		},
		{
			"unknown channel", 3, "no secure channel named nothing",
			sendTo(step(s.relay) + "/secure/nothing/service/echo"),
		},
		{
			"service without its channel", 3, "no service named uppercase",
			sendTo(step(s.relay) + "/service/uppercase"),
		},
		{
			"next hop not allowed", 4, "hop 1 (" + s.bridge + "): forwarding to " + s.relay +
				" is not allowed here",
			hello(step(s.bridge) + toChannel + step(s.relay)),
		},
		{
			"next hop not allowed outside of a channel", 3,
			"hop 1 says: forwarding to 192.0.2.1:1 is",
			hello(step(s.about) + step("192.0.2.1:1")),
		},
		{
			"bridge entered without a channel", 3, "hop 1 says: not allowed (at " + s.bridge + ")",
			hello(step(s.bridge) + step("127.0.0.1:1")),
		},
		{
			"next hop is a name", 4, "is not allowed here",
			hello(step(s.bridge) + toChannel + "/dnsaddr/localhost/tcp/1"),
		},
		{
			"a relay does not forward", 4, "is not allowed here",
			hello(step(s.relay) + toChannel + step(s.bridge)),
		},
		{
			"next hop not there", 3, "hop 1 (" + s.bridge + "): cannot reach 127.0.0.1:1",
			hello(step(s.bridge) + toChannel + step("127.0.0.1:1")),
		},
		{
			"loop in the text", 2, "comes back to where it has been",
			hello(step(s.round) + step(s.about) + step(s.round)),
		},
		{
			"loop to itself", 3, "hop 2 says: the route comes back here (at " + s.round + ")",
			hello(alias + step(s.round)),
		},
		{
			"loop of two", 3, "hop 3 says: the route comes back here (at " + s.round + ")",
			hello(alias + step(s.about) + step(s.round)),
		},
		{
			"loop to itself by a name", 3, "hop 2 says: the route comes back here (at forward_to_itself)",
			hello(step(s.itself) + forwardTo("itself")),
		},
		{
			"17 steps", 2, "at most 16 addresses",
			hello(step(s.relay) + strings.Repeat("/service/hop", 14)),
		},
	}
}

// TestClaimKeepsTrying has an outlet wait for a relay that is not there, and for a name that is
// another's.
func TestClaimKeepsTrying(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	other, otherID := me.identity("other")
	ownID := me.identifier()
	relay := testkit.Address(t)
	first := me.start("outlet", "--relay", relay, "--name", "db", "--target", named(t, "1"))
	first.says("not registered, and goes on trying")
	first.says("cannot reach " + relay)
	if first.said("cannot reach "+relay) > 1 {
		t.Errorf("it says the same again:\n%s", first.stderr.String())
	}
	me.start("relay", "--listen", relay, "--allow", ownID, "--allow", otherID).ready()
	first.ready()

	second := me.start("outlet", "--relay", relay, "--name", "db", "--target", named(t, "2"),
		"--identity", other, "--allow", ownID)
	second.says("the name db belongs to another identity")
	reaches(t, me.inletTo("db@"+relay), "1")
	first.kill()
	second.ready()
	reaches(t, me.inletTo("db@"+relay, "--allow", otherID), "2")
}

// TestOpeningMessageCut cuts each kind of opening message behind each of its bytes, with an end and
// with a reset.
func TestOpeningMessageCut(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	m := newMirror(t, meanwhile)
	_, at := me.startRelay()
	_, bridge := me.startBridge(at, "--open")
	me.startNamed(at, "db", m.address)
	check := undisturbed(t, me.inletTo(step(bridge)+step(at)+forwardTo("db")+toOutlet), m)

	from := wire.Route{{Kind: wire.Label, Name: "somebody"}}
	api := wire.Address{Kind: wire.Secure, Name: route.SecureName}
	service := func(name string) wire.Address {
		return wire.Address{Kind: wire.Service, Name: name}
	}
	for _, c := range []struct {
		name, to string
		message  wire.Message
	}{
		{"forward", at, wire.Message{Onward: wire.Route{
			service(route.ForwardPrefix + "db"),
			api,
		}, Return: from}},
		{"channel", at, wire.Message{Onward: wire.Route{api}, Return: from}},
		{"spare", at, wire.Message{
			Onward: wire.Route{service(relay.StandbyName)}, Return: from,
			Payload: make([]byte, 40),
		}},
		{"bridge", bridge, wire.Message{
			Onward: wire.Route{transport.FromAddrPort(netip.MustParseAddrPort(at)), api},
			Return: from,
		}},
	} {
		message, err := wire.AppendMessage(nil, c.message)
		if err != nil {
			t.Fatal(err)
		}
		for n := range message {
			answer := say(t, c.to, message[:n])
			status, size, err := wire.ParseStatus(answer)
			switch {
			case n == 0 && len(answer) == 0: // nothing was asked
			case err != nil || size != len(answer) || status.Code != wire.BadMessage:
				t.Errorf("%s, cut behind byte %d: answered %q", c.name, n, answer)
			}
			sayAndReset(t, c.to, message[:n])
		}
		// All of it, and nothing behind it.
		say(t, c.to, message)
		sayAndReset(t, c.to, message)
	}
	check()
}

// say sends b and an end, and returns what is answered until the other end has ended too.
func say(t *testing.T, address string, b []byte) []byte {
	t.Helper()
	c := dial(t, address)
	defer c.Close()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil && isTimeout(err) {
		t.Fatalf("no end after %q", b)
	}
	return answer
}

// sayAndReset sends b and a reset.
func sayAndReset(t *testing.T, address string, b []byte) {
	t.Helper()
	c := dial(t, address)
	_, _ = c.Write(b)
	abandon(c)
}

// TestRegistrationFlood has one identity claim more names than it may have, and a thousand
// strangers say nothing sensible to the relay.
func TestRegistrationFlood(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	crowd, crowdID := me.identity("crowd")
	ownID := me.identifier()
	m := newMirror(t, meanwhile)
	_, at := me.startRelay("--allow", ownID, "--allow", crowdID, "--max-unauthenticated", "8192")
	me.startNamed(at, "db", m.address)
	check := undisturbed(t, me.inletTo("db@"+at), m)

	claims := newCrowd(t, crowd, at)
	claims.claim(relay.DefaultNamesPerIdentity)
	outlet := []string{"outlet", "--no-wait", "--relay", at, "--target", m.address}
	me.fails(3, "no more names for this identity",
		append(outlet, "--name", "one-more", "--identity", crowd)...)
	me.saysHello(step(at) + forwardTo("db"))
	// Another identity has names left.
	me.startNamed(at, "another", m.address)

	manyStrangers(t, at)
	claims.leave()
	me.startNamed(at, "one-more", m.address, "--identity", crowd)
	check()
}

// crowd is one identity that claims many names, in this process.
type crowd struct {
	t          *testing.T
	relay      wire.Address
	node       *route.Node
	registered chan struct{}
	ctx        context.Context
	cancel     context.CancelFunc
	tasks      sync.WaitGroup
}

func newCrowd(t *testing.T, file, relay string) *crowd {
	t.Helper()
	self, err := identity.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := trust.NewPolicy(trust.Config{Self: self.Identifier(), AllowAnyone: true})
	if err != nil {
		t.Fatal(err)
	}
	node, err := route.NewNode(route.Config{
		Channel: channel.Config{Identity: self, Trust: trust},
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{
		t: t, node: node, relay: transport.FromAddrPort(netip.MustParseAddrPort(relay)),
		registered: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	t.Cleanup(c.leave)
	return c
}

// claim returns when the crowd has n names.
func (c *crowd) claim(n int) {
	c.t.Helper()
	for i := range n {
		r := &relay.Client{
			Relay: route.Route{c.relay}, Name: fmt.Sprintf("crowd-%d", i), Dial: c.node,
			Serve: c.node,
			Registered: func() {
				select {
				case c.registered <- struct{}{}:
				case <-c.ctx.Done():
				}
			},
		}
		c.tasks.Go(func() { r.Run(c.ctx) })
	}
	late := time.After(patience)
	for i := range n {
		select {
		case <-c.registered:
		case <-late:
			c.t.Fatalf("%d names of %d", i, n)
		}
	}
}

func (c *crowd) leave() {
	c.cancel()
	c.tasks.Wait()
	_ = c.node.Close()
}

// manyStrangers makes a thousand connections that begin something and do not go on, and returns
// when the relay has ended the last of them.
func manyStrangers(t *testing.T, relay string) {
	t.Helper()
	message, err := wire.AppendMessage(nil, wire.Message{
		Onward: wire.Route{{Kind: wire.Secure, Name: route.SecureName}},
		Return: wire.Route{{Kind: wire.Label, Name: "stranger"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewChaCha8([32]byte{}))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	suite := channel.DefaultSuites()[0].String()
	hello := append([]byte{1, byte(len(suite))}, suite...) // a handshake, its suite
	var conns []conn
	for i := range 1000 {
		c := dial(t, relay)
		var b []byte
		switch i % 5 {
		case 0: // nothing at all
		case 1: // half an opening message
			b = message[:len(message)/2]
		case 2: // no sp
			b = noise(100)
		case 3: // a channel, and noise in place of a handshake
			b = append(bytes.Clone(message), noise(2000)...)
		case 4: // a channel, and half a handshake
			b = append(append(bytes.Clone(message), hello...), 4, 0xC0, 0)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for i, c := range conns {
		if _, err := io.Copy(io.Discard, c); err != nil && isTimeout(err) {
			t.Errorf("stranger %d is still connected", i)
		}
	}
}
