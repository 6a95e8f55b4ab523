package route

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/wire"
)

// Times of links. Those a user may want to change are fields of Config.
const (
	DefaultConnectTimeout = 10 * time.Second       // for a TCP connection to be made
	openingTimeout        = 5 * time.Second        // for an opening message to arrive
	refuseTimeout         = time.Second            // for the asker to take a refusal
	refuseFlowTimeout     = time.Minute            // the same of one who is trusted: the link's next flow may be behind it
	refuseDrain           = 64 << 10               // bytes of the asker's that are thrown away meanwhile
	acceptPause           = 100 * time.Millisecond // after a listener could not accept
)

// linksAhead is how many links to one far end are made before somebody needs them, if there is the demand.
const linksAhead = 32

// Config is what a node is made of. It must not be changed once it is in use.
type Config struct {
	Channel channel.Config

	// Forward tells which transport addresses other nodes' messages may be forwarded to. Nil forwards nothing.
	Forward func(a wire.Address) bool

	// ConnectTimeout bounds the making of a TCP connection. 0 means DefaultConnectTimeout.
	ConnectTimeout time.Duration

	// Limits says how much the node takes on. The zero value is the defaults.
	Limits Limits

	// Hint says what to do about an error that keeps a route from being open or a claim from being made, for the log.
	// An empty hint, and nil, say nothing.
	Hint func(err error) string

	// Logger gets what happens on the node. Nil means slog.Default.
	Logger *slog.Logger
}

// Handler serves one request. The request's link is closed when it returns. An error is logged, and told to the asker
// if the request has been neither accepted nor refused: a *StatusError as it is, anything else without its text.
type Handler func(ctx context.Context, q *Request) error

// Node is one process's part in walking routes. It is safe for concurrent use.
type Node struct {
	config   Config
	logger   *slog.Logger
	endpoint *channel.Endpoint
	label    wire.Address // what it puts on return routes: random, new in each process

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	turnover  atomic.Uint64
	refused   logthrottle.Throttle
	short     logthrottle.Throttle
	strangers logthrottle.Flood

	mu       sync.Mutex
	services map[string]Service
	names    map[string]int // what the node has claimed on relays
	peerings map[string]*peering
	links    map[netio.Conn]struct{} // that end with the node; nil once it has been closed
	active   census                  // requests being served
	openings *openings
	inactive chan struct{}  // closed when nothing is active and the node is draining
	attached sync.WaitGroup // ways by which the node is reached
	draining bool
}

// Service is what a name on a node stands for.
type Service struct {
	Handler Handler
	Open    bool // to everybody who reaches the node, without a channel too
	Waits   bool // most of its life, for others: limits do not count it, and a shutdown does not wait
}

// NewNode returns a node that offers nothing yet. Close ends it.
func NewNode(config Config) (*Node, error) {
	config.Limits = config.Limits.withDefaults()
	n := &Node{
		config: config, logger: config.Logger,
		services: make(map[string]Service), names: make(map[string]int), peerings: make(map[string]*peering),
		links:  make(map[netio.Conn]struct{}),
		active: newCensus(), openings: newOpenings(config.Limits.Opening),
		inactive: make(chan struct{}),
	}
	n.config.Channel.Admit = n.admitHandshake(newBuckets(config.Limits.HandshakeRate, handshakeBurst*config.Limits.HandshakeRate))
	n.config.Channel.Ahead = linksAhead
	endpoint, err := channel.New(n.config.Channel)
	if err != nil {
		return nil, err
	}
	label := make([]byte, wire.LabelSize)
	if _, err := rand.Read(label); err != nil {
		return nil, err
	}
	n.endpoint = endpoint
	n.label = wire.Address{Kind: wire.Label, Name: string(label)}
	if n.logger == nil {
		n.logger = slog.Default()
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.tasks.Go(n.lookAfter)
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

// Handle offers a service to peers that come through a secure channel and are trusted.
func (n *Node) Handle(name string, h Handler) { n.Offer(name, Service{Handler: h}) }

// HandleOpen offers a service to everybody who reaches the node.
func (n *Node) HandleOpen(name string, h Handler) { n.Offer(name, Service{Handler: h, Open: true}) }

// Offer offers a service under a name, in place of one that had it before.
func (n *Node) Offer(name string, s Service) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.services[name] = s
}

// Withdraw stops offering a service. Requests that are being served go on.
func (n *Node) Withdraw(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.services, name)
}

