package route

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/brokers"
	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// DefaultConnectTimeout is for a link to be made.
const DefaultConnectTimeout = transport.DefaultConnectTimeout

// prewarmedLinks is how many links to one far end are made before somebody needs them, if there is
// the demand.
const prewarmedLinks = 32

// leaveTimeout is how long a node that shuts down goes on serving until those who have been told
// have ended their sessions: what they had sent by then would be lost otherwise.
const leaveTimeout = time.Second

// lastAnswerTimeout is how long it waits at its end for those whom it refuses to have heard that:
// as long as one may take who asks in time.
const lastAnswerTimeout = openingTimeout + refuseTimeout

// Config is what a node is made of. It must not be changed once it is in use.
type Config struct {
	Channel channel.Config

	// ByName refuses sessions to whoever asks for the node by a name that nobody has claimed with
	// Claim, the empty name included. Without it the node takes the empty name as well.
	ByName bool

	// Forward tells which transport addresses other nodes' messages may be forwarded to, if they
	// come through a session with a peer that is trusted. Nil forwards nothing.
	Forward func(a wire.Address) bool

	// OpenForward has messages forwarded that come without a session as well.
	OpenForward bool

	// Reach tells whether a link to a, a host's name, may be made to ip, one of the addresses that
	// the name stands for just now. Nil lets all be.
	Reach func(a wire.Address, ip netip.Addr) error

	// Direct has connections that a relay has joined go directly where that can be.
	Direct bool
	// DirectPorts are the ports from which it looks for such ways. None means any.
	DirectPorts []uint16

	// ConnectTimeout bounds the making of a link. 0 means DefaultConnectTimeout.
	ConnectTimeout time.Duration

	// SocketMode is the mode of the files of Unix sockets that the node listens at. 0 means
	// transport.DefaultSocketMode.
	SocketMode fs.FileMode

	// Sockets are those at which the process listens. Nil holds none.
	Sockets *transport.Sockets

	// Proxy and From say how TCP connections go out: see transport.Config.
	Proxy func(a wire.Address) *transport.Proxy
	From  netio.From

	// TLS is what the node shows and believes in TLS, where links are made over it. Its Seen is the
	// node's own.
	TLS transport.TLSConfig

	// Brokers is how the node logs in at brokers of queues. Nil is without.
	Brokers *brokers.Logins

	// Limits says how much the node takes on. The zero value is the defaults.
	Limits admission.Limits

	// Hint says what to do about an error that keeps a route from being open or a claim from being
	// made, for the log. An empty hint, and nil, say nothing.
	Hint func(err error) string

	// Audit has a line logged when a session with somebody who is trusted begins, and when it ends.
	Audit bool

	// LogForwarded has a line logged for each pair of links that the node has joined, when it ends.
	LogForwarded bool

	// Turned gets something when what Turnover counts has become more, if it has room. It may be
	// nil.
	Turned chan<- struct{}

	// Logger gets what happens on the node. Nil means slog.Default.
	Logger *slog.Logger
}

// Node is one process's part in walking routes. It is safe for concurrent use. Each of its parts
// has a lock of its own, and none calls another while it holds it.
type Node struct {
	// Set once.
	config     Config
	logger     *slog.Logger
	endpoint   *channel.Endpoint
	labels     *labeler // what it puts on return routes
	transports *transport.Set

	life      *life
	offers    offers
	sessions  sessions
	links     linkHealth
	besides   besides
	followed  followed
	passed    passed
	forwards  forwards
	network   network
	directs   directs
	admission *admission.Admission

	turnover atomic.Uint64
	refusing refusing

	// What would otherwise fill the log.
	linkRefusals logthrottle.Throttle
	overLimits   logthrottle.Throttle
	failures     logthrottle.Throttle
	keptTooMuch  logthrottle.Throttle
	missing      logthrottle.Repeats[missed]
	issuers      issuers
	anonymous    logthrottle.Sources[admission.Source]
	known        logthrottle.Sources[identity.Identifier] // peers with a session
}

// NewNode returns a node that offers nothing yet. Close ends it.
func NewNode(config Config) (*Node, error) {
	n := &Node{
		config: config, logger: config.Logger, life: newLife(outlives(config)),
		offers: newOffers(config.ByName), sessions: newSessions(), followed: newFollowed(),
		besides: newBesides(), passed: newPassed(),
		forwards:  newForwards(),
		admission: admission.New(config.Limits, hasRead),
	}
	n.directs.node, n.directs.answers.node = n, n
	if n.logger == nil {
		n.logger = slog.Default()
	}
	n.transports = transport.NewSet(n.transportConfig())
	n.links = newLinkHealth(n.logger)
	n.config.Channel.Compute, n.config.Channel.Rest = n.compute, n.admission.Rest
	n.config.Channel.Prewarm, n.config.Channel.Probe = prewarmedLinks, true
	n.config.Channel.Unknown = n.unknownSession
	n.config.Channel.Suspended, n.config.Channel.GaveUp = n.suspended, n.gaveUp
	if n.config.Channel.Activity == nil {
		n.config.Channel.Activity = new(channel.Activity)
	}
	n.config.Channel.Began, n.config.Channel.Renewed = n.sessionBegan, n.turn
	n.config.Channel.Instance = n.offers.sharedAs
	endpoint, err := channel.New(n.config.Channel)
	if err != nil {
		return nil, err
	}
	n.endpoint, n.labels = endpoint, newLabeler()
	n.Offer(LeavingName, Service{Handler: n.leaving, Open: true, Waits: true})
	if config.Direct && netio.SharesPorts() {
		n.directs.answers.offer()
	}
	n.Go(func() { n.links.run(n.life.ctx, n.config.Channel.KeepaliveInterval()) })
	return n, nil
}

