// Package homes has outlets and inlets follow a set of relays: it asks a relay who the others are,
// and keeps an outlet's claims, and an inlet's paths, where the name is at home (package set).
//
// A list of nodes is hearsay. One that is wrong or a lie costs tries that are refused: who is at
// the other end proves that in the handshake, by name. A relay that is none of a set is used as it
// is.
package homes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// claimsEach is on how many nodes an outlet keeps its name, and by how many an inlet comes.
const claimsEach = 2

// askTimeout is for a relay to say who is in its set.
const askTimeout = 5 * time.Second

// ErrAlone says that a relay is none of a set.
var ErrAlone = errors.New("the relay is none of a set")

// Ask asks the relay that a route leads to who is in its set. ErrAlone is its answer that there is
// none: a list of nobody that has never been another one.
func Ask(ctx context.Context, n *route.Node, to route.Route) (*set.List, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	nodes := wire.Address{Kind: wire.Service, Name: route.NodesName}
	b, err := question(ctx, n, append(slices.Clone(to), nodes), set.MaxList)
	if code, ok := refused(err); ok && (code == wire.NoService || code == wire.NotAllowed) {
		return nil, ErrAlone
	}
	if err != nil {
		return nil, fmt.Errorf("the list of nodes: %w", err)
	}
	list, err := set.ParseList(b)
	if err == nil && list.Version == 0 && len(list.Nodes) == 0 {
		return nil, ErrAlone
	}
	return list, err
}

// refused returns how somebody has refused what was asked of him, if he has.
func refused(err error) (code route.Code, ok bool) {
	var status *route.StatusError
	if errors.As(err, &status) {
		return status.Code, true
	}
	return 0, false
}

// place is a route to a relay, and what of it another relay of the same set would have instead.
type place struct {
	to    route.Route // to the relay's node, and further
	index int         // of the relay's own address in it
}

// placeOf returns the place of the last address that is dialed in a route to a relay's node.
func placeOf(to route.Route) (place, bool) {
	for i, a := range slices.Backward(to) {
		if a.IsTransport() {
			return place{to, i}, true
		}
	}
	return place{}, false
}

// at returns the route to a node of the set, in place of the one that was named, by the first of
// its addresses that can be meant.
func (p place) at(n set.Node) (route.Route, bool) {
	for _, a := range n.Addresses {
		if isMeant(a, p.to[p.index]) {
			to := slices.Clone(p.to)
			to[p.index] = a
			return to, true
		}
	}
	return nil, false
}

// At returns the route to another node of the set of the relay that to leads to, if that can be
// meant by what is said of it.
func At(to route.Route, n set.Node) (route.Route, bool) {
	p, ok := placeOf(to)
	if !ok {
		return nil, false
	}
	return p.at(n)
}

// isMeant tells whether an address that a relay has named may be dialed. One that means something
// else on each machine, or nobody, is only believed of a relay that is at such an address itself.
func isMeant(a, entrance wire.Address) bool {
	kind := special(a)
	return kind == "" || kind == special(entrance)
}

// special names what an address is that is not one and the same node from everywhere.
func special(a wire.Address) string {
	name, ip := a.Host()
	if name != "" {
		if name = strings.ToLower(strings.TrimSuffix(name, ".")); name == "localhost" ||
			strings.HasSuffix(name, ".localhost") {
			return "loopback"
		}
		return ""
	}
	switch {
	case !ip.IsValid():
		return "unknown"
	case ip.IsLoopback():
		return "loopback"
	case ip.IsUnspecified(), ip.IsMulticast():
		return "nobody"
	case ip.IsLinkLocalUnicast():
		return "link-local"
	}
	return ""
}