// Claim says that the node goes by name, as well, for as long as the returned function has not been called. A peer
// that believes it has reached another name is refused.
func (n *Node) Claim(name string) (release func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[name]++
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.names[name]--; n.names[name] == 0 {
			delete(n.names, name)
		}
	}
}

func (n *Node) acceptName(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name == "" || n.names[name] > 0 {
		return nil
	}
	return fmt.Errorf("the peer was led here but wants %q", name)
}

// Renew has this node and the far ends of its sessions prove themselves anew, with what they have now to show.
func (n *Node) Renew() { n.endpoint.Renew() }

// Close ends everything at once, and waits for it.
func (n *Node) Close() error {
	n.cancel()
	n.mu.Lock()
	links := slices.Collect(maps.Keys(n.links))
	n.links = nil
	n.mu.Unlock()
	err := n.endpoint.Close()
	for _, c := range links {
		_ = netio.Reset(c)
	}
	n.tasks.Wait()
	return err
}

// Go runs f on a goroutine that Close waits for. It reports false, and runs nothing, if the node
// has been closed.
func (n *Node) Go(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.links == nil {
		return false
	}
	n.tasks.Go(f)
	return true
}

// Shutdown tells the nodes that have sessions with this one, refuses new requests, waits until those being served have
// ended or ctx has, and closes the node.
func (n *Node) Shutdown(ctx context.Context) error {
	n.mu.Lock()
	if !n.draining {
		n.draining = true
		if n.active.all == 0 {
			close(n.inactive)
		}
	}
	n.mu.Unlock()
	n.endpoint.Announce()
	select {
	case <-n.inactive:
		n.awaitDetached(ctx)
	case <-ctx.Done():
		n.mu.Lock()
		cut := n.active.all
		n.mu.Unlock()
		n.logger.Warn("open connections have had their time, and are cut", "connections", cut)
	}
	return n.Close()
}

// IsDraining tells whether Shutdown has been called.
func (n *Node) IsDraining() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.draining
}

// Attach takes note of a way by which the node is reached, until detach is called, once: Shutdown
// waits for that. It fails while the node is draining.
func (n *Node) Attach() (detach func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.draining {
		return nil, errDraining
	}
	n.attached.Add(1)
	return n.attached.Done, nil
}

// Inactive returns a channel that is closed when the node is draining and serves nothing any more.
func (n *Node) Inactive() <-chan struct{} { return n.inactive }

// Done returns a channel that is closed when the node has been closed.
func (n *Node) Done() <-chan struct{} { return n.ctx.Done() }

// Logger returns where the node logs to.
func (n *Node) Logger() *slog.Logger { return n.logger }

// Trust returns what decides whom the node trusts.
func (n *Node) Trust() channel.Trust { return n.config.Channel.Trust }

// GoAway tells the far ends of some sessions that this node is going away, if that has not been
// done.
func (n *Node) GoAway(which func(*channel.Session) bool) { n.endpoint.AnnounceTo(which) }

// Quit ends some sessions in good order, and does not wait for that.
func (n *Node) Quit(which func(*channel.Session) bool) { n.endpoint.Quit(which) }

var errDraining = errors.New("this node is shutting down")

