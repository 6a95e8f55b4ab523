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
// Several configurations. A process may run several, each under a name and with a node of its own:
// StartAll and ApplyAll. They share nothing but the process's files, memory and network, and one of
// them is changed without the others.
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
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/telemetry"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/filewatch"
	"github.com/secureportal/sp/internal/handed"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
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

	// Page makes what is shown to people where metrics are told. Nil is nothing.
	Page func(*Daemon) telemetry.Page

	// RemoveIn are folders of which Confine lets files be removed, and WriteIn are those in which it
	// lets files be made and written as well.
	RemoveIn, WriteIn []string

	// LogConnections says of which connections the log has a line when they end.
	LogConnections portal.LogPolicy

	// Changes has Confine keep what a configuration that comes later is likely to need: to listen
	// at any TCP port and to connect to any, and to read and write in these folders as well.
	// ApplyAll refuses what needs another folder. Nil is for who changes nothing.
	Changes *Folders

	// ReadyAtOnce has systemd told that the process is ready when all portals have been started:
	// among many, one whose far end is down keeps nobody waiting.
	ReadyAtOnce bool

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
	// TicketSpent is that Peer has presented a ticket of the node's identity to its outlets, which is
	// worth nothing any more, and is trusted or not. It is of no portal.
	TicketSpent
)

// Event is something that has happened to a portal.
type Event struct {
	Kind       EventKind
	Config     string              // the name of the portal's configuration
	Identifier identity.Identifier // the node's
	Peer       identity.Identifier // of TicketSpent
	Portal     PortalStatus
	Number     int   // of Ready: which of Status.Portals it is, from 0 on
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
	watchers watchers  // set once
	began    time.Time // set once
	sockets  *transport.Sockets
	turned   chan struct{} // gets something when a connection has begun or ended
	owed     chan struct{} // gets something when systemd has not taken that the daemon is ready

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
	units   []*unit
	sites   map[*site]struct{} // theirs, and those that are being drained

	told bool         // systemd, that the daemon is ready; guarded by notifying
	kept *keptFolders // what Confine has left; nil: everything; guarded by changing
}

// Start runs c, which must not be changed afterwards. It returns when all portals have been
// started, which does not mean that they are ready; if one cannot be, none is. ctx bounds the
// start, and not what has been started.
func Start(ctx context.Context, c config.Config, o Options) (*Daemon, error) {
	return StartAll(ctx, []Named{{Config: c}}, o)
}

// StartAll is Start for several configurations, whose names are different.
func StartAll(ctx context.Context, all []Named, o Options) (*Daemon, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	instance, err := relay.NewInstance()
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		options: o, instance: instance, began: time.Now(),
		sockets: transport.NewSockets(),
		turned:  make(chan struct{}, 1), sites: make(map[*site]struct{}),
		owed: make(chan struct{}, 1),
	}
	d.files = filewatch.NewWatcher(d.allFiles, d.rereadChanged)
	d.busy, d.rest = context.WithCancel(context.Background())
	d.life, d.stop = context.WithCancel(context.Background())
	d.tasks.Go(func() { d.files.Run(d.life) })
	d.tasks.Go(func() { freeMemory(d.busy, d.turned, d.turnover) })
	d.tasks.Go(func() { feedWatchdog(d.life) })
	d.tasks.Go(func() { d.insistReady(d.busy) })
	d.memory = availableMemory("/")
	if err := d.tellMetrics(ctx); err != nil {
		_ = d.Close()
		return nil, err
	}
	if _, err := d.apply(ctx, all, false); err != nil {
		_ = d.Close()
		return nil, err
	}
	if o.Confine {
		d.Confine()
	}
	if after := shortestIdle(all); after > 0 {
		d.idle.watch(after, func() { d.notify(Event{Kind: Idle}) })
	}
	d.mu.Lock()
	d.started = true
	d.mu.Unlock()
	d.announce()
	return d, nil
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

// current is the site of the first configuration, or nil.
func (d *Daemon) current() *site {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.units) == 0 {
		return nil
	}
	return d.units[0].site
}

func (d *Daemon) allUnits() []*unit {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.units)
}

// Identifier is the node's, and the first one's where there are several.
func (d *Daemon) Identifier() identity.Identifier { return d.current().self.Identifier() }

// Shutdown takes no new connections, tells the far ends so, and waits until the open ones have
// ended, for as long as Node.Drain says. Then it ends everything, as Close does.
func (d *Daemon) Shutdown() error {
	d.rest()
	d.changing.Lock()
	defer d.changing.Unlock()
	units := d.allUnits()
	if d.closed || len(units) == 0 {
		return d.endLocked()
	}
	limit := longestDrain(units)
	notifyStopping()
	for _, u := range units {
		u.site.stopListening()
	}
	handed.Close()                 // or connections would wait here for an end
	d.sayWaiting(d.waiting(limit)) // now: who reads it may have another listen there
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := shutdownAll(ctx, units)
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
	units := d.allUnits()
	for _, u := range units {
		u.site.stopListening()
	}
	var errs []error
	for _, u := range units {
		errs = append(errs, u.site.close())
	}
	d.drains.Wait()
	d.tasks.Wait()
	return errors.Join(errs...)
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
	defer d.Reloading()()
	d.Reread()
}

// Reread is Reload for who tells systemd himself.
func (d *Daemon) Reread() {
	d.options.Logger.Info("reading all files again")
	for _, s := range d.allSites() {
		s.reread(true)
	}
}
