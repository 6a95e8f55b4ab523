package daemon

import (
	"context"
	"slices"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route/relay"
)

// forwarder is a relay or a bridge: a node of its own, and the parts by which links come in.
type forwarder struct {
	site     *site
	entrance config.Entrance
	build    func() (*member, error)
	set      *setNode // nil: none

	member *member
	parts  []part
}

func (s *site) planRelay(r config.Relay) planned {
	var node *setNode
	if r.IsOfSet() {
		node = &setNode{site: s, config: r}
	}
	build := func() (*member, error) {
		if node != nil {
			return node.build()
		}
		m, err := s.newForwarder(nil, false, nil)
		if err == nil {
			server := relay.NewServer(m.node, relay.ServerConfig{
				Private: r.Private, Directory: relay.NewMemory(memoryConfig(r)),
			})
			m.tells.Store(&tells{title: titled(RelayKind, r.Listen), names: server.Names})
		}
		return m, err
	}
	return s.planForwarder(keyOf("relay", r), r.Entrance, build, node)
}

func memoryConfig(r config.Relay) relay.MemoryConfig {
	return relay.MemoryConfig{Names: r.Names, NamesPerIdentity: r.NamesPerIdentity}
}

func (s *site) planBridge(b config.Bridge) planned {
	build := func() (*member, error) {
		next, err := b.NextHops()
		if err != nil {
			return nil, err
		}
		m, err := s.newForwarder(next, b.Open, nil)
		if err == nil {
			m.tells.Store(&tells{title: titled(BridgeKind, b.Listen)})
		}
		return m, err
	}
	return s.planForwarder(keyOf("bridge", b), b.Entrance, build, nil)
}

func (s *site) planForwarder(
	key string, e config.Entrance, build func() (*member, error), node *setNode,
) planned {
	return planned{
		key:  key,
		make: func() part { return &forwarder{site: s, entrance: e, build: build, set: node} },
	}
}

func (f *forwarder) start(ctx context.Context) (err error) {
	if f.member, err = f.build(); err != nil {
		return err
	}
	f.member.node.HandleBasics()
	for _, want := range f.site.planEntrance(f.member, f.entrance) {
		one := want.make()
		if err := one.start(ctx); err != nil {
			f.end(endedContext())
			return err
		}
		f.parts = append(f.parts, one)
	}
	if f.set != nil {
		f.set.run()
	}
	return nil
}

func (f *forwarder) stopListening() {
	for _, p := range f.parts {
		p.stopListening()
	}
}

func (f *forwarder) withdraw() { f.stopListening() }

func (f *forwarder) end(ctx context.Context) {
	f.stopListening()
	if ctx.Err() == nil {
		_ = f.member.shutdown(ctx)
	}
	_ = f.member.node.Close()
	if f.set != nil {
		f.set.end()
	}
	for _, p := range slices.Backward(f.parts) {
		p.end(endedContext())
	}
	f.site.closeMember(f.member)
}

// state is up when it listens anywhere, as it does from its start on, unless that is at a broker
// which is not reached: its claims are tried again, and only tell of errors.
func (f *forwarder) state() partState {
	all := partState{entrance: true}
	for _, p := range f.parts {
		now := p.state()
		all.up = all.up || now.up && now.address != ""
		switch {
		case now.address == "":
		case all.address == "":
			all.address = now.address
		default:
			all.alsoAt = append(all.alsoAt, now.address)
		}
		all.alsoAt = append(all.alsoAt, now.alsoAt...)
		if all.err == nil {
			all.err = now.err
		}
	}
	all.connections = f.member.node.Connections()
	return all
}
