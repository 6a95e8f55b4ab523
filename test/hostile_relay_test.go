//go:build unix

package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// undisturbed keeps transfers going through an inlet, and one connection open, until the returned function is called.
// That fails the test unless all of it went well, and at least one transfer began and ended meanwhile.
func undisturbed(t *testing.T, inlet string, m *labMirror) (check func()) {
	t.Helper()
	open := labDial(t, inlet)
	if _, err := open.Write([]byte{askEcho}); err != nil {
		t.Fatal(err)
	}
	if err := labEcho(open, "before"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		var err error
		for n := 0; err == nil && (n == 0 || ctx.Err() == nil); n++ {
			err = m.once(inlet)
		}
		ended <- err
	}()
	t.Cleanup(stop)
	return func() {
		t.Helper()
		stop()
		if err := <-ended; err != nil {
			t.Error("a transfer meanwhile:", err)
		}
		_ = open.SetDeadline(time.Now().Add(labPatience))
		if err := labEcho(open, "after"); err != nil {
			t.Error("the connection that was open all the time:", err)
		}
		if err := m.once(inlet); err != nil {
			t.Error("a transfer afterwards:", err)
		}
	}
}

// once is both on a connection of its own.
func (m *labMirror) once(inlet string) error {
	c, err := net.Dial("tcp", inlet)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(labPatience))
	return m.both(c.(labConn))
}

const labMeanwhile = 4 << 20 // each way, of each transfer that goes on meanwhile

// TestRefusals has each thing that may be wrong with a route or a claim end in one clear error.
func TestRefusals(t *testing.T) {
	t.Parallel()
	l := newNodes(t)
	_, strangerID := l.identity("stranger")
	_, unknownID := l.identity("unknown")
	m := newMirror(t, labMeanwhile)
	s := &hostileSite{own: l.ownID(), unknown: unknownID, nowhere: freeAddress(t), target: m.address, keys: l.dir}
	_, s.relay = l.relay("--allow", s.own, "--allow", strangerID)
	l.registered(s.relay, "db", m.address)
	_, s.bridge = l.bridge("127.0.0.1:1")
	everywhere := "127.0.0.0/8:1-65535"
	_, s.round = l.bridge(everywhere, "--next", "localhost:1-65535")
	_, s.about = l.bridge(everywhere)
	s.itself = freeAddress(t)
	l.start("relay", "--listen", s.itself, "--relay", s.itself, "--name", "itself").says("msg=registered", 1)
	check := undisturbed(t, l.inlet("db@"+s.relay), m)
	for _, c := range append(s.claims(), s.routes()...) {
		t.Run(c.name, func(t *testing.T) {
			here := *l
			here.t = t
			here.fails(c.code, c.text, c.args...)
		})
	}
	if r := l.run(sendHello(step(s.relay) + strings.Repeat("/service/hop", 13) + labUpper)...); r.stdout != "HELLO\n" {
		t.Errorf("16 steps: %+v", r)
	}
	check()
}

