// Package directory makes the relays of many sets one: a name that is held in another set is looked
// up there, over a bus that all of them reach, and links are passed on to where it is held. No link
// ever goes over the bus. A relay whose bus is down goes on as one of its set.
//
// Who holds a name listens on its subject, and answers with what the outlet has signed for that
// very question: where nobody listens, the bus says so at once. Nothing is stored anywhere but for
// the answers, a minute at most (package sets).
package directory

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/internal/tokenbucket"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/route/relay/sets"
)

// Limits of what others may have this relay do.
const (
	maxAsking    = 256  // names that are asked for at once
	maxAnswering = 256  // questions that are answered at once
	maxSources   = 4096 // that are told apart
	maxHolders   = 3    // relays of other sets that are tried for a link
)

// How often somebody may have the bus asked for names that are not known, how often all together,
// and how often a name's outlet is asked to sign.
var (
	sourceRate  = tokenbucket.Rate{PerSecond: 10, Burst: 50}
	totalRate   = tokenbucket.Rate{PerSecond: 1000, Burst: 1000}
	answerRate  = tokenbucket.Rate{PerSecond: 20, Burst: 40}
	errTooOften = errors.New("too many names are looked up")
)

var (
	directories = metrics.NewGauge("directories",
		"directories that this process has, whether it is connected with them or not")
	directoryUp = metrics.NewGauge("directory_up",
		"directories that this process is connected with")
)

// Set is the relay's own set, which has what is claimed here. mesh.Mesh is one.
type Set interface {
	relay.Directory

	// Record is what is known of whose a name is. Names are those of which anything is.
	Record(name string) (set.Record, bool)
	Names() []string
	// Speaks tells whether this node speaks for its set of whose a name is.
	Speaks(name string) bool
	// Hear takes in what another set says of that, whose speaker decides between claims that came too
	// soon after each other, or else this one does. It reports whether that one is to be answered.
	Hear(from set.NodeID, judged bool, r set.Record) (answer bool)
	// Changed returns a channel that is closed when the list of nodes has changed.
	Changed() <-chan struct{}
}

// Config is what a Directory is made of.
type Config struct {
	Set  Set
	Bus  Bus
	Self identity.Identifier
	// Addresses returns where this relay is for others: nowhere as long as it has none.
	Addresses func() []route.Address
	Logger    *slog.Logger
	// Go runs f, unless the relay has ended, and the relay's end waits for it.
	Go func(f func()) bool
}

// Directory is the directory of a relay that finds names in other sets as well.
type Directory struct {
	Set
	config Config
	id     set.NodeID

	life context.Context // ends with Run
	stop context.CancelFunc

	// Parts, each of which has a lock of its own.
	finder  finder
	holding holding
	owning  owning

	mu     sync.Mutex // guards what follows
	state  State      // of the bus
	since  time.Time
	outage logthrottle.Outage
}

var _ relay.Directory = (*Directory)(nil)

// New returns the directory of a relay. Run has it follow the bus and the set.
func New(c Config) *Directory {
	d := &Directory{
		Set: c.Set, since: time.Now(), config: c, id: set.NodeIDOf(c.Self),
	}
	d.life, d.stop = context.WithCancel(context.Background())
	d.finder = finder{
		known: sets.NewKnown(0), asking: make(map[string]*asking),
		sources: make(map[string]*tokenbucket.Bucket),
	}
	d.holding = holding{names: make(map[string]*held)}
	d.owning = newOwning()
	return d
}

// Claim implements relay.Directory. Whose a name is that the set knows nothing of is asked of the
// others first.
func (d *Directory) Claim(ctx context.Context, l *relay.Lease) (release func(), err error) {
	d.askOwner(ctx, l.Name())
	giveBack, err := d.Set.Claim(ctx, l)
	if err != nil {
		return nil, err
	}
	stop := d.hold(l.Name())
	return func() {
		stop()
		giveBack()
	}, nil
}