// Warn logs that something has failed because of err and is tried again, and what to do about it.
func (n *Node) Warn(text string, err error, more ...any) {
	more = append(more, "error", err)
	if n.config.Hint != nil {
		if hint := n.config.Hint(err); hint != "" {
			more = append(more, "hint", hint)
		}
	}
	n.logger.Warn(text, more...)
}

// WarnDown is Warn for what is down, and since is when it went down: zero if that is now.
func (n *Node) WarnDown(text string, err error, since time.Time, more ...any) {
	n.Warn(text, err, append(more, sinceField(since)...)...)
}

// Handle offers a service to peers that come through a secure channel and are trusted.
func (n *Node) Handle(name string, h Handler) { n.Offer(name, Service{Handler: h}) }

// HandleOpen offers a service to everybody who reaches the node.
func (n *Node) HandleOpen(name string, h Handler) {
	n.Offer(name, Service{Handler: h, Open: true})
}

// Offer offers a service under a name, in place of one that had it before.
func (n *Node) Offer(name string, s Service) { n.offers.set(name, s) }

// Withdraw stops offering a service. Requests that are being served go on.
func (n *Node) Withdraw(name string) { n.offers.remove(name) }

// Resolve has find find the services whose names begin with prefix, unless they are offered by
// Offer. They are open to everybody who reaches the node, or else to those only who come through a
// session: others are told that they are not allowed, whatever name they ask for. name is what
// follows the prefix. A prefix has one Resolver: another one takes its place.
func (n *Node) Resolve(prefix string, open bool, find Resolver) {
	n.offers.setResolver(prefix, open, find)
}

// Claim says that the node goes by name, as well, until release is called, once. A peer that
// believes it has reached another name is refused. A name that begins with ForwardPrefix is the
// step of a route; on this node itself that step leads nowhere else, unless the node is a relay.
func (n *Node) Claim(name string) (release func()) { return n.offers.claim(name) }

// Renew has this node and the far ends of its sessions prove themselves anew, with what they have
// now to show.
func (n *Node) Renew() { n.endpoint.Renew() }

// GoAway tells the far ends of some sessions that this node is going away, if that has not been
// done, and returns how many sessions these are.
func (n *Node) GoAway(which func(*channel.Session) bool) (selected int) {
	return n.endpoint.GoAwayFunc(which)
}

// Quit ends some sessions in good order, and does not wait for that.
func (n *Node) Quit(which func(*channel.Session) bool) { n.endpoint.CloseFunc(which) }

// Close ends everything at once, and waits for it.
func (n *Node) Close() error {
	n.life.close()
	links := n.links.close()
	err := n.endpoint.Close()
	for _, c := range links {
		_ = netio.Reset(c)
	}
	n.life.wait()
	return errors.Join(err, n.transports.Close())
}

// Shutdown tells the nodes that have sessions with this one, refuses new requests, waits until
// those being served have ended, and what was said in them has arrived where they had lost their
// way, or until ctx has ended, and closes the node.
func (n *Node) Shutdown(ctx context.Context) error {
	n.endpoint.GoAway()
	n.Go(func() { n.tellPassed(n.life.ctx, nil) })
	n.awaitLeave(ctx)
	n.endpoint.CloseFlows()
	n.life.drain()
	n.Go(func() {
		n.life.await(n.life.ctx, &n.life.keepers)
		n.endpoint.Unfound()
	})
	n.endpoint.GoAway() // those who have come meanwhile
	select {
	case <-n.life.served:
		n.awaitPaid(ctx)
		n.life.awaitDetached(ctx)
		n.refuseLast(ctx)
	case <-ctx.Done():
		n.logger.Warn("open connections have had their time, and are cut",
			"connections", n.life.activeNow())
	}
	return n.Close()
}

// owedTimeout is how long that is waited for which far ends may lack of connections that have
// ended: as long as it takes to start a relay anew. They may be gone, or lack nothing, unsaid.
const owedTimeout = 2 * time.Second

// awaitPaid returns when what has been said in connections that have ended has come to the far
// ends that had been lost, or ctx has ended, or soon. Nothing is active any more.
func (n *Node) awaitPaid(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, owedTimeout)
	defer cancel()
	if left := n.endpoint.AwaitOwed(ctx); left > 0 {
		n.logger.Info("no way was found in time to bring the last of connections that have ended",
			"connections", left)
	}
	n.life.pay()
}

