package daemon

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/route/transport"
)

// listener is the part of a portal that links come in by.
type listener struct {
	site    *site
	member  *member
	at      string
	stop    context.CancelFunc // of accepting
	serving sync.WaitGroup

	mu      sync.Mutex
	socket  net.Listener // once it listens, and until it does not
	address string
	alsoAt  []string
}

func (s *site) planListener(m *member, at string) planned {
	return planned{
		key:  keyOf("listener", at),
		make: func() part { return &listener{site: s, member: m, at: at} },
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
	l.set(socket, describe(socket), describeMore(socket)...)
	accepting, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.serving.Go(func() { l.member.node.Serve(accepting, socket) })
	if changed, _ := transport.Down(socket); changed != nil {
		l.serving.Go(func() { l.follow(accepting, socket) })
	}
	return nil
}

// listenersDown are those by which nobody can come.
var listenersDown = metrics.NewGauge("listeners_down",
	"listeners by which nobody can come now, because a broker is not reached")

// follow tells of it when nobody can come by a listener any more, and when somebody can again,
// until ctx ends.
func (l *listener) follow(ctx context.Context, socket net.Listener) {
	var since time.Time // it is down; zero if it is not
	defer func() {
		if !since.IsZero() {
			listenersDown.Dec()
		}
	}()
	for {
		changed, why := transport.Down(socket)
		switch {
		case why != nil && since.IsZero(): // which whoever accepts logs
			since = time.Now()
			listenersDown.Inc()
		case why == nil && !since.IsZero():
			listenersDown.Dec()
			l.site.logger.Info("the broker is reached again", "listen", l.at,
				"was down", time.Since(since).Round(time.Millisecond).Seconds())
			since = time.Time{}
		}
		l.site.changed()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (l *listener) set(socket net.Listener, address string, alsoAt ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.socket, l.address, l.alsoAt = socket, address, alsoAt
}

// stopListening returns when the address is free for another.
func (l *listener) stopListening() {
	l.stop()
	l.serving.Wait()
	l.set(nil, "")
}

func (l *listener) withdraw() { l.stopListening() }

// end leaves the links alone: they are the node's.
func (l *listener) end(context.Context) { l.stopListening() }

func (l *listener) state() partState {
	l.mu.Lock()
	socket := l.socket
	now := partState{entrance: true, up: socket != nil, address: l.address, alsoAt: l.alsoAt}
	l.mu.Unlock()
	if now.up {
		_, now.err = transport.Down(socket)
		now.up = now.err == nil
	}
	return now
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
