package daemon

import (
	"context"
	"net"
	"sync"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route/transport"
)

// listener is the part of a portal that links come in by.
type listener struct {
	member  *member
	at      string
	stop    context.CancelFunc // of accepting
	serving sync.WaitGroup

	mu      sync.Mutex
	address string // once it listens, and until it does not
	alsoAt  []string
}

func (s *site) planListener(m *member, at string) planned {
	return planned{
		key:  keyOf("listener", at),
		make: func() part { return &listener{member: m, at: at} },
	}
}

func (l *listener) start(ctx context.Context) error {
	where, err := config.ParseListen(l.at)
	if err != nil {
		return err
	}
	socket, err := l.member.node.Listen(ctx, where)
	if err != nil {
		return err
	}
	l.setAddress(describe(socket), describeMore(socket)...)
	accepting, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.serving.Go(func() { l.member.node.Serve(accepting, socket) })
	return nil
}

func (l *listener) setAddress(address string, alsoAt ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.address, l.alsoAt = address, alsoAt
}

// stopListening returns when the address is free for another.
func (l *listener) stopListening() {
	l.stop()
	l.serving.Wait()
	l.setAddress("")
}

func (l *listener) withdraw() { l.stopListening() }

// end leaves the links alone: they are the node's.
func (l *listener) end(context.Context) { l.stopListening() }

func (l *listener) state() partState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return partState{
		entrance: true, up: l.address != "", address: l.address, alsoAt: l.alsoAt,
	}
}

// describe returns where l listens, as a configuration says it.
func describe(l net.Listener) string {
	a, ok := transport.ListensAt(l)
	if !ok {
		return l.Addr().String()
	}
	return transport.Format(a)
}

// describeMore returns where else l listens, likewise.
func describeMore(l net.Listener) (all []string) {
	for _, a := range transport.ListensAlsoAt(l) {
		all = append(all, transport.Format(a))
	}
	return all
}
