// Package route walks routes: it turns their text into addresses, dials and accepts links, sends
// and answers opening messages, joins links on the way, and opens secure channels at the steps that
// ask for them.
//
//	dial the first transport address      → a link
//	opening message with what is left     → the far node's service, or its next hop, answers on it
//	at a /secure/… step                   → a flow of the session with that node; the rest in it
//	… and so on, to any depth
//
// A Node is one process's part in this: it offers services, forwards where it was told to, and
// keeps one session for each beginning of its own routes that leads to a node. What a node takes on
// is counted in package admission, links come from package transport, and a relay is built on this
// package: see package relay. Where a relay has joined two nodes, they look for a way past it, and
// agree on one by package direct. The package does not know what a portal is and never looks into
// what passes.
package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// Names that every node understands.
const (
	SecureName    = "api"         // the secure channel responder
	OutletName    = "outlet"      // the service an inlet asks for, unless its route says otherwise
	ConnectName   = "connect"     // the same of an outlet that connects where it is asked to
	HopName       = "hop"         // goes on with the rest of the route on the same node
	LeavingName   = "leaving"     // is told that the way by which it is asked goes away
	RegisterName  = "register"    // of a relay: claims a name there
	NodesName     = "nodes"       // of a relay in a set: says which ones there are
	MemberName    = "member"      // the same: joins it with another one
	ForwardPrefix = "forward_to_" // and the name that an outlet has claimed on a relay
	HeldPrefix    = "held_"       // the same, for a relay that has it itself and does not pass on
	SharedPrefix  = "shared_"     // of a relay: says which processes share the name that follows

	// InstancePrefix and an instance say, behind one of the former two, which of those is meant.
	InstancePrefix = "instance_"

	MaxOutletName = wire.MaxName - len(ForwardPrefix) // bytes of such a name
)

// Route is where to go, the next step first. The first address of a route that is to be dialed is a
// transport address.
type Route = wire.Route

// Errors of routes that cannot be walked, before anything is dialed.
var (
	ErrSyntax = errors.New("not a route")
	ErrTooFar = fmt.Errorf("a route has at most %d addresses", wire.MaxRoute)
	ErrLoop   = errors.New("the route comes back to where it has been")
	ErrLocal  = errors.New("an address that only this node knows may only begin the route")
	ErrExpect = errors.New("an Identifier is expected behind a secure step, and only there")
)

// ErrByName says that a node was asked for without a name, and wants to be asked for by its own.
var ErrByName = errors.New("it is to be asked for by name")

// Parse reads a route's text: the long form, or a short form, which stands for
//
//	host:port        /dnsaddr/host/tcp/port/secure/api/service/outlet
//	name@host:port   /dnsaddr/host/tcp/port/service/forward_to_name/secure/api/service/outlet
//
// with /ip4/… or /ip6/… in place of /dnsaddr/… where host is an IP address, and /unix/… for
// unix:PATH in place of host:port. A chain of short forms with slashes between enters each node but
// the last through a secure channel, and asks the last one for its outlet:
//
//	host:port/HOST:PORT   /dnsaddr/host/tcp/port/secure/api/dnsaddr/HOST/tcp/PORT/secure/api/…
//	host:port/name@       /dnsaddr/host/tcp/port/secure/api/service/forward_to_name/secure/api/…
//
// An element may be a URL, such as tls://host or name@wss://host/path. What stands behind a path is
// part of it, so that URL is the last element, but for one behind which #I… stands.
//
// Behind each element may stand #I…, the Identifier that must be there: /is/I… behind the secure
// step. What begins with unix: is one element, whatever is in it. In front of all may stand udp://,
// for the service of datagrams of the same name.
func Parse(text string) (Route, error) {
	if transport.IsUDP(text) {
		r, err := Parse(text[len(datagramsMark):])
		return ToDatagrams(r), err
	}
	var r Route
	var err error
	if strings.HasPrefix(text, "/") {
		r, err = parseLong(text)
	} else {
		r, err = parseShort(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrSyntax, transport.Printable(text), err)
	}
	return r, Check(r)
}

// Check tells whether r can be walked as far as its addresses say.
func Check(r Route) error {
	if len(sent(r)) > wire.MaxRoute {
		return ErrTooFar
	}
	seen := make(map[wire.Address]bool)
	for i, a := range r {
		switch {
		case i > 0 && isOfThisMachine(a):
			return ErrLocal
		case a.Kind == wire.Is && (i == 0 || r[i-1].Kind != wire.Secure):
			return ErrExpect
		case a.Kind == wire.Secure:
			clear(seen) // inside a channel a route may well pass a node again
		case a.IsTransport() && seen[a]:
			return ErrLoop
		case a.IsTransport():
			seen[a] = true
		}
	}
	return nil
}

