//go:build unix

package test

import (
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// bare is a service that is no sp, in a network that only a bridge reaches.
type bare struct {
	address string
	visits  atomic.Int32
}

func newBare(t *testing.T) *bare {
	l := listen(t)
	b := &bare{address: l.Addr().String()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.visits.Add(1)
			_, _ = io.WriteString(c, "SECRET")
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return b
}

// asStranger sends an opening message on a link of its own, outside of any channel, and returns the
// status.
func asStranger(t *testing.T, at string, onward ...wire.Address) wire.Status {
	t.Helper()
	message, err := wire.AppendMessage(nil, wire.Message{
		Onward: onward, Return: wire.Route{{Kind: wire.Label, Name: "stranger"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, at)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(message); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	status, size, err := wire.ParseStatus(said)
	if err != nil || size != len(said) {
		t.Fatalf("the stranger reads %q: %v", said, err)
	}
	return status
}

func addressOf(hostPort string) wire.Address {
	return transport.FromAddrPort(netip.MustParseAddrPort(hostPort))
}

// TestBridgeAsksWhoComes has a bridge pass on its friend, and neither a stranger nor one who is
// denied, by its own address and by its name on a relay.
func TestBridgeAsksWhoComes(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	inside := newBare(t)
	friend, friendID := me.identity("friend")
	denied, deniedID := me.identity("denied")
	_, outlet := me.startOutlet(named(t, "inside"), "--allow-anyone")
	_, relay := me.startRelay()
	p, bridge := me.startBridge(
		inside.address, "--next", outlet, "--allow", friendID, "--deny", deniedID, "--relay", relay,
		"--name", "edge")
	p.says("msg=registered")

	for _, way := range []struct {
		name, entrance string
		at             string
		hop            uint8
		steps          wire.Route
	}{
		{"directly", bridge, bridge, 1, nil},
		{"by a relay", "edge@" + relay, relay, 2, wire.Route{route.Forward("edge")}},
	} {
		reaches(
			t, me.inletTo(way.entrance+"/"+outlet, "--identity", friend, "--allow", me.identifier()),
			"inside")
		for _, to := range []string{inside.address, outlet, "127.0.0.1:1", "192.0.2.1:1"} {
			got := asStranger(t, way.at, append(way.steps, addressOf(to))...)
			if got != (wire.Status{Code: wire.NotAllowed, Hop: way.hop}) {
				t.Errorf("%s, to %s: a stranger hears %+v", way.name, to, got)
			}
		}
		me.fails(
			4, "not trusted by the far end", "send", "--identity", denied, "--allow", me.identifier(),
			"--to", way.entrance+"/"+outlet, "hello")
	}
	me.fails(
		3, "hop 1 says: not allowed", "send", "--identity", denied, "--allow", me.identifier(), "--to",
		step(bridge)+step(outlet)+toOutlet, "hello")
	if n := inside.visits.Load(); n > 0 {
		t.Errorf("the service inside has had %d visits", n)
	}
}

// TestBridgeRequires has a bridge pass on those only who have all that it requires of those for
// whom its authority vouches.
func TestBridgeRequires(t *testing.T) {
	t.Parallel()
	me, authority := newPerson(t), newPerson(t)
	_, outlet := me.startOutlet(named(t, "inside"), "--allow-anyone")
	_, bridge := me.startBridge(outlet,
		"--authority", authority.identifier(), "--require", "team=blue")
	for team, passes := range map[string]bool{"blue": true, "red": false} {
		guest := newPerson(t)
		credential := guest.file("credential",
			authority.vouch(guest.identifier(), "--attr", "team="+team))
		with := []string{"--credential", credential, "--allow", me.identifier()}
		if passes {
			reaches(t, guest.inletTo(bridge+"/"+outlet, with...), "inside")
			continue
		}
		guest.fails(notTrusted, "not trusted by the far end",
			append([]string{
				"inlet", "--no-wait", "--listen", anywhere,
				"--to", bridge + "/" + outlet,
			}, with...)...)
	}
}

// TestOpenBridge has a bridge pass on whoever comes, for it was told so.
func TestOpenBridge(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	_, outlet := me.startOutlet(named(t, "inside"))
	_, bridge := me.startBridge(outlet, "--open")
	reaches(t, me.inletTo(step(bridge)+step(outlet)+toOutlet), "inside")
	reaches(t, me.inletTo(bridge+"/"+outlet), "inside")
	if got := asStranger(t, bridge, addressOf(outlet)); got.Code != wire.OK || got.Hop != 2 {
		t.Errorf("a stranger hears %+v", got)
	}
}

// TestPrivateRelay has a relay lead to a name those whom it trusts, and tell others nothing.
func TestPrivateRelay(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	m := newMirror(t, meanwhile)
	_, relay := me.startRelay(append(me.ownKey(), "--private")...)
	me.startNamed(relay, "db", m.address)
	check := undisturbed(t, me.inletTo(relay+"/db@"), m)
	for _, name := range []string{"db", "nobody"} {
		got := asStranger(t, relay, route.Forward(name))
		if got != (wire.Status{Code: wire.NotAllowed, Hop: 1}) {
			t.Errorf("%s: a stranger hears %+v", name, got)
		}
	}
	check()
}

// TestHearsay has somebody who is no sp answer in its place: whatever it says, it is not the outlet
// that says so, and the exit code does not claim that.
func TestHearsay(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	for _, code := range []wire.Code{
		wire.NotAllowed, wire.NotTrusted, wire.NameTaken, wire.Refused, wire.Busy,
	} {
		l := listen(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Read(make([]byte, wire.MaxMessage))
			_, _ = c.Write(wire.AppendStatus(nil, wire.Status{Code: code, Hop: 1, Reason: "go away"}))
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		}()
		me.fails(3, "hop 1 says: go away", sendTo(l.Addr().String())...)
		_ = l.Close()
		<-done
	}
}
