package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/handed"
)

// Named is one of several configurations of a process.
type Named struct {
	// Name tells it from the others, in the log, in events and in Status.
	Name   string
	Config config.Config
}

// Change is what becomes of configurations, by their names.
type Change struct{ New, Changed, Gone []string }

// IsEmpty tells whether all stay as they are.
func (c Change) IsEmpty() bool { return len(c.New)+len(c.Changed)+len(c.Gone) == 0 }

// LogValue implements slog.LogValuer.
func (c Change) LogValue() slog.Value {
	var all []slog.Attr
	for _, part := range []struct {
		what  string
		names []string
	}{{"new", c.New}, {"changed", c.Changed}, {"gone", c.Gone}} {
		if len(part.names) > 0 {
			all = append(all, slog.Any(part.what, part.names))
		}
	}
	return slog.GroupValue(all...)
}

// unit is what runs of one configuration.
type unit struct {
	name    string
	config  config.Config
	site    *site
	portals []*running
}

// step is what is to be done about one configuration.
type step struct {
	name   string
	config config.Config
	old    *unit // nil: nothing of it runs
	site   *site // nil: it is to go
	plan   []*running
}

// isNewSite tells whether the step's site is to take the place of another, or is the first.
func (s *step) isNewSite() bool { return s.site != nil && (s.old == nil || s.old.site != s.site) }

// Apply changes the daemon from the configuration that it runs to next, which must not be
// changed afterwards.
//
// A portal that is the same in both goes on untouched, connections, listener and claims
// included; so do the listener and the claims of an outlet of which only the target is another.
// What is gone, or different, takes no new connections any more, and the open ones have as long
// to finish as Node.Drain says; Apply does not wait for that. What is new is started as by
// Start; where it listens at the address of something that has gone, it has that one's listener,
// and nobody is refused in between. Another node, but for its Drain and what it says of memory,
// means that all is different: the old node says at once that it is going away. A claim that is
// made on other terms is given up at once, with what goes through it.
//
// If next is not valid, or its node cannot be made, nothing changes. If a portal cannot be
// started, the others run nevertheless, Status says which one does not, and Apply returns why;
// applying the same configuration again tries again.
func (d *Daemon) Apply(ctx context.Context, next config.Config) error {
	_, err := d.apply(ctx, []Named{{Config: next}}, false)
	return err
}

// ApplyAll is Apply for several configurations, whose names are different, and does all of it or
// nothing. What can be tried is tried before anything is touched: nodes and their files, ports and
// sockets that are listened at, and what Options.Confine has left. If something fails even so,
// those that it has changed are started again as they were, and what was open through them has its
// time to finish. It returns what has been changed.
func (d *Daemon) ApplyAll(ctx context.Context, next []Named) (Change, error) {
	return d.apply(ctx, next, true)
}

// Try returns what ApplyAll would change, and why it would refuse, as far as that can be known. It
// changes nothing, and makes no key file.
func (d *Daemon) Try(ctx context.Context, next []Named) (Change, error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	change := d.changeTo(next)
	var withKey []Named
	for _, n := range next {
		files, err := filesOf(n.Config)
		if err == nil {
			err = errors.Join(n.Config.Validate(), d.kept.allow(n.Config, files))
		}
		if err != nil {
			return change, about(n.Name, err)
		}
		if _, err := os.Stat(files.key); !errors.Is(err, fs.ErrNotExist) {
			withKey = append(withKey, n)
		}
	}
	steps, err := d.prepareLocked(ctx, withKey, false)
	if err == nil {
		err = tryListening(ctx, d.allUnits(), next)
	}
	d.discard(steps)
	return change, err
}

func (d *Daemon) apply(ctx context.Context, next []Named, whole bool) (Change, error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.busy, cancel)()
	defer d.sayUnused() // when what has been held is free
	defer d.sockets.Hold()()
	change := d.changeTo(next)
	steps, err := d.prepareLocked(ctx, next, whole)
	if err != nil {
		return Change{}, err
	}
	before := d.allUnits()
	err = d.carryOut(ctx, steps)
	if err != nil && whole {
		d.options.Logger.Warn("going back to what ran before", "error", err)
		d.goBackLocked(ctx, before)
		change = Change{}
	}
	d.announce()
	return change, err
}