// isOfThisMachine tells whether an address means something here only.
func isOfThisMachine(a wire.Address) bool { return a.Kind == wire.Local || a.IP.Zone() != "" }

// parseShort reads a chain of short forms, or only one.
func parseShort(text string) (Route, error) {
	if standsAlone(text) {
		node, err := parseShortNode(text, false)
		if err != nil {
			return nil, err
		}
		return ToOutlet(node...), nil
	}
	var r Route
	for i, element := range elements(text) {
		element, expected, expects := strings.Cut(element, "#")
		node, err := parseShortNode(element, i > 0)
		if err != nil {
			return nil, err
		}
		r = append(append(r, node...), wire.Address{Kind: wire.Secure, Name: SecureName})
		if expects {
			is, err := parseExpect(expected)
			if err != nil {
				return nil, err
			}
			r = append(r, is)
		}
	}
	return append(r, wire.Address{Kind: wire.Service, Name: OutletName}), nil
}

// standsAlone tells whether slashes in a short form do not make a chain of it: a path has some, and
// what else is in it belongs to it.
func standsAlone(text string) bool {
	_, rest, _ := strings.Cut(text, "@")
	return transport.IsPath(text) || transport.IsPath(rest)
}

// IsChain tells whether a short form has more than one element.
func IsChain(text string) bool { return !standsAlone(text) && len(elements(text)) > 1 }

// elements cuts a chain at its slashes, but for those that belong to a URL. One whose kind has a
// path ends with the chain, or behind the # that stands there.
func elements(text string) (all []string) {
	for {
		end := urlEnd(text)
		next := strings.IndexByte(text[end:], '/')
		if next < 0 {
			return append(all, text)
		}
		all = append(all, text[:end+next])
		text = text[end+next+1:]
	}
}

// urlEnd returns how many of the first bytes of a chain are of a URL that it begins with, or 0. It
// may stand behind the name that is asked for there. What is no URL here has no end.
func urlEnd(chain string) int {
	begin := 0
	if i := strings.IndexAny(chain, "@/#"); i >= 0 && chain[i] == '@' {
		begin = i + 1
	}
	const mark = "://"
	i := strings.Index(chain[begin:], mark)
	if i < 0 || strings.ContainsAny(chain[begin:begin+i], "/#") {
		return 0
	}
	if transport.IsURL(chain[begin:]) && !transport.HasPath(chain[begin:]) {
		return begin + i + len(mark)
	}
	if end := strings.IndexByte(chain, '#'); end >= 0 {
		return end
	}
	return len(chain)
}

// parseShortNode reads one element of a chain, without what is expected there, and returns the
// steps that lead to its node. follows tells that it is not the first, but behind another node.
func parseShortNode(text string, follows bool) (Route, error) {
	name, rest, named := strings.Cut(text, "@")
	if !named || transport.HasScheme(text) {
		name, rest, named = "", text, false
	}
	if text == "" && follows {
		return nil, errors.New("an element of the chain is empty")
	}
	var r Route
	if !named || rest != "" || !follows {
		node, err := transport.Parse(rest)
		if err != nil && follows && !named && !strings.Contains(text, ":") {
			return nil, fmt.Errorf("%w, or %s@ for a name on that relay", err, text)
		}
		if err != nil {
			return nil, err
		}
		if follows && !isSent(node) {
			return nil, errors.New("only HOST:PORT and NAME@ go on from another node")
		}
		r = append(r, node)
	}
	if !named {
		return r, nil
	}
	if name == "" {
		return nil, errors.New("no name before the @")
	}
	forward := Forward(name)
	return append(r, forward), transport.Validate(forward)
}

// isSent tells whether an address may stand in an opening message.
func isSent(a wire.Address) bool { return a.Kind != wire.Unix && a.Validate() == nil }

// parseExpect reads the Identifier that is expected behind a secure step.
func parseExpect(text string) (wire.Address, error) {
	id, err := identity.ParseIdentifier(text)
	return wire.Address{Kind: wire.Is, Name: id.String()}, err
}

// expected returns whose a session at the end of a segment must be, or the zero Identifier if the
// route does not say.
func expected(segment Route) identity.Identifier {
	var id identity.Identifier
	if last := len(segment) - 1; last >= 0 && segment[last].Kind == wire.Is {
		id, _ = identity.ParseIdentifier(segment[last].Name) // Check has seen it
	}
	return id
}

// sent returns the steps of r that are for others than the dialer.
func sent(r Route) Route {
	isIs := func(a wire.Address) bool { return a.Kind == wire.Is }
	if !slices.ContainsFunc(r, isIs) {
		return r
	}
	return slices.DeleteFunc(slices.Clone(r), isIs)
}

// ToOutlet returns the route to the outlet of the node that node leads to. node is not kept.
func ToOutlet(node ...wire.Address) Route {
	return append(slices.Clip(Route(node)),
		wire.Address{Kind: wire.Secure, Name: SecureName},
		wire.Address{Kind: wire.Service, Name: OutletName})
}

