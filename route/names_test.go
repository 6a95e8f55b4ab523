package route

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// TestTakenFor has a route say what its nodes are taken for.
func TestTakenFor(t *testing.T) {
	node, db := trust.As{Role: trust.Node}, trust.As{Role: trust.Outlet, Name: "db"}
	nameless := trust.As{Role: trust.Outlet}
	const (
		at       = "/ip4/192.0.2.1/tcp/4000"
		toOutlet = "/secure/api/service/outlet"
		toEcho   = "/secure/api/service/echo"
		toDB     = "/service/forward_to_db" + toOutlet
	)
	for text, want := range map[string][]trust.As{
		"192.0.2.1:4000":    {nameless},
		"db@192.0.2.1:4000": {db},
		at + "/service/hop/service/forward_to_db/service/hop" + toEcho: {db},
		at + "/secure/api": {nameless},
		at + "/secure/api/service/hop/service/outlet":     {nameless},
		at + "/secure/api/service/echo":                   {node},
		at + "/secure/api/service/hop/service/uppercase":  {node},
		at + "/secure/api/service/register":               {node},
		at + "/secure/api" + toDB:                         {node, db},
		at + "/secure/api/ip4/192.0.2.2/tcp/1" + toOutlet: {node, nameless},
		at + "/secure/api/ip4/192.0.2.2/tcp/1" + toDB:     {node, db},
		at + "/service/forward_to_db/secure/api/ip4/192.0.2.2/tcp/1" + toOutlet: {
			db, nameless, // whoever is asked for by name is that, a bridge too
		},
		at + "/secure/api/secure/api/service/outlet":                    {nameless, nameless},
		at + "/service/forward_to_db/secure/api/service/hop" + toOutlet: {db, db},
	} {
		r, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		segs := segments(r)
		if len(segs)-1 != len(want) {
			t.Fatalf("%s has %d segments", text, len(segs))
		}
		for k, as := range want {
			if got := takenFor(segs, k); got != as {
				t.Errorf("%s: the node of segment %d is taken for %+v, want %+v", text, k, got, as)
			}
		}
	}
}

// TestSessionsByRole has two routes to one node share a session only if they take it for the same.
func TestSessionsByRole(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	far.HandleBasics()
	far.Handle(OutletName, func(_ context.Context, q *Request) error { return q.Accept().Flush() })
	near := w.node(t)
	session := func(service string) *channel.Session {
		t.Helper()
		s, err := near.Session(testkit.Context(t), Route{at, secure(), svc(service)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if session(EchoName) != session(UppercaseName) || session(EchoName) == session(OutletName) {
		t.Error("sessions are not shared by what the node is taken for")
	}
}

// TestNames has a node that is asked for by name refuse all others, and the empty one; and the step
// by its name stay on it.
func TestNames(t *testing.T) {
	w := newWorld(t)
	byName, at := w.listening(t, func(c *Config) { c.ByName = true })
	byName.HandleBasics()
	free, freeAt := w.listening(t)
	free.HandleBasics()
	echo := func(a wire.Address, steps ...wire.Address) Route {
		return append(append(Route{a}, steps...), secure(), svc(EchoName))
	}
	refused := func(r Route, isNameless bool) {
		t.Helper()
		_, err := ask(t, w.node(t), r, "hello")
		if !errors.Is(err, channel.ErrWrongName) || errors.Is(err, ErrByName) != isNameless {
			t.Errorf("%s: %v", Format(r), err)
		}
	}
	near := w.node(t)
	expectEcho(t, near, echo(freeAt))
	refused(echo(at), true)
	release := byName.Claim("")
	expectEcho(t, near, echo(at))
	release()

	_, err := ask(t, near, echo(at, Forward("db")), "hello")
	expectStatus(t, err, wire.NoService, 1, where(at))
	release = byName.Claim(ForwardPrefix + "db")
	expectEcho(t, w.node(t), echo(at, Forward("db")))
	expectEcho(t, w.node(t), echo(at, svc(HopName), Forward("db"), Forward("db"), svc(HopName)))
	refused(echo(at), true)
	_, err = ask(t, near, echo(at, Forward("web")), "hello")
	expectStatus(t, err, wire.NoService, 1, where(at))
	release()

	// One that takes the empty name does so under a name of its own as well.
	defer free.Claim(ForwardPrefix + "site")()
	expectEcho(t, w.node(t), echo(freeAt))
	expectEcho(t, w.node(t), echo(freeAt, Forward("site")))
}

// TestLedElsewhere has who leads a link to another node of the same identity gain nothing: neither
// with the message as it is, nor without the name, nor with the other's.
func TestLedElsewhere(t *testing.T) {
	w := newWorld(t)
	payroll, at := w.listening(t, func(c *Config) { c.ByName = true })
	public, other := w.listening(t, func(c *Config) { c.ByName = true })
	for _, n := range []*Node{payroll, public} {
		n.HandleBasics()
	}
	defer payroll.Claim(ForwardPrefix + "payroll")()
	defer public.Claim(ForwardPrefix + "public")()
	near := w.node(t)
	for what, change := range map[string]func(*wire.Message){
		"as it is":         func(*wire.Message) {},
		"without the name": func(m *wire.Message) { m.Onward = m.Onward[1:] },
		"another name":     func(m *wire.Message) { m.Onward[0] = Forward("public") },
	} {
		way := misled(t, other, change)
		_, err := ask(t, near, Route{way, Forward("payroll"), secure(), svc(EchoName)}, "hello")
		if err == nil {
			t.Errorf("%s: it is served", what)
		}
	}
	expectEcho(t, near, Route{at, Forward("payroll"), secure(), svc(EchoName)})
}

// misled listens where links come in that somebody on the way, who has no key, leads to another
// node, with their opening messages changed.
func misled(t *testing.T, to wire.Address, change func(*wire.Message)) wire.Address {
	t.Helper()
	l := testkit.Listen(t)
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go mislead(near, to, change)
		}
	}()
	return addressOf(l)
}

func mislead(near net.Conn, to wire.Address, change func(*wire.Message)) {
	defer near.Close()
	head := make([]byte, 4) // version, flags, length
	if _, err := io.ReadFull(near, head); err != nil {
		return
	}
	size, err := wire.MessageSize(head)
	if err != nil {
		return
	}
	b := append(head, make([]byte, size-len(head))...)
	if _, err := io.ReadFull(near, b[len(head):]); err != nil {
		return
	}
	m, err := wire.ParseMessage(b)
	if err != nil {
		return
	}
	change(&m)
	if b, err = wire.AppendMessage(nil, m); err != nil {
		return
	}
	far, err := net.Dial("tcp", transport.Format(to))
	if err != nil {
		return
	}
	defer far.Close()
	_, _ = far.Write(b)
	go func() {
		_, _ = io.Copy(far, near)
		_ = far.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(near, far)
}
