package portal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/secureportal/sp/portal/ask"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

const (
	// helloTimeout is how long an outlet waits for the first message of TLS, which it looks into
	// before it answers.
	helloTimeout = 10 * time.Second
	// lastTime is for a client to take the last that it is told, and to go.
	lastTime = time.Second
	// lastBytes are those of the client's that are thrown away meanwhile.
	lastBytes = 64 << 10
)

// ByServerName chooses by the name of the server that a client of TLS wants, as it says itself in
// its first message. Nothing is decrypted, and the service gets every byte.
type ByServerName struct {
	Services map[string]Service // by the names of servers, in lower case
	Default  *Service           // for clients that want another, or name none; nil: they are told so
	Rules    Rules              // by the same names, and "*" for Default; none: all for all
}

// DefaultService is the name in Rules of what is for clients that want none of the others.
const DefaultService = "*"

// Choose implements Chooser.
func (b ByServerName) Choose(_ context.Context, q *route.Request) (*Service, error) {
	var hello ask.Hello
	err := q.Peek(time.Now().Add(helloTimeout), hello.Take)
	if errors.Is(err, io.EOF) && hello.IsEmpty() {
		return nil, sayLast(q, nil, leftError{})
	}
	name := ""
	if err == nil {
		name, err = hello.ServerName()
	}
	if err != nil {
		return nil, route.RefuseBecause(wire.BadMessage, "the client does not begin with TLS", err)
	}
	as := name
	s, ok := b.Services[name]
	if !ok && b.Default != nil {
		s, ok, as = *b.Default, true, DefaultService
	}
	if !ok {
		err = fmt.Errorf("no target has the server name %q", name)
		return nil, sayLast(q, ask.AlertUnrecognizedName, err)
	}
	if !b.Rules.allowService(as, peerOf(q.Session)) {
		err = fmt.Errorf("server name %q: %w", name, errNotAllowed)
		return nil, sayLast(q, ask.AlertUnrecognizedName, err)
	}
	if b.Rules.depend() {
		s.still = stillService(b.Rules, as, q.Session)
	}
	return &s, nil
}

// Admits implements Chooser.
func (b ByServerName) Admits(q *route.Request) error {
	p := peerOf(q.Session)
	for name := range b.Services {
		if b.Rules.allowService(name, p) {
			return nil
		}
	}
	if b.Default != nil && b.Rules.allowService(DefaultService, p) {
		return nil
	}
	return refuseReach(errNotAllowed)
}

// leftError says that a client has gone that has said nothing.
type leftError struct{}

func (leftError) Error() string { return "the client has left, and has said nothing" }

// Ordinary tells the log that this is no trouble: somebody looks whether a port is open.
func (leftError) Ordinary() bool { return true }

// sayLast tells a client the last that it is told, waits a moment until that has gone, and returns
// why.
func sayLast(q *route.Request, last []byte, why error) error {
	stream := q.Accept()
	_ = stream.SetDeadline(time.Now().Add(lastTime))
	_, err := stream.Write(last) // with nothing, it answers
	if err == nil && stream.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, stream, lastBytes)
	}
	return why
}