// hostileSite is what the refusals of TestRefusals come from.
type hostileSite struct {
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

const labUpper = labChannel + "/service/uppercase"

func sendHello(to string) []string { return []string{"send", "--to", to, "hello"} }

// claims are those that a relay refuses, or that do not reach one.
func (s *hostileSite) claims() []refusal {
	claim := func(relay, name string, more ...string) []string {
		return append([]string{"outlet", "--no-wait", "--target", s.target, "--relay", relay, "--name", name}, more...)
	}
	as := func(name string) string { return "--identity=" + s.keys + "/" + name + ".identity" }
	return []refusal{
		{
			"name taken", 4, "the name db belongs to another identity",
			claim(s.relay, "db", as("stranger"), "--relay-identity", s.own),
		},
		{"relay with another identity", 4, s.own, claim(s.relay, "other", as("stranger"))},
		{
			"relay with another identity than named", 4, s.own,
			claim(s.relay, "other", as("stranger"), "--relay-identity", s.unknown),
		},
		{
			"claimant not allowed", 4, "not trusted by the far end",
			claim(s.relay, "other", as("unknown"), "--relay-identity", s.own),
		},
		{"no relay there", 3, "cannot reach " + s.nowhere, claim(s.nowhere, "other")},
		{"a bridge is no relay", 3, "no service named register", claim(s.bridge, "other")},
		{"name that is none", 2, "--relay", claim(s.relay, "no/name")},
		{"name too long", 2, "--relay", claim(s.relay, strings.Repeat("x", 70))},
	}
}

// routes are those that lead nowhere.
func (s *hostileSite) routes() []refusal {
	alias := "/dnsaddr/localhost/tcp/" + s.round[strings.LastIndexByte(s.round, ':')+1:]
	return []refusal{
		{
			"unknown name", 3, "hop 1 (" + s.relay + "): no outlet named nobody",
			[]string{"inlet", "--no-wait", "--listen", "127.0.0.1:0", "--to", "nobody@" + s.relay},
		},
		{
			"unknown name behind a name", 3, "hop 2 (forward_to_db): no outlet named nobody",
			sendHello(step(s.relay) + forwardTo("db") + forwardTo("nobody") + labUpper),
		},
		{"unknown service", 3, "no service named nothing", sendHello(step(s.relay) + labChannel + "/service/nothing")},
		{"unknown channel", 3, "no secure channel named nothing", sendHello(step(s.relay) + "/secure/nothing/service/echo")},
		{"service without its channel", 3, "no service named uppercase", sendHello(step(s.relay) + "/service/uppercase")},
		{
			"next hop not allowed", 4, "hop 1 (" + s.bridge + "): forwarding to " + s.relay + " is not allowed here",
			sendHello(step(s.bridge) + step(s.relay) + labUpper),
		},
		{"next hop is a name", 4, "is not allowed here", sendHello(step(s.bridge) + "/dnsaddr/localhost/tcp/1" + labUpper)},
		{"a relay does not forward", 4, "is not allowed here", sendHello(step(s.relay) + step(s.bridge) + labUpper)},
		{
			"next hop not there", 3, "hop 1 (" + s.bridge + "): cannot reach 127.0.0.1:1",
			sendHello(step(s.bridge) + step("127.0.0.1:1") + labUpper),
		},
		{
			"loop in the text", 2, "comes back to where it has been",
			sendHello(step(s.round) + step(s.about) + step(s.round) + labUpper),
		},
		{
			"loop to itself", 3, "hop 2 (" + s.round + "): the route comes back here",
			sendHello(alias + step(s.round) + labUpper),
		},
		{
			"loop of two", 3, "hop 3 (" + s.round + "): the route comes back here",
			sendHello(alias + step(s.about) + step(s.round) + labUpper),
		},
		{
			"loop to itself by a name", 3, "hop 2 (forward_to_itself): the route comes back here",
			sendHello(step(s.itself) + forwardTo("itself") + labUpper),
		},
		{"17 steps", 2, "at most 16 addresses", sendHello(step(s.relay) + strings.Repeat("/service/hop", 14) + labUpper)},
	}
}

// TestClaimKeepsTrying has an outlet wait for a relay that is not there, and for a name that is another's.
func TestClaimKeepsTrying(t *testing.T) {
	t.Parallel()
	l := newNodes(t)
	other, otherID := l.identity("other")
	ownID := l.ownID()
	relay := freeAddress(t)
	first := l.start("outlet", "--relay", relay, "--name", "db", "--target", labNamed(t, "1"))
	first.says("not registered, and goes on trying", 1)
	first.says("cannot reach "+relay, 1)
	if log := first.log.String(); strings.Count(log, "\n") > 1 {
		t.Errorf("it says the same again:\n%s", log)
	}
	l.start("relay", "--listen", relay, "--allow", ownID, "--allow", otherID).ready()
	first.ready()

	second := l.start("outlet", "--relay", relay, "--name", "db", "--target", labNamed(t, "2"),
		"--identity", other, "--relay-identity", ownID, "--allow", ownID)
	second.says("the name db belongs to another identity", 1)
	reaches(t, l.inlet("db@"+relay), "1")
	first.kill()
	second.ready()
	reaches(t, l.inlet("db@"+relay, "--allow", otherID), "2")
}

// TestOpeningMessageCut cuts each kind of opening message behind each of its bytes, with an end and with a reset.
func TestOpeningMessageCut(t *testing.T) {
	t.Parallel()
	l := newNodes(t)
	m := newMirror(t, labMeanwhile)
	_, at := l.relay()
	_, bridge := l.bridge(at)
	l.registered(at, "db", m.address)
	check := undisturbed(t, l.inlet(step(bridge)+step(at)+forwardTo("db")+labOutlet), m)

	from := wire.Route{{Kind: wire.Label, Name: "somebody"}}
	api := wire.Address{Kind: wire.Secure, Name: route.SecureName}
	service := func(name string) wire.Address { return wire.Address{Kind: wire.Service, Name: name} }
	for _, c := range []struct {
		name, to string
		message  wire.Message
	}{
		{"forward", at, wire.Message{Onward: wire.Route{service(route.ForwardPrefix + "db"), api}, Return: from}},
		{"channel", at, wire.Message{Onward: wire.Route{api}, Return: from}},
		{"spare", at, wire.Message{Onward: wire.Route{service(relay.StandbyName)}, Return: from, Payload: make([]byte, 40)}},
		{"bridge", bridge, wire.Message{
			Onward: wire.Route{transport.FromAddrPort(netip.MustParseAddrPort(at)), api}, Return: from,
		}},
	} {
		message, err := wire.AppendMessage(nil, c.message)
		if err != nil {
			t.Fatal(err)
		}
		for n := range message {
			answer := labSay(t, c.to, message[:n])
			status, size, err := wire.ParseStatus(answer)
			switch {
			case n == 0 && len(answer) == 0: // nothing was asked
			case err != nil || size != len(answer) || status.Code != wire.BadMessage:
				t.Errorf("%s, cut behind byte %d: answered %q", c.name, n, answer)
			}
			labReset(t, c.to, message[:n])
		}
		// All of it, and nothing behind it.
		labSay(t, c.to, message)
		labReset(t, c.to, message)
	}
	check()
}

// labSay sends b and an end, and returns what is answered until the other end has ended too.
func labSay(t *testing.T, address string, b []byte) []byte {
	t.Helper()
	c := labDial(t, address)
	defer c.Close()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil && labTimeout(err) {
		t.Fatalf("no end after %q", b)
	}
	return answer
}

func labTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// labReset sends b and a reset.
func labReset(t *testing.T, address string, b []byte) {
	t.Helper()
	c := labDial(t, address)
	_, _ = c.Write(b)
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// TestRegistrationFlood has one identity claim more names than it may have, and a thousand strangers say nothing
// sensible to the relay.
func TestRegistrationFlood(t *testing.T) {
	t.Parallel()
	l := newNodes(t)
	crowd, crowdID := l.identity("crowd")
	ownID := l.ownID()
	m := newMirror(t, labMeanwhile)
	_, at := l.relay("--allow", ownID, "--allow", crowdID, "--max-unauthenticated", "8192")
	l.registered(at, "db", m.address)
	check := undisturbed(t, l.inlet("db@"+at), m)

	claims := newCrowd(t, crowd, ownID, at)
	claims.claim(relay.DefaultNamesPerIdentity)
	outlet := []string{"outlet", "--no-wait", "--relay", at, "--target", m.address}
	l.fails(3, "no more names for this identity",
		append(outlet, "--name", "one-more", "--identity", crowd, "--relay-identity", ownID)...)
	if r := l.run(sendHello(step(at) + forwardTo("db") + labUpper)...); r.stdout != "HELLO\n" {
		t.Errorf("%+v", r)
	}
	// Another identity has names left.
	l.registered(at, "another", m.address)

	labStrangers(t, at)
	claims.leave()
	l.registered(at, "one-more", m.address, "--identity", crowd, "--relay-identity", ownID)
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

func newCrowd(t *testing.T, file, relayID, relay string) *crowd {
	t.Helper()
	self, err := identity.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.ParseIdentifier(relayID)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := trust.NewPolicy(trust.Config{Self: self.Identifier(), Allow: []identity.Identifier{id}})
	if err != nil {
		t.Fatal(err)
	}
	node, err := route.NewNode(route.Config{
		Channel: channel.Config{Identity: self, Trust: trust}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{
		t: t, node: node, relay: transport.FromAddrPort(netip.MustParseAddrPort(relay)), registered: make(chan struct{}),
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
			Relay: route.Route{c.relay}, Name: fmt.Sprintf("crowd-%d", i), Dial: c.node, Serve: c.node,
			Registered: func() {
				select {
				case c.registered <- struct{}{}:
				case <-c.ctx.Done():
				}
			},
		}
		c.tasks.Go(func() { r.Run(c.ctx) })
	}
	late := time.After(labPatience)
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

// labStrangers makes a thousand connections that begin something and do not go on, and returns when the relay has
// ended the last of them.
func labStrangers(t *testing.T, relay string) {
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
	var conns []labConn
	for i := range 1000 {
		c := labDial(t, relay)
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
		if _, err := io.Copy(io.Discard, c); err != nil && labTimeout(err) {
			t.Errorf("stranger %d is still connected", i)
		}
	}
}
