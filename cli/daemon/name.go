package daemon

import (
	"context"
	"sync"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route"
)

// name is the part of an outlet that listens by which it is asked for there. Names on relays are
// claimed by registrations.
type name struct {
	node    *route.Node
	name    string // as a node claims it: the empty one is none
	release func()
}

func (s *site) planName(e config.Entrance) planned {
	claimed := ""
	if e.Name != "" {
		claimed = route.ForwardPrefix + e.Name
	}
	return planned{
		key:  keyOf("name", claimed),
		make: func() part { return &name{node: s.main.node, name: claimed} },
	}
}

func (n *name) start(context.Context) error {
	n.release = sync.OnceFunc(n.node.Claim(n.name))
	return nil
}

func (n *name) stopListening() {}

func (n *name) withdraw() { n.release() }

func (n *name) end(context.Context) { n.release() }

func (n *name) state() partState { return partState{up: true} }
