package daemon

import (
	"context"
	"slices"

	"github.com/secureportal/sp/cli/config"
)

// forwarder is a relay or a bridge: a node of its own, and the parts by which links come in.
type forwarder struct {
	site     *site
	entrance config.Entrance
	build    func() (*member, error)

	member *member
	parts  []part
}

func (s *site) planRelay(r config.Relay) planned {
	build := func() (*member, error) {
		m, err := s.newForwarder(nil, false)
		if err == nil {
			makeRelay(m, r)
		}
		return m, err
	}
	return s.planForwarder(keyOf("relay", r), r.Entrance, build)
}

func (s *site) planBridge(b config.Bridge) planned {
	build := func() (*member, error) {
		next, err := b.NextHops()
		if err != nil {
			return nil, err
		}
		return s.newForwarder(next, b.Open)
	}
	return s.planForwarder(keyOf("bridge", b), b.Entrance, build)
}

func (s *site) planForwarder(
	key string, e config.Entrance, build func() (*member, error),
) planned {
	return planned{
		key:  key,
		make: func() part { return &forwarder{site: s, entrance: e, build: build} },
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
		_ = f.member.node.Shutdown(ctx)
	}
	_ = f.member.node.Close()
	for _, p := range slices.Backward(f.parts) {
		p.end(endedContext())
	}
	f.site.closeMember(f.member)
}

// state is up when it listens, as it does from its start on: its claims are tried again, and
// only tell of errors.
func (f *forwarder) state() partState {
	all := partState{entrance: true}
	for _, p := range f.parts {
		now := p.state()
		if now.address != "" {
			all.address, all.up = now.address, true
		}
		if all.err == nil {
			all.err = now.err
		}
	}
	all.connections = f.member.node.Connections()
	return all
}
