// Package daemon runs a configuration: the node and the portals that package config describes.
//
// Start begins all of it, Apply changes what is different in another configuration and leaves
// the rest alone, Shutdown lets open connections finish. In between the daemon keeps what the
// portals need: it reads lists, credentials and the key again when their files change, notices that
// the network is another one, tells systemd how it does, and returns memory to the system after a
// burst.
//
// What the portals of a process share. There is one identity, one set of credentials, one
// policy of trust and one memory of known histories. Inlets and outlets are on one node: they
// share its limits and its sessions, and a link that comes in by the entrance of any outlet
// reaches all outlets, each by its service name. Two outlets that listen at the same address
// share the listener, and two that claim the same name on the same relay share the claim. An
// inlet does not reach an outlet of its own process: a route that comes back to a node is a
// loop.
//
// What they do not share. A relay and a bridge have a node of their own each, since they carry
// connections for whoever comes, and have their own limits. A claim on a relay is made by a
// node of its own, for that one trusts the relay's identity, and the others those of the
// clients.
//
// The package never prints, exits, or takes over signals.
package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/filewatch"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route/relay"
)

// Options say how a daemon talks to the process that it is in. The zero value only logs.
type Options struct {
	// Logger gets what happens. Nil means slog.Default.
	Logger *slog.Logger

	// Hint says what to do about an error, for the log. An empty hint, and nil, say nothing.
	Hint func(err error) string

	// Notify is told what happens to portals, one event at a time. It must not call Apply,
	// Shutdown or Close. Nil is told nothing.
	Notify func(Event)

	// Waiting is told what Shutdown waits for when it begins to. Nil is told nothing.
	Waiting func(Waiting)

	// Stdio makes the connection that an inlet, or an outlet whose target it is, at config.Stdio
	// carries. It is called once at most for each, which closes it.
	Stdio func() net.Conn

	// Confine has the process give up what it does not need, once the start is done: see package
	// confine. It cannot be undone, and concerns everything else in the process; a configuration
	// that Apply makes the daemon run later has to do with what the first one needs. It is for
	// processes that do nothing else.
	Confine bool

	// Files are those that the process writes or removes later, besides the daemon's own.
	Files []string

	// Metrics says where the process tells how it does, and Version which program that is.
	Metrics config.Metrics
	Version string

	// RemoveIn are folders of which Confine lets files be removed, and WriteIn are those in which it
	// lets files be made and written as well.
	RemoveIn, WriteIn []string

	// LogConnections says of which connections the log has a line when they end.
	LogConnections portal.LogPolicy

	// Audit has a line logged when a session with somebody who is trusted begins, and when it ends.
	Audit bool
}

// EventKind is what has happened to a portal.
type EventKind int

// The kinds of Event.
const (
	// Ready is the first time that a portal can be used: an inlet has an open route, an outlet
	// can be reached by one of its entrances, a relay or a bridge listens.
	Ready EventKind = iota + 1
	// Redeemed is that an outlet has taken the node's ticket from an inlet.
	Redeemed
	// Ended is that the one connection has ended of an inlet or an outlet that is for one.
	Ended
	// Idle is that no connection of an inlet or an outlet has been open for Config.IdleExit, as the
	// daemon was started with it. It is of no portal.
	Idle
)

// Event is something that has happened to a portal.
type Event struct {
	Kind       EventKind
	Identifier identity.Identifier // the node's
	Portal     PortalStatus
	Err        error // of Ended: nil if the connection was carried to its end
}

// ErrClosed is the error of a daemon that has been shut down.
var ErrClosed = errors.New("the daemon has been shut down")

// Daemon runs a configuration. It is safe for concurrent use.
type Daemon struct {
	options  Options        // set once
	memory   memory         // set once: it cannot be looked up once the process is confined
	instance relay.Instance // set once; on relays, a site takes over from the one before
	files    *filewatch.Watcher
	watchers watchers      // set once
	began    time.Time     // set once
	turned   chan struct{} // gets something when a connection has begun or ended

	busy   context.Context // ends when Shutdown or Close begins
	rest   context.CancelFunc
	life   context.Context // ends when nothing is waited for any more
	stop   context.CancelFunc
	tasks  sync.WaitGroup // upkeep
	drains sync.WaitGroup // of what Apply has taken away

	changing sync.Mutex // held while a configuration is applied, or ended
	closed   bool       // guarded by changing
	watching bool       // the network; guarded by changing

	idle idleness

	notifying sync.Mutex // held while Notify is called

	mu      sync.Mutex // guards what follows
	started bool       // before that, nothing is told to be ready
	site    *site
	sites   map[*site]struct{} // that one, and those that are being drained
	portals []*running
}