// Lookup implements relay.Directory. Where this relay is asked for a name that is not here, it is
// passed on to who is known to hold it, to its homes in the set, and to whom the bus knows.
func (d *Directory) Lookup(ctx context.Context, name string) (relay.Answer, error) {
	a, err := d.Set.Lookup(ctx, name)
	if err != nil || a.Where == relay.Here {
		return a, err
	}
	claims, nobody := d.finder.knows(name)
	known := d.routes(name, claims)
	a.Likely = len(known) > 0
	for _, to := range a.Routes {
		if !slices.ContainsFunc(known, func(k route.Route) bool { return slices.Equal(k, to) }) {
			known = append(known, to)
		}
	}
	a.Routes = known
	if !nobody {
		a.More = func(ctx context.Context, source string) ([]route.Route, error) {
			return d.find(ctx, name, source)
		}
	}
	if len(a.Routes) == 0 && a.More == nil {
		return relay.Answer{}, nil
	}
	a.Where = relay.PassOn
	a.Failed = func(to route.Route, err error) { d.finder.failed(name, to, err) }
	return a, nil
}

// routes are those to the relays of some claims of a name's, which are not this one: to the best
// address of each of them, then to the second one of each, and last to those that have failed.
func (d *Directory) routes(name string, claims []sets.Claim) []route.Route {
	own := d.config.Addresses()
	var good, failed []route.Route
	var meant [][]route.Address          // by claim, what no other one has
	seen := make(map[route.Address]bool) // several may hold a name on one relay
	for _, c := range claims {
		if c.Relay == d.config.Self || len(meant) == maxHolders {
			continue
		}
		at := slices.DeleteFunc(slices.Clone(c.Addresses), func(a route.Address) bool {
			skip := seen[a] || !isMeant(a, own)
			seen[a] = true
			return skip
		})
		if len(at) > 0 {
			meant = append(meant, at)
		}
	}
	d.finder.mu.Lock()
	defer d.finder.mu.Unlock()
	now := time.Now()
	for rank := range sets.MaxAddresses {
		for _, at := range meant {
			switch {
			case rank >= len(at):
			case d.finder.known.Shunned(now, name, at[rank]):
				failed = append(failed, route.Route{at[rank]})
			default:
				good = append(good, route.Route{at[rank]})
			}
		}
	}
	return append(good, failed...)
}

// Run follows the bus and the set until ctx ends, and returns when all that it has started has
// ended, but for what Go runs.
func (d *Directory) Run(ctx context.Context) {
	directories.Inc()
	defer directories.Dec()
	var tasks sync.WaitGroup
	tasks.Go(func() { d.watchBus(ctx) })
	tasks.Go(func() { d.watchSet(ctx) })
	tasks.Go(func() { d.keepTelling(ctx) })
	tasks.Wait()
	d.stop()
	d.stopListening()
}

// watchBus says that the bus is down, and that it is up again, and has the others told then.
func (d *Directory) watchBus(ctx context.Context) {
	defer d.follow(State{})
	for {
		now, changed := d.config.Bus.State()
		d.follow(now)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// follow takes note of how the bus is.
func (d *Directory) follow(now State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.state
	d.state = now
	if now.Up != before.Up {
		d.since = time.Now()
	}
	switch {
	case now.Up && !before.Up:
		directoryUp.Inc()
		var about []any
		if down := d.outage.Ended(time.Now()); down > 0 {
			about = append(about, "was down", down.Round(time.Millisecond).Seconds())
		}
		d.config.Logger.Info("connected with the directory", about...)
		d.tellAll()
	case !now.Up && before.Up:
		directoryUp.Dec()
	}
	if now.Up || now.Err == nil {
		return
	}
	due, since := d.outage.Failed(now.Err.Error(), time.Now())
	if !due {
		return
	}
	about := []any{"error", now.Err}
	if down := time.Since(since).Round(time.Second); !since.IsZero() && down > 0 {
		about = append(about, "down for", down.Seconds())
	}
	d.config.Logger.Warn("the directory is down: names of this set go on, and those of others that "+
		"have been found, for a minute", about...)
}

// Status returns how the bus is, and since when it has been up or down.
func (d *Directory) Status() (now State, since time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state, d.since
}

// Found returns of how many names of other sets something is known.
func (d *Directory) Found() int {
	d.finder.mu.Lock()
	defer d.finder.mu.Unlock()
	return d.finder.known.Len()
}

// jittered is a time around d.
func jittered(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2+1) }
