package route

import (
	"fmt"
	"strings"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// StatusError is a hop's answer that it could not open the rest of the route.
type StatusError struct {
	Code   wire.Code
	Reason string
	Hop    int    // the ordinal of the node that answered, on the whole way; 0 if not known
	Where  string // by what address the route leads to that node

	// Hearsay says that the answer has not come through a secure channel that ends at the node that
	// answered: anybody on the way may have made it.
	Hearsay bool

	why     error // not for the wire
	passing bool  // it is no limit of the node's: see RefuseForNow
}

// Unwrap returns what is not told to the asker.
func (e *StatusError) Unwrap() error { return e.why }

func (e *StatusError) Error() string {
	what := e.Code.String()
	if e.Reason != "" {
		what = e.Reason
	}
	if e.why != nil {
		what += ": " + e.why.Error()
	}
	switch {
	case e.Hop == 0 && e.Hearsay:
		return "a node on the way says: " + what
	case e.Hop == 0:
		return what
	case e.Hearsay:
		return fmt.Sprintf("hop %d says: %s (at %s)", e.Hop, what, e.Where)
	}
	return fmt.Sprintf("hop %d (%s): %s", e.Hop, e.Where, what)
}

// Misled implements channel.Misled: of a link of a session that lives, it tells whether another
// link is likely to get there.
func (e *StatusError) Misled() (elsewhere, later bool) {
	switch e.Code {
	case wire.NoSession, wire.NoService: // it is there, for the session is
		return true, false
	case wire.Busy, wire.GoingAway, wire.Timeout, wire.Unreachable:
		return false, true
	}
	return false, false
}

var _ channel.Misled = (*StatusError)(nil)

// refusal is an error of a service, to be told to the asker.
func refusal(err error) wire.Status {
	if s, ok := err.(*StatusError); ok {
		return wire.Status{Code: s.Code, Reason: s.Reason}
	}
	return wire.Status{Code: wire.Unreachable}
}

// What a node says that it has not got.
const (
	noService = "no service named "
	noOutlet  = "no outlet named "
)

// missing says that a node has not got the service called name.
func missing(name string) string {
	if outlet, ok := strings.CutPrefix(name, ForwardPrefix); ok {
		return noOutlet + outlet
	}
	return noService + name
}

// RefuseMissing is Refuse of a service that the node has not got, in the words in which a node says
// that of itself.
func RefuseMissing(name string) error { return Refuse(wire.NoService, missing(name)) }

// Missing returns the name of the service that the node says it has not got, or "" if it says
// something else. It is what a node of another implementation cares to say: good for a hint, and
// for nothing else.
func (e *StatusError) Missing() (service string) {
	if e.Code != wire.NoService {
		return ""
	}
	if name, ok := strings.CutPrefix(e.Reason, noOutlet); ok {
		return ForwardPrefix + name
	}
	if name, ok := strings.CutPrefix(e.Reason, noService); ok {
		return name
	}
	return ""
}

// Ordinary tells whether the refusal is no trouble: an inlet that is led by a name asks whether
// there is a set of relays, and where it is an outlet that goes by the name, there is none. A relay
// asks others whether they have a name, and most have not. So is any whose reason is no trouble.
func (e *StatusError) Ordinary() bool {
	missing := e.Missing()
	return missing == NodesName || strings.HasPrefix(missing, HeldPrefix) || isOrdinary(e.why)
}

// ForeignError says that what listens at the first address of a route answers in another protocol.
type ForeignError struct {
	Where string
	Err   error // what it has sent in place of an answer
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("what listens at %s does not speak sp, or another version of it", e.Where)
}

// Unwrap returns what is wrong with the answer.
func (e *ForeignError) Unwrap() error { return e.Err }

// Refuse returns an error with which a service answers that it will not be opened. reason goes over
// the wire.
func Refuse(code wire.Code, reason string) error {
	return &StatusError{Code: code, Reason: reason}
}

// RefuseBecause is Refuse with a reason that is for the log only.
func RefuseBecause(code wire.Code, reason string, why error) error {
	return &StatusError{Code: code, Reason: reason, why: why}
}

// RefuseForNow is RefuseBecause of what cannot be had just now, though the node is at no limit of
// its own: whoever looks after it has nothing to do about that. why is nil or for the log only.
func RefuseForNow(reason string, why error) error {
	return &StatusError{Code: wire.Busy, Reason: reason, why: why, passing: true}
}

// locate finds the node that a status came from: the one with that ordinal among those that the
// segment beginning at r[begin] leads to. Inside a channel, the first of them is the node that the
// channel ends at.
func (e *StatusError) locate(r Route, begin, ordinal int) {
	var nodes []string
	last := 0
	for i, a := range r {
		if !moves(a) {
			continue
		}
		nodes = append(nodes, where(a))
		if i < begin {
			last = len(nodes) - 1
		}
	}
	if at := last + ordinal - 1; ordinal > 0 && at < len(nodes) {
		e.Hop, e.Where = at+1, nodes[at]
	}
}

func where(a wire.Address) string {
	if a.IsTransport() {
		return transport.Format(a)
	}
	return a.Name
}
