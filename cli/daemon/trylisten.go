package daemon

import (
	"context"
	"errors"
	"slices"
	"syscall"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route/transport"
)

// tryListening tells why what is new of next could not listen, before anything that runs is
// touched, or returns nil. What ours have listened at so far is theirs to give.
func tryListening(ctx context.Context, units []*unit, next []Named) error {
	var held, stays []transport.Address
	for _, u := range units {
		held = append(held, listensAt(u.config)...)
	}
	for _, n := range next {
		stays = append(stays, listensAt(n.Config)...)
	}
	for _, n := range next {
		mode, err := n.Config.Node.ParseSocketMode()
		if err != nil {
			return about(n.Name, err)
		}
		for _, at := range listensAt(n.Config) {
			if slices.Contains(held, at) {
				continue
			}
			err := tryListen(ctx, at, transport.Config{SocketMode: mode})
			if errors.Is(err, syscall.EADDRINUSE) && isGivenUp(at, held, stays) {
				continue
			}
			if err != nil {
				return about(n.Name, err)
			}
		}
	}
	return nil
}

func tryListen(ctx context.Context, at transport.Address, c transport.Config) error {
	l, err := transport.ListenGuarded(ctx, at, c)
	if err != nil {
		return err
	}
	return l.Close()
}

// isGivenUp tells whether what listens at the port of an address is likely to be something of ours
// that goes: :7000 takes the place of 127.0.0.1:7000.
func isGivenUp(at transport.Address, held, stays []transport.Address) bool {
	return slices.ContainsFunc(held, func(other transport.Address) bool {
		return transport.Scheme(other) == transport.Scheme(at) && other.Port == at.Port &&
			!slices.Contains(stays, other)
	})
}

// listensAt are the addresses that a configuration listens at, which is valid.
func listensAt(c config.Config) (all []transport.Address) {
	add := func(a transport.Address, err error) {
		if err == nil {
			all = append(all, a)
		}
	}
	for _, i := range c.Inlets {
		if i.Listen != config.Stdio {
			add(i.Address())
		}
	}
	for _, e := range entrances(c) {
		if e.Listen != "" {
			add(e.Address())
		}
	}
	return all
}

// entrances are by which links come in.
func entrances(c config.Config) (all []config.Entrance) {
	for _, o := range c.Outlets {
		all = append(all, o.Entrance)
	}
	for _, r := range c.Relays {
		all = append(all, r.Entrance)
	}
	for _, b := range c.Bridges {
		all = append(all, b.Entrance)
	}
	return all
}