// Start runs c, which must not be changed afterwards. It returns when all portals have been
// started, which does not mean that they are ready; if one cannot be, none is. ctx bounds the
// start, and not what has been started.
func Start(ctx context.Context, c config.Config, o Options) (*Daemon, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	instance, err := relay.NewInstance()
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		options: o, instance: instance, began: time.Now(),
		turned: make(chan struct{}, 1), sites: make(map[*site]struct{}),
	}
	d.files = filewatch.NewWatcher(d.allFiles, d.rereadChanged)
	d.busy, d.rest = context.WithCancel(context.Background())
	d.life, d.stop = context.WithCancel(context.Background())
	d.tasks.Go(func() { d.files.Run(d.life) })
	d.tasks.Go(func() { freeMemory(d.busy, d.turned, d.turnover) })
	d.tasks.Go(func() { feedWatchdog(d.life) })
	d.memory = availableMemory("/")
	if err := d.tellMetrics(ctx); err != nil {
		_ = d.Close()
		return nil, err
	}
	if err := d.Apply(ctx, c); err != nil {
		_ = d.Close()
		return nil, err
	}
	if o.Confine {
		d.confine(c)
	}
	if c.IdleExit > 0 {
		d.idle.watch(c.IdleExit, func() { d.notify(Event{Kind: Idle}) })
	}
	d.mu.Lock()
	d.started = true
	d.mu.Unlock()
	d.announce()
	return d, nil
}