// awaitDetached returns when all that was attached is detached, or ctx has ended: what came by it
// may have last bytes on the way.
func (n *Node) awaitDetached(ctx context.Context) {
	ended := make(chan struct{})
	waiting := n.Go(func() {
		n.attached.Wait()
		close(ended)
	})
	if !waiting {
		return
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// Begin counts a connection that an application has made among what Shutdown waits for, and resets it when the node ends
// or nothing that is sent on it arrives, until the returned function is called, once. It fails while the node is draining
// and where a limit is reached.
func (n *Node) Begin(app Conn) (end func(), err error) {
	from := sourceOf(app.RemoteAddr())
	if err := n.begin(from, false); err != nil {
		return nil, err
	}
	n.watch(app)
	return func() {
		n.unwatch(app)
		n.end(from)
	}, nil
}

// begin counts what an identity.Identifier or a source asks for, until end is called with the same. stranger tells that
// nothing else is known of who asks.
func (n *Node) begin(key any, stranger bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.draining {
		return Refuse(wire.GoingAway, "")
	}
	limits := n.config.Limits
	if stranger {
		limits = limits.forStranger(n.active.by[key])
	}
	if err := n.active.admit(limits, key); err != nil {
		return err
	}
	n.turnover.Add(1)
	return nil
}

func (n *Node) end(key any) {
	n.turnover.Add(1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.active.leave(key); n.active.all == 0 && n.draining {
		close(n.inactive)
	}
}

// Turnover returns how many times something that Begin counts has begun or ended.
func (n *Node) Turnover() uint64 { return n.turnover.Load() }

// Serve accepts links on l until ctx or the node ends, and closes l. The links themselves live as long as the node.
func (n *Node) Serve(ctx context.Context, l net.Listener) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	stopNode := context.AfterFunc(n.ctx, func() { _ = l.Close() })
	defer stopNode()
	defer l.Close()
	Accept(ctx, l, n.logger, func(c net.Conn) {
		conn := netio.Wrap(c)
		l := n.beginOpening(conn)
		if l == nil || !n.Go(func() { n.serveLink(conn, l) }) {
			_ = netio.Reset(conn)
		}
	})
}

// beginOpening gives a link that has not said what it wants yet a place, or returns nil.
func (n *Node) beginOpening(conn netio.Conn) *place {
	now := time.Now()
	n.mu.Lock()
	l, displaced, err := n.openings.admit(conn, now)
	n.mu.Unlock()
	switch {
	case err != nil && n.refused.Due(now):
		n.logger.Warn("refusing links: too many that nothing is known of", "peer", conn.RemoteAddr(), "error", err)
	case displaced != nil && n.refused.Due(now):
		n.logger.Warn("cutting links: too many that nothing is known of", "peer", displaced.conn.RemoteAddr())
	}
	if displaced != nil {
		_ = netio.Reset(displaced.conn)
	}
	return l
}

func (n *Node) endOpening(l *place) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.openings.leave(l)
}

// enterProven takes note that somebody trusted has come from a source, until leaveProven is called with it.
func (n *Node) enterProven(from source) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.openings.proven.enter(from)
}

func (n *Node) leaveProven(from source) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.openings.proven.leave(from, time.Now())
}

// admitHandshake returns what decides whether a handshake with somebody at an address may begin.
func (n *Node) admitHandshake(b *buckets) func(net.Addr) error {
	return func(from net.Addr) error {
		if b.take(sourceOf(from), time.Now()) {
			return nil
		}
		return errTooManyHandshakes
	}
}

var errTooManyHandshakes = errors.New("too many handshakes from there")

// Accept hands the connections that come in on l to handle until l is closed, which who ends ctx must see to. That it cannot accept for a while, as
// when descriptors are short, it waits out, and logs now and then.
func Accept(ctx context.Context, l net.Listener, logger *slog.Logger, handle func(net.Conn)) {
	var failing logthrottle.Throttle
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			handle(c)
		case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF), ctx.Err() != nil:
			return
		default:
			if failing.Due(time.Now()) {
				logger.Warn("cannot accept connections, and goes on trying", "error", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
		}
	}
}
