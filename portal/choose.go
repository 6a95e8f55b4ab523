package portal

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// Service is what an outlet connects a stream to.
type Service struct {
	// Target is the service's address, as logs and reports call it.
	Target string
	// Dial makes a connection to it: see Outlet.Dial.
	Dial func(ctx context.Context) (net.Conn, error)
	// TLS has that be one of TLS, as it says. Nil has it not.
	TLS *tls.Config
	// Check says whether the service is well. Nil is that it always is.
	Check *Check

	// still tells whether whoever asked may still reach app. Nil: he may.
	still func(app net.Conn) bool
}

// Chooser says which service a stream is for. An error refuses the stream. It reads what it has to
// from the request, and ctx ends with the node.
type Chooser interface {
	Choose(ctx context.Context, q *route.Request) (*Service, error)
	// Admits returns why somebody who asks could reach nothing at all, or nil.
	Admits(q *route.Request) error
}

// NotAllowed is the reason in the status for all that a peer may not reach, whether it is there or
// not.
const NotAllowed = "the outlet does not allow that"

func refuseReach(why error) error { return route.RefuseBecause(wire.NotAllowed, NotAllowed, why) }

// ByName chooses by the name that the outlet was asked for by. It is what the far end has said in
// the handshake, and been believed: nobody in between can lead it to another one.
type ByName struct {
	Services map[string]Service // by the names that inlets ask for
	Rules    Rules              // by the same names; none: all for all who are trusted
}

// Choose implements Chooser.
func (b ByName) Choose(_ context.Context, q *route.Request) (*Service, error) {
	name := strings.TrimPrefix(q.Session.Name(), route.ForwardPrefix)
	s, ok := b.Services[name]
	if !ok {
		return nil, refuseReach(fmt.Errorf("no target has the name %q", name))
	}
	if err := b.Admits(q); err != nil {
		return nil, err
	}
	if b.Rules.depend() {
		s.still = stillService(b.Rules, name, q.Session)
	}
	return &s, nil
}

// stillService returns what tells whether a peer may still reach the service of a name.
func stillService(all Rules, name string, s *channel.Session) func(net.Conn) bool {
	return func(net.Conn) bool { return all.allowService(name, peerOf(s)) }
}

// Admits implements Chooser.
func (b ByName) Admits(q *route.Request) error {
	name := strings.TrimPrefix(q.Session.Name(), route.ForwardPrefix)
	if !b.Rules.allowService(name, peerOf(q.Session)) {
		return refuseReach(fmt.Errorf("target %s: %w", name, errNotAllowed))
	}
	return nil
}

// Anywhere connects to where it is asked to, as far as rules allow it.
type Anywhere struct {
	Rules   Rules
	Timeout time.Duration // for the dialing; 0 means DefaultConnectTimeout
}

// Choose implements Chooser.
func (w Anywhere) Choose(_ context.Context, q *route.Request) (*Service, error) {
	a, _, err := wire.ParseWanted(q.Message.Payload)
	if err != nil {
		return nil, route.RefuseBecause(wire.BadMessage, "what it is to connect to cannot be read",
			err)
	}
	session, target := q.Session, transport.Format(a)
	check, named, err := w.Rules.towards(a, peerOf(session))
	if err != nil {
		return nil, refuseReach(fmt.Errorf("%s: %w", target, err))
	}
	s := &Service{Target: target}
	s.Dial = func(ctx context.Context) (net.Conn, error) {
		c, err := transport.DialGuardedWhere(ctx, a, orDefault(w.Timeout), check)
		if isDenied(err) || !named && isNoName(err) {
			return nil, refuseReach(fmt.Errorf("%s: %w", target, err))
		}
		return c, err
	}
	if w.Rules.depend() {
		s.still = func(app net.Conn) bool { return w.still(a, session, app) }
	}
	return s, nil
}

func (w Anywhere) still(a wire.Address, s *channel.Session, app net.Conn) bool {
	check, _, err := w.Rules.towards(a, peerOf(s))
	at, ok := app.RemoteAddr().(*net.TCPAddr)
	return err == nil && ok && check(at.AddrPort()) == nil
}

func isDenied(err error) bool {
	return errors.Is(err, errNotAllowed) || errors.Is(err, transport.ErrWithheld)
}

// isNoName tells whether nothing goes by the name that was asked for.
func isNoName(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// Admits implements Chooser.
func (w Anywhere) Admits(q *route.Request) error {
	p := peerOf(q.Session)
	for _, r := range w.Rules {
		if r.Who.includes(p) {
			return nil
		}
	}
	return refuseReach(errNotAllowed)
}