// awaitLeave gives those who have been told that the node goes away time to end their sessions.
// What they had sent by then is served, where they have sent it to. A node that only passes on does
// not wait: those who are registered with it are to go elsewhere soon, and stay until then.
func (n *Node) awaitLeave(ctx context.Context) {
	if !n.config.ByName {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	n.endpoint.AwaitLeave(ctx)
}

// refuseLast has those who have come meanwhile, or are on their way, hear that the node goes away,
// in their sessions and in what they ask for: what Close cuts may be said nowhere else. Nothing is
// active any more, and nobody is led here.
func (n *Node) refuseLast(ctx context.Context) {
	n.endpoint.AdmitNone()
	n.endpoint.GoAway()
	n.endpoint.CloseFlows()
	n.awaitLeave(ctx)
	ctx, cancel := context.WithTimeout(ctx, lastAnswerTimeout)
	defer cancel()
	n.life.awaitAnswered(ctx)
}

// Go runs f on a goroutine that Close waits for. It reports false, and runs nothing, if the node
// has been closed.
func (n *Node) Go(f func()) bool { return n.life.run(f) }

// IsDraining tells whether Shutdown or Close has been called.
func (n *Node) IsDraining() bool { return !n.life.is(serving) }

// Draining returns a channel that is closed when Shutdown or Close has been called.
func (n *Node) Draining() <-chan struct{} { return n.life.leaves }

// Attach takes note of a way by which the node is reached, until detach is called, once: Shutdown
// waits for that. It fails once Unawaited.
func (n *Node) Attach() (detach func(), err error) {
	detach, ok := n.life.attach()
	if !ok {
		return nil, errDraining
	}
	return detach, nil
}

var errDraining = errors.New("this node is shutting down")

// Inactive returns a channel that is closed when the node is draining, and serves and owes nothing
// any more.
func (n *Node) Inactive() <-chan struct{} { return n.life.idle }

// KeepFound says that somebody keeps the node to be reached, and makes a way to it anew when one is
// lost, until end is called, once. When the node is draining and nobody does any more, connections
// that have lost their way to it end.
func (n *Node) KeepFound() (end func()) { return n.life.keep() }

// Unawaited returns a channel that is closed when nobody is on his way to the node any more: what
// it is reached by may be given up, and is not to be had again. That is when it is draining, or, if
// connections that come to it outlive their links, when it is Inactive: until then they may have
// lost their way.
func (n *Node) Unawaited() <-chan struct{} { return n.life.unawaited }

// IsAwaited tells whether somebody may be on his way to the node: see Unawaited.
func (n *Node) IsAwaited() bool { return n.life.isAwaited() }

// Done returns a channel that is closed when the node has been closed.
func (n *Node) Done() <-chan struct{} { return n.life.ctx.Done() }

// Logger returns where the node logs to.
func (n *Node) Logger() *slog.Logger { return n.logger }

// Trust returns what decides whom the node trusts.
func (n *Node) Trust() channel.Trust { return n.config.Channel.Trust }

// Identity returns who the node is, with the key that it has now.
func (n *Node) Identity() *identity.Identity {
	if c := &n.config.Channel; c.Current != nil {
		return c.Current()
	}
	return n.config.Channel.Identity
}

// Turnover returns how many times something that Begin counts, or a session, has begun or ended, a
// session's keys have been replaced, or a link to a secure channel has ended.
func (n *Node) Turnover() uint64 { return n.turnover.Load() }

// Connections returns how many of those are open.
func (n *Node) Connections() int { return n.life.activeNow() }

// Begin counts a connection that an application has made among what Shutdown waits for, and resets
// it when the node ends or nothing that is sent on it arrives, until the returned function is
// called, once. It fails while the node is draining and where a limit is reached.
func (n *Node) Begin(app Conn) (end func(), err error) {
	party := admission.BySource(n.source(app.RemoteAddr()))
	if err := n.begin(party); err != nil {
		return nil, err
	}
	n.links.watch(app)
	n.config.Channel.Activity.Begin()
	return func() {
		n.config.Channel.Activity.End()
		n.links.unwatch(app)
		n.end(party)
	}, nil
}

// begin counts something active for a party, until end is called with the same.
func (n *Node) begin(p admission.Party) error {
	if !n.life.begin() {
		return Refuse(wire.GoingAway, "")
	}
	if err := n.admission.Begin(p); err != nil {
		n.life.end()
		return Refuse(wire.Busy, err.Error())
	}
	n.turn()
	requestsOpen.Inc()
	return nil
}

func (n *Node) end(p admission.Party) {
	n.turn()
	requestsOpen.Dec()
	n.admission.End(p)
	n.life.end()
}

// turn counts that something has begun or ended.
func (n *Node) turn() {
	n.turnover.Add(1)
	select {
	case n.config.Turned <- struct{}{}:
	default: // nobody wants to know, or has not looked since
	}
}

// source says where a peer is, for limits.
func (n *Node) source(peer net.Addr) admission.Source { return n.transports.Source(peer) }