// sayUnused tells of sockets that nobody serves: who connects there is not even refused.
func (d *Daemon) sayUnused() {
	if unused := handed.Unused(); len(unused) > 0 {
		d.options.Logger.Warn("sockets were handed to this process at which nothing listens: "+
			"who connects there waits", "names", unused)
	}
}

// goBackLocked has what ran before run again.
func (d *Daemon) goBackLocked(ctx context.Context, before []*unit) {
	var all []Named
	for _, u := range before {
		all = append(all, Named{u.name, u.config})
	}
	steps, err := d.prepareLocked(ctx, all, false)
	if err == nil {
		err = d.carryOut(ctx, steps)
	}
	if err != nil {
		d.options.Logger.Error("not all of what ran before runs again", "error", err)
	}
}

// changeTo compares what runs with what is to run.
func (d *Daemon) changeTo(next []Named) (c Change) {
	units := d.allUnits()
	for _, n := range next {
		old := unitOf(units, n.Name)
		switch {
		case old == nil:
			c.New = append(c.New, n.Name)
		case !isSame(old.config, n.Config):
			c.Changed = append(c.Changed, n.Name)
		}
	}
	for _, u := range units {
		if !slices.ContainsFunc(next, func(n Named) bool { return n.Name == u.name }) {
			c.Gone = append(c.Gone, u.name)
		}
	}
	return c
}

// isSame tells whether two configurations are, but for what they say of the process's memory.
func isSame(a, b config.Config) bool {
	for _, c := range []*config.Config{&a, &b} {
		c.Node.SurviveMemory, c.Node.Limits.Memory = "", ""
	}
	return keyOf("", a) == keyOf("", b)
}

func unitOf(units []*unit, name string) *unit {
	for _, u := range units {
		if u.name == name {
			return u
		}
	}
	return nil
}

// prepareLocked says what is to be done, and makes the nodes that it takes. It touches nothing that
// runs. An error is that something of it cannot be done; if whole is set, all is tried that can be.
func (d *Daemon) prepareLocked(
	ctx context.Context, next []Named, whole bool,
) (steps []*step, err error) {
	if d.closed {
		return nil, ErrClosed
	}
	for _, n := range next {
		if err := n.Config.Validate(); err != nil {
			return nil, about(n.Name, err)
		}
	}
	defer func() {
		if err != nil {
			d.discard(steps)
			steps = nil
		}
	}()
	units := d.allUnits()
	for _, n := range next {
		s, err := d.prepareOne(n, unitOf(units, n.Name))
		if err != nil {
			return steps, about(n.Name, err)
		}
		steps = append(steps, s)
	}
	for _, u := range units {
		if !slices.ContainsFunc(steps, func(s *step) bool { return s.name == u.name }) {
			steps = append(steps, &step{name: u.name, old: u})
		}
	}
	if whole {
		return steps, tryListening(ctx, units, next)
	}
	return steps, nil
}

