package daemon

import (
	"context"
	"slices"
	"sync"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/directory"
	"github.com/secureportal/sp/route/relay/directory/natsbus"
	"github.com/secureportal/sp/route/relay/mesh"
)

// setNode is what makes a relay one of a set.
type setNode struct {
	site   *site
	config config.Relay

	mesh      *mesh.Mesh
	directory *directory.Directory // nil: none
	bus       *natsbus.Bus
	dialer    *member // meets the others
	stop      context.CancelFunc
	running   sync.WaitGroup
}

// build makes the relay's node, and what it takes to meet the others.
func (n *setNode) build() (*member, error) {
	members, err := config.ParseIdentifiers("relay-identity", n.config.RelayIdentities)
	if err != nil {
		return nil, err
	}
	seeds, err := n.config.Seeds()
	if err != nil {
		return nil, err
	}
	addresses, err := n.config.Addresses()
	if err != nil {
		return nil, err
	}
	m, err := n.site.newForwarder(nil, false, n.withSelf(members), n.limitReach(addresses))
	if err != nil {
		return nil, err
	}
	n.dialer, err = n.site.newMember(n.trust(members), true, func(*route.Config) {})
	if err != nil {
		n.site.closeMember(m)
		return nil, err
	}
	var server *relay.Server
	n.mesh = mesh.New(mesh.Config{
		Node: m.node, Dial: n.dialer.node, Self: n.site.self.Identifier(),
		Seeds: seeds, Addresses: addresses, Weight: uint8(n.config.Weight),
		Names: memoryConfig(n.config),
		Tell:  func(ctx context.Context) { server.TellNodes(ctx) },
		Owned: n.owned,
	})
	names := relay.Directory(n.mesh)
	if err := n.buildDirectory(m.node); err != nil {
		n.site.closeMember(n.dialer)
		n.site.closeMember(m)
		return nil, err
	}
	told := &tells{title: titled(RelayKind, n.config.Listen), nodes: n.mesh.Status}
	if n.directory != nil {
		names, told.directory = n.directory, n.reportDirectory
	}
	server = relay.NewServer(m.node, relay.ServerConfig{
		Private: n.config.Private, Directory: names, List: n.mesh.List,
	})
	told.names = server.Names
	m.leave = n.mesh.Drain
	m.tells.Store(told)
	return m, nil
}

// trust says who may be one of the set, where this relay comes to them.
func (n *setNode) trust(members []identity.Identifier) trust.Config {
	t := n.site.trust
	return trust.Config{
		Self: t.Self, Members: n.withSelf(members), Authorities: t.Authorities,
		Deny: t.Deny, DenyFiles: t.DenyFiles, Known: t.Known,
	}
}

// withSelf adds the relay itself: it finds out by that where it answers itself.
func (n *setNode) withSelf(members []identity.Identifier) []identity.Identifier {
	return append(slices.Clone(members), n.site.self.Identifier())
}

func (n *setNode) run() {
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.running.Go(func() { n.mesh.Run(ctx) })
	if n.directory != nil {
		n.running.Go(func() { n.bus.Run(ctx) })
		n.running.Go(func() { n.directory.Run(ctx) })
	}
}

// end may be called again.
func (n *setNode) end() {
	if n.stop != nil {
		n.stop()
		n.running.Wait()
	}
	if n.dialer != nil {
		n.site.closeMember(n.dialer)
	}
}
