package daemon

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/portal/udp"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/homes"
	"github.com/secureportal/sp/route/transport"
)

// stdioGrace is for how long stdin and stdout are waited for once their connection has ended: a
// write that stdout does not take never ends.
const stdioGrace = time.Second

// inlet is an inlet, which has one part.
type inlet struct {
	site   *site
	config config.Inlet
	paths  *route.Failover
	where  transport.Address // that it listens at, with the port that it has got

	accepting  context.Context
	stopAccept context.CancelFunc
	working    context.Context // bounds what connections that are open need
	stopWork   context.CancelFunc
	tasks      sync.WaitGroup
	accepts    sync.WaitGroup // what accepts connections, and counts them
	served     chan struct{}  // closed when all connections have ended

	mu      sync.Mutex
	socket  net.Listener // nil while it does not listen, and for stdin and stdout
	address string       // once it listens, and until it does not
	alsoAt  []string
}

func (s *site) planInlet(i config.Inlet) planned {
	key := i
	key.NoWait = false // it is of the start, and not of what has been started
	return planned{
		key:  keyOf("inlet", key),
		make: func() part { return &inlet{site: s, config: i, served: make(chan struct{})} },
	}
}

func (i *inlet) start(ctx context.Context) error {
	to, err := i.config.Routes()
	if err != nil {
		return err
	}
	where, err := i.config.Address()
	if err != nil {
		return err
	}
	if err := i.redeem(ctx, to); err != nil {
		return err
	}
	var socket net.Listener // nil for stdin and stdout, and while no path is open
	switch {
	case i.config.Listen == config.Stdio:
	case i.config.ListenWhenReady:
		if where.Port, err = i.tryListen(ctx, where); err != nil {
			return err
		}
	default:
		if socket, err = i.listen(ctx, where); err != nil {
			return err
		}
	}
	if i.config.NoWait {
		if err := i.try(ctx, to); err != nil {
			if socket != nil {
				_ = socket.Close()
			}
			return err
		}
	}
	i.accepting, i.stopAccept = context.WithCancel(context.Background())
	i.working, i.stopWork = context.WithCancel(context.Background())
	i.where = where
	i.run(to, socket)
	return nil
}

func (i *inlet) listen(ctx context.Context, at transport.Address) (net.Listener, error) {
	if i.config.IsUDP() {
		return udp.Listen(ctx, at, udp.Config{
			Idle: i.config.UDPIdle, Flows: i.site.config.Limits.Connections, Logger: i.site.logger,
		})
	}
	c := transport.Config{SocketMode: i.site.base.SocketMode, Sockets: i.site.sockets}
	return transport.ListenGuarded(ctx, at, c)
}

// run begins to keep the routes open, and to carry connections: those that the socket accepts,
// or the one that is stdin and stdout.
func (i *inlet) run(to []route.Route, socket net.Listener) {
	i.paths = i.site.newPaths(to)
	i.tasks.Go(func() { i.paths.Run(i.working) })
	follow := &homes.Inlet{Node: i.site.main.node, Routes: to, Paths: i.paths}
	i.tasks.Go(func() { follow.Run(i.working) })
	if i.config.Listen == config.Stdio {
		go i.carryStdio() // end waits for served, but not for ever
		return
	}
	if i.config.ListenWhenReady {
		i.tasks.Go(i.serveWhenReady)
		return
	}
	if at, ok := transport.ListensAt(socket); ok {
		i.where.Port = at.Port
	}
	i.setSocket(socket)
	i.accepts.Add(1)
	i.tasks.Go(func() {
		defer close(i.served)
		if i.config.Once {
			defer i.accepts.Done()
			i.serveOnce(socket)
			return
		}
		i.serve(socket)
	})
	i.tasks.Go(i.tellWhenOpen)
}

// serve carries what the socket accepts, until all of it has ended. Who calls it has added one to
// accepts.
func (i *inlet) serve(socket net.Listener) {
	p := i.portal()
	p.Stopped = i.accepts.Done
	p.Serve(i.accepting, i.working, socket)
}

// tellWhenOpen has the daemon look each time that a path may have come up: one may be down again
// before anybody has looked.
func (i *inlet) tellWhenOpen() {
	for {
		open, changed := i.paths.IsOpen()
		if open {
			i.site.changed()
		}
		select {
		case <-changed:
		case <-i.accepting.Done():
			return
		}
	}
}

// redeem presents the ticket, if there is one, before anything else is done. A far end that is not
// there yet is waited for later.
func (i *inlet) redeem(ctx context.Context, to []route.Route) error {
	if i.site.ticket == nil {
		return nil
	}
	err := i.try(ctx, to)
	if errors.Is(err, trust.ErrNotTrusted) {
		return &Error{Problem: TicketFailed, Err: err}
	}
	if err == nil {
		i.tell(Redeemed, nil)
	}
	return nil
}