// about says of which configuration an error is, where there are several.
func about(name string, err error) error {
	if name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (d *Daemon) prepareOne(n Named, old *unit) (*step, error) {
	files, err := filesOf(n.Config)
	if err != nil {
		return nil, err
	}
	if err := d.kept.allow(n.Config, files); err != nil {
		return nil, err
	}
	if old == nil || !isSame(old.config, n.Config) {
		if err := tryTargetTLS(n.Config); err != nil {
			return nil, err
		}
	}
	s := &step{name: n.Name, config: n.Config, old: old}
	if old != nil && old.site.selfFiles == files && sameNode(old.site.config, n.Config.Node) {
		s.site = old.site
	} else if s.site, err = d.newSite(n, files); err != nil {
		return nil, err
	}
	s.plan = s.site.plan(n.Config)
	return s, nil
}

// discard ends the nodes that have been made for steps that are not done.
func (d *Daemon) discard(steps []*step) {
	for _, s := range steps {
		if !s.isNewSite() {
			continue
		}
		if err := s.site.close(); err != nil {
			d.options.Logger.Debug("a node that is not needed", "error", err)
		}
		d.mu.Lock()
		delete(d.sites, s.site)
		d.mu.Unlock()
	}
}

// carryOut does what has been prepared. It takes away first, so that what is new can have the
// addresses. An error is that something could not be started; all else runs.
func (d *Daemon) carryOut(ctx context.Context, steps []*step) error {
	var outdated []*site
	for i, s := range steps {
		if s.site != nil && i == 0 {
			d.memory.share(s.config.Node) // which is the same in all
		}
		if s.isNewSite() {
			s.site.tryOut(s.config)
		}
		if s.old != nil && s.old.site != s.site {
			s.old.site.stopListening()
			outdated = append(outdated, s.old.site)
		}
		if s.site == nil {
			continue
		}
		outlets := s.config.Outlets // and not a pointer into s, which has what ran before
		s.site.outlets.Store(&outlets)
		s.site.drain.Store(int64(s.config.Node.DrainTime()))
		d.watchNetwork(s.config)
		d.takeAway(s)
	}
	err := d.startAll(ctx, steps)
	var units []*unit
	for _, s := range steps {
		if s.site != nil {
			units = append(units, &unit{s.name, s.config, s.site, s.plan})
		}
	}
	d.mu.Lock()
	d.units = units
	d.mu.Unlock()
	for _, s := range outdated {
		d.drainSite(s)
	}
	return err
}

// takeAway has nothing new come in by what is not planned any more, and lets it end in its time.
func (d *Daemon) takeAway(s *step) {
	gone := s.site.withoutPlanned(s.plan)
	for _, p := range gone {
		if v, ok := p.(*service); ok && isPlanned(s.plan, serviceKey(v.config.ServiceName())) {
			continue // the other takes its place, and nobody is refused in between
		}
		p.withdraw()
	}
	for _, p := range gone {
		if r, ok := p.(*registration); ok && isPlanned(s.plan, claimKey(r.relay, r.config.Name)) {
			r.end(endedContext()) // two claims of one name would take it from each other
			continue
		}
		d.drains.Go(func() {
			ctx, cancel := context.WithTimeout(d.life, s.site.drainTime())
			defer cancel()
			p.end(ctx)
		})
	}
}

// startAll starts what is planned and does not run, of all configurations at the same time: one
// that has to wait for somebody keeps no other one waiting.
func (d *Daemon) startAll(ctx context.Context, steps []*step) error {
	var starting sync.WaitGroup
	errs := make([]error, len(steps))
	for i, s := range steps {
		if s.site == nil {
			continue
		}
		starting.Go(func() {
			for j, p := range s.plan {
				s.plan[j] = known(s, p)
				if err := s.site.begin(ctx, s.plan[j]); err != nil {
					errs[i] = errors.Join(errs[i], about(s.name, err))
				}
			}
		})
	}
	starting.Wait()
	return errors.Join(errs...)
}

// known returns the portal that runs and is equal to p, or p.
func known(s *step, p *running) *running {
	if s.old == nil {
		return p
	}
	for _, other := range s.old.portals {
		if other.site == s.site && other.key == p.key {
			return other
		}
	}
	return p
}

// newSite makes the site of a node that is who files say. It is looked after from now on.
func (d *Daemon) newSite(n Named, files selfFiles) (*site, error) {
	o := d.options
	if n.Name != "" {
		o.Logger = o.Logger.With("portal", n.Name)
	}
	s, err := newSite(n.Config.Node, files, o, d.turned, d.sockets.Of(n.Name))
	if err != nil {
		return nil, err
	}
	defer d.files.Again()
	s.open.idle = &d.idle
	s.name, s.changed, s.instance = n.Name, d.announce, d.instance
	s.notify = func(e Event) {
		e.Config = n.Name
		d.notify(e)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sites[s] = struct{}{}
	return s, nil
}

func longestDrain(units []*unit) (longest time.Duration) {
	for _, u := range units {
		longest = max(longest, u.site.drainTime())
	}
	return longest
}

// shutdownAll has all sites shut down at the same time, each for as long as its own drain time
// says, at most until ctx ends.
func shutdownAll(ctx context.Context, units []*unit) error {
	var tasks sync.WaitGroup
	errs := make([]error, len(units))
	for i, u := range units {
		tasks.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, u.site.drainTime())
			defer cancel()
			errs[i] = u.site.shutdown(ctx)
		})
	}
	tasks.Wait()
	return errors.Join(errs...)
}