// Apply changes the daemon from the configuration that it runs to next, which must not be
// changed afterwards.
//
// A portal that is the same in both goes on untouched, connections, listener and claims
// included; so do the listener and the claims of an outlet of which only the target is another.
// What is gone, or different, takes no new connections any more, and the open ones have as long
// to finish as Node.Drain says; Apply does not wait for that. What is new is started as by
// Start; where it listens at the address of something that has gone, connections are refused for
// a moment in between. Another node, but for its Drain, means that all is different: the old
// node says at once that it is going away. A claim that is made on other terms is given up at
// once, with what goes through it.
//
// If next is not valid, or its node cannot be made, nothing changes. If a portal cannot be
// started, the others run nevertheless, Status says which one does not, and Apply returns why;
// applying the same configuration again tries again.
func (d *Daemon) Apply(ctx context.Context, next config.Config) error {
	if err := next.Validate(); err != nil {
		return err
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.closed {
		return ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.busy, cancel)()
	files, err := filesOf(next)
	if err != nil {
		return err
	}
	old := d.current()
	s := old
	if old == nil || old.selfFiles != files || !sameNode(old.config, next.Node) {
		if s, err = d.newSite(next.Node, files); err != nil {
			return err
		}
		s.tryOut(next)
	}
	s.outlets.Store(&next.Outlets)
	s.drain.Store(int64(next.Node.DrainTime()))
	if old != nil && old != s {
		old.stopListening()
		defer d.drainSite(old)
	}
	d.watchNetwork(next)
	err = d.change(ctx, s, s.plan(next))
	d.announce()
	return err
}

// change has a site's parts be those of a plan.
func (d *Daemon) change(ctx context.Context, s *site, planned []*running) error {
	gone := s.withoutPlanned(planned)
	for _, p := range gone {
		if v, ok := p.(*service); ok && isPlanned(planned, serviceKey(v.config.Service)) {
			continue // the other takes its place, and nobody is refused in between
		}
		p.withdraw()
	}
	for _, p := range gone {
		if r, ok := p.(*registration); ok && isPlanned(planned, claimKey(r.relay, r.config.Name)) {
			r.end(endedContext()) // two claims of one name would take it from each other
			continue
		}
		d.drains.Go(func() {
			ctx, cancel := context.WithTimeout(d.life, s.drainTime())
			defer cancel()
			p.end(ctx)
		})
	}
	var errs []error
	for i, p := range planned {
		planned[i] = d.known(s, p)
		if err := s.begin(ctx, planned[i]); err != nil {
			errs = append(errs, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.site, d.portals = s, planned
	return errors.Join(errs...)
}

// known returns the portal that runs and is equal to p, or p.
func (d *Daemon) known(s *site, p *running) *running {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, other := range d.portals {
		if other.site == s && other.key == p.key {
			return other
		}
	}
	return p
}

// newSite makes the site of a node that is who files say. It is looked after from now on.
func (d *Daemon) newSite(n config.Node, files selfFiles) (*site, error) {
	d.memory.share(n)
	s, err := newSite(n, files, d.options, d.turned)
	if err != nil {
		return nil, err
	}
	defer d.files.Again()
	s.changed, s.notify, s.instance = d.announce, d.notify, d.instance
	s.open.idle = &d.idle
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sites[s] = struct{}{}
	return s, nil
}

// drainSite ends a site that another has taken the place of, in its time.
func (d *Daemon) drainSite(s *site) {
	d.drains.Go(func() {
		ctx, cancel := context.WithTimeout(d.life, s.drainTime())
		defer cancel()
		if err := s.shutdown(ctx); err != nil {
			d.options.Logger.Warn("the node before", "error", err)
		}
		s.close()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.sites, s)
	})
}

func (d *Daemon) current() *site {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.site
}

// Identifier is the node's.
func (d *Daemon) Identifier() identity.Identifier { return d.current().self.Identifier() }

// Shutdown takes no new connections, tells the far ends so, and waits until the open ones have
// ended, for as long as Node.Drain says. Then it ends everything, as Close does.
func (d *Daemon) Shutdown() error {
	d.rest()
	d.changing.Lock()
	defer d.changing.Unlock()
	s := d.current()
	if d.closed || s == nil {
		return d.endLocked()
	}
	d.sayWaiting(d.waiting(s.drainTime()))
	notifyStopping()
	s.stopListening()
	ctx, cancel := context.WithTimeout(context.Background(), s.drainTime())
	defer cancel()
	err := s.shutdown(ctx)
	await(ctx, &d.drains)
	return errors.Join(err, d.endLocked())
}

// Close ends everything at once, and waits for it.
func (d *Daemon) Close() error {
	d.rest()
	d.changing.Lock()
	defer d.changing.Unlock()
	return d.endLocked()
}

func (d *Daemon) endLocked() error {
	if d.closed {
		return nil
	}
	d.closed = true
	d.idle.stop()
	d.watchers.end()
	d.rest()
	d.stop()
	var err error
	if s := d.current(); s != nil {
		s.stopListening()
		err = s.close()
	}
	d.drains.Wait()
	d.tasks.Wait()
	return err
}

// await returns when tasks have ended, or ctx has. Who calls it waits for tasks afterwards.
func await(ctx context.Context, tasks *sync.WaitGroup) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tasks.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// endedContext is for what is to end at once.
func endedContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// turnover counts what has begun or ended, whatever node it is on: see route.Node.Turnover.
func (d *Daemon) turnover() uint64 {
	var n uint64
	for _, s := range d.allSites() {
		n += s.turnover()
	}
	return n
}

func (d *Daemon) allSites() []*site {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]*site, 0, len(d.sites))
	for s := range d.sites {
		all = append(all, s)
	}
	return all
}

// allFiles are the files of all nodes.
func (d *Daemon) allFiles() (all []string) {
	for _, s := range d.allSites() {
		all = append(all, s.files()...)
	}
	return all
}

// rereadChanged keeps the files of all nodes and what was read from them the same.
func (d *Daemon) rereadChanged() {
	for _, s := range d.allSites() {
		s.reread(false)
	}
}

// Reload reads all files of the node again: lists, credentials and the key. Those that have
// changed are read without it, soon.
func (d *Daemon) Reload() {
	d.options.Logger.Info("reading all files again")
	for _, s := range d.allSites() {
		s.reread(true)
	}
}