func (i *inlet) tell(kind EventKind, err error) {
	id := i.site.self.Identifier()
	i.site.notify(Event{Kind: kind, Identifier: id, Portal: i.status(), Err: err})
}

// try asks whether any of some routes leads to the service, and returns why the first does not.
func (i *inlet) try(ctx context.Context, to []route.Route) error {
	var first error
	for _, path := range to {
		ctx, cancel := context.WithTimeout(ctx, i.site.config.DialTime())
		err := i.site.main.node.Probe(ctx, path)
		cancel()
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (i *inlet) portal() *portal.Inlet {
	flags := route.Lazy
	if i.config.Socks5 {
		flags = 0 // the client is told of the answer, and says nothing before
	}
	return &portal.Inlet{
		Open: func(ctx context.Context, client []byte) (*route.Stream, error) {
			return i.paths.OpenWith(ctx, flags, client)
		},
		Asks:           i.config.Socks5,
		Begin:          i.begin,
		ConnectTimeout: i.site.config.ConnectTimeout,
		Logger:         i.site.logger, Log: i.site.options.LogConnections,
	}
}

// begin counts a connection, for the node and for the inlet.
func (i *inlet) begin(app route.Conn) (portal.Follower, error) {
	leave, err := i.site.main.node.Begin(app)
	if err != nil {
		return nil, err
	}
	return i.site.open.begin(i, i.config.To[0], app, leave), nil
}

// carryStdio carries stdin and stdout, when a route is open.
func (i *inlet) carryStdio() {
	defer close(i.served)
	err := ErrStopped
	if i.paths.Await(i.accepting) == nil {
		i.site.changed()
		err = i.portal().Carry(i.working, i.site.options.Stdio())
	}
	i.tell(Ended, err)
}

// serveOnce carries the first connection that the socket accepts. Whoever comes later is refused.
func (i *inlet) serveOnce(socket net.Listener) {
	accepting, stop := context.WithCancel(i.accepting)
	defer stop()
	var first net.Conn
	route.Accept(accepting, socket, i.site.logger, func(c net.Conn) {
		if first != nil {
			_ = c.Close() // it is reset: see transport.ListenGuarded
			return
		}
		first = c
		stop()
		if datagrams, ok := socket.(*udp.Listener); ok {
			datagrams.AcceptNoMore() // the client's come to this one
			return
		}
		i.closeSocket()
	})
	if first != nil {
		i.tell(Ended, i.portal().Carry(i.working, first))
	}
}

func (i *inlet) setSocket(socket net.Listener) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.socket, i.address, i.alsoAt = socket, describe(socket), describeMore(socket)
}

// stopListening returns when the address is free for another, and all that has been accepted is
// counted among what is open.
func (i *inlet) stopListening() {
	i.stopAccept()
	i.closeSocket()
	i.accepts.Wait()
}

func (i *inlet) closeSocket() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.socket != nil {
		_ = i.socket.Close()
	}
	i.socket, i.address, i.alsoAt = nil, "", nil
}

func (i *inlet) withdraw() { i.stopListening() }

func (i *inlet) end(ctx context.Context) {
	i.stopListening()
	select {
	case <-i.served:
	case <-ctx.Done():
	}
	cut(i.site.open.of(i))
	i.stopWork()
	select {
	case <-i.served:
	case <-i.grace():
	}
	i.tasks.Wait()
}

// grace ends when stdin and stdout have been waited for long enough. Other connections end when
// they are cut.
func (i *inlet) grace() <-chan time.Time {
	if i.config.Listen == config.Stdio {
		return time.After(stdioGrace)
	}
	return nil
}

func (i *inlet) state() partState {
	now := partState{entrance: true, connections: i.site.open.number(i)}
	if i.paths != nil {
		now.err = i.paths.Await(endedContext()) // why none is open
	}
	now.up = i.paths != nil && now.err == nil
	i.mu.Lock()
	defer i.mu.Unlock()
	now.address, now.alsoAt = i.address, i.alsoAt
	if i.config.ListenWhenReady && i.address == "" && i.config.Listen != config.Stdio {
		now.up = false
	}
	return now
}

// status is the portal's, which has no other part.
func (i *inlet) status() PortalStatus {
	now := i.state()
	return PortalStatus{
		Config: i.site.name, Kind: InletKind, Name: i.config.Listen, Address: now.address,
		AlsoAt: now.alsoAt, Ready: now.up, Connections: now.connections, Err: now.err,
	}
}
