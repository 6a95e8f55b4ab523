package route

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// Hop is one node that a route leads to.
type Hop struct {
	Where string // by what address
	Route Route  // as far as that node
}

// Hops returns the nodes that r leads to, in order. Where the last thing that a node does is to end
// a channel, the hop's route includes that.
func Hops(r Route) []Hop {
	var hops []Hop
	for i, a := range r {
		switch {
		case moves(a):
			hops = append(hops, Hop{where(a), r[:i+1]})
		case (a.Kind == wire.Secure || a.Kind == wire.Is) && len(hops) > 0:
			hops[len(hops)-1].Route = r[:i+1]
		}
	}
	return hops
}

// Explain says in a few words what a step of a route does.
func Explain(a wire.Address) string {
	text := formatStep(a)
	switch {
	case a.IsTransport():
		return text + " — connect to " + transport.Format(a)
	case a.Kind == wire.Secure:
		return text + " — open a secure channel with the node reached; the rest goes through it"
	case a.Kind == wire.Is:
		return text + " — refuse any other identity there"
	case a.Name == HopName:
		return text + " — stay on the node"
	case moves(a):
		return text + " — go on to the outlet that has claimed " + a.Name[len(ForwardPrefix):]
	case strings.HasPrefix(a.Name, DatagramsPrefix):
		return text + " — ask for the service of datagrams (UDP) " + a.Name[len(DatagramsPrefix):]
	}
	return text + " — ask for the service " + a.Name
}

// Ping measures a round trip to the last node of r: over the session if r's last move is followed
// by a secure step, and otherwise with an opening message that asks for the node itself.
func (n *Node) Ping(ctx context.Context, r Route) (time.Duration, error) {
	hops := Hops(r)
	if len(hops) == 0 {
		return 0, errors.New("the route leads to no node")
	}
	last := hops[len(hops)-1].Route
	if end := last[len(last)-1].Kind; end == wire.Secure || end == wire.Is {
		asked := r // for the session that the route itself makes
		if len(r) == len(last) {
			asked = append(r[:len(r):len(r)], wire.Address{Kind: wire.Service, Name: EchoName})
		}
		s, err := n.Session(ctx, asked)
		if err != nil {
			return 0, err
		}
		return s.Ping(ctx)
	}
	begin := time.Now()
	err := n.Probe(ctx, last)
	return time.Since(begin), err
}
