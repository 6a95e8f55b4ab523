package daemon

import (
	"context"
	"errors"
	"slices"
	"syscall"

	"github.com/secureportal/sp/portal/udp"
	"github.com/secureportal/sp/route/transport"
)

// tryListening tells why what is new of next could not listen, before anything that runs is
// touched, or returns nil. What ours have listened at so far is theirs to give.
func tryListening(ctx context.Context, units []*unit, next []Named) error {
	var held, stays []transport.Address
	for _, u := range units {
		held = append(held, u.config.ListensAt()...)
	}
	for _, n := range next {
		stays = append(stays, n.Config.ListensAt()...)
	}
	for _, n := range next {
		mode, err := n.Config.Node.ParseSocketMode()
		if err != nil {
			return about(n.Name, err)
		}
		for _, at := range n.Config.ListensAt() {
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

// tryListen finds out whether the process may listen at an address. What is carried in TLS or HTTP
// is known when it is listened for.
func tryListen(ctx context.Context, at transport.Address, c transport.Config) error {
	if transport.IsHanded(at) {
		return transport.CheckHanded(at)
	}
	switch transport.Scheme(at) {
	case "udp":
		l, err := udp.Listen(ctx, at, udp.Config{})
		if err != nil {
			return err
		}
		return l.Close()
	case "tcp", "unix":
	default:
		return nil
	}
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