// ThroughRelay returns the route to the outlet that has claimed name on the relay that a route
// leads to.
func ThroughRelay(relay Route, name string) Route {
	return ToOutlet(append(slices.Clip(relay), Forward(name))...)
}

// Forward is the step on a relay to the outlet that has claimed name there.
func Forward(name string) wire.Address {
	return wire.Address{Kind: wire.Service, Name: ForwardPrefix + name}
}

func parseLong(text string) (Route, error) {
	if text == "/" {
		return nil, errors.New("it is empty")
	}
	words := strings.Split(text[1:], "/")
	var r Route
	for len(words) > 0 {
		if len(r) == 2*wire.MaxRoute { // Check is more exact
			return nil, ErrTooFar
		}
		a, n, err := parseStep(words)
		if err != nil {
			return nil, err
		}
		r = append(r, a)
		words = words[n:]
	}
	return r, nil
}

// parseStep takes one address off the front of words and returns how many words it took.
func parseStep(words []string) (wire.Address, int, error) {
	protocol := words[0]
	var value string
	if len(words) > 1 {
		value = words[1]
	}
	if value == "" {
		return wire.Address{}, 0, fmt.Errorf("/%s stands without a value",
			transport.Printable(protocol))
	}
	switch protocol {
	case "service", "secure":
		a := wire.Address{Kind: wire.Service, Name: value}
		if protocol == "secure" {
			a.Kind = wire.Secure
		}
		return a, 2, transport.Validate(a)
	case "is":
		a, err := parseExpect(value)
		return a, 2, err
	}
	a, took, err := transport.ParseStep(words)
	if err != nil || took > 0 {
		return a, took, err
	}
	const what = "/%s is not one of /ip4 /ip6 /dnsaddr /nats /kafka /ble /unix /service /secure " +
		"/is; a Unix socket is unix:PATH"
	return wire.Address{}, 0, fmt.Errorf(what, transport.Printable(protocol))
}

// Format returns r's long form, which Parse reads.
func Format(r Route) string {
	var b strings.Builder
	for _, a := range r {
		b.WriteString(formatStep(a))
	}
	return b.String()
}

// formatStep returns one step in the long form.
func formatStep(a wire.Address) string {
	switch a.Kind {
	case wire.Service:
		return "/service/" + a.Name
	case wire.Secure:
		return "/secure/" + a.Name
	case wire.Is:
		return "/is/" + a.Name
	}
	if step := transport.FormatStep(a); step != "" {
		return step
	}
	return fmt.Sprintf("/kind%d/%x", a.Kind, a.Name)
}

// segments cuts r behind each secure step and what is expected there: what is opened on the first
// link, what is opened inside the first channel, and so on. The last segment ends with a service.
func segments(r Route) []Route {
	var all []Route
	begin := 0
	for i, a := range r {
		expects := i+1 < len(r) && r[i+1].Kind == wire.Is
		if a.Kind == wire.Is || a.Kind == wire.Secure && !expects {
			all = append(all, r[begin:i+1])
			begin = i + 1
		}
	}
	return append(all, r[begin:])
}

// forwardName returns the name by which some segments reach their last node, or "" if that is a
// transport address. A segment that leads nowhere stays on the node of the one before.
func forwardName(segs ...Route) string {
	for _, segment := range slices.Backward(segs) {
		for _, a := range slices.Backward(segment) {
			switch {
			case a.IsTransport():
				return ""
			case moves(a):
				return a.Name
			}
		}
	}
	return ""
}

// takenFor returns what the node that segments 0 to k lead to is taken for, by the segment that
// follows. Who is reached by a name has to be the outlet of that name, whatever is asked of it.
func takenFor(segs []Route, k int) trust.As {
	if name, ok := strings.CutPrefix(forwardName(segs[:k+1]...), ForwardPrefix); ok {
		return trust.As{Role: trust.Outlet, Name: name}
	}
	next := segs[k+1]
	for len(next) > 0 && next[0].Kind == wire.Service && next[0].Name == HopName {
		next = next[1:]
	}
	if len(next) > 0 && (moves(next[0]) || isOfNodes(next[0])) {
		return trust.As{Role: trust.Node}
	}
	return trust.As{Role: trust.Outlet}
}

// isOfNodes tells whether a service is one that relays and bridges have as well.
func isOfNodes(a wire.Address) bool {
	if a.Kind != wire.Service {
		return false
	}
	switch a.Name {
	case RegisterName, NodesName, MemberName, EchoName, UppercaseName:
		return true
	}
	return false
}

// moves tells whether the address leads to another node.
func moves(a wire.Address) bool {
	return a.IsTransport() || a.Kind == wire.Service && strings.HasPrefix(a.Name, ForwardPrefix)
}
