package route

import (
	"context"
	"strings"

	"github.com/secureportal/sp/wire"
)

// Resolver finds what serves a name that a node has not offered itself. It is called for each
// request, at the same time for several, before the request counts for any limit: it has to be
// quick, and ctx ends with the node. Nil without an error is that there is no such service; an
// error is told to the asker as a Handler's is.
type Resolver func(ctx context.Context, name string) (Handler, error)

// resolver is a Resolver and the names that it is for.
type resolver struct {
	prefix string
	find   Resolver
}

// Resolve has find find the services, open to everybody who reaches the node, whose names begin
// with prefix, unless they are offered by Offer. name is what follows the prefix. A node has one
// Resolver: another one takes its place.
func (n *Node) Resolve(prefix string, find Resolver) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resolver = resolver{prefix, find}
}

// service returns the service of a name.
func (n *Node) service(name string) (s Service, ok bool, err error) {
	n.mu.Lock()
	s, ok = n.services[name]
	r := n.resolver
	n.mu.Unlock()
	rest, ours := strings.CutPrefix(name, r.prefix)
	if ok || !ours || r.find == nil {
		return s, ok, nil
	}
	h, err := r.find(n.ctx, rest)
	return Service{Handler: h, Open: true}, h != nil, err
}

// DialLink makes a link to the node that listens at a, a transport address. The caller closes it.
func (n *Node) DialLink(ctx context.Context, a wire.Address) (Conn, error) {
	return n.dialTransport(ctx, a)
}
