// Package netwatch notices that a process's network is another one: an address has come or gone,
// another way leads out, or the clock has jumped because the machine slept or the process stood
// still. What was connected before may be dead by then, and nobody says so.
//
// Where the kernel tells of such things, on Linux, a Watcher learns of them at once and does
// nothing meanwhile, but for a look at the clock every 10 seconds. Elsewhere, and where a sandbox
// keeps the kernel from telling, it looks at the addresses: every second while somebody has
// something to lose, and every 10 seconds otherwise.
//
// Told is only what matters. Addresses count if they are of use beyond their line: none of
// loopback's, no link-local ones as those of containers' devices, none that IPv6 has not tried out
// yet. Of routes, the one counts that leads to the Internet. What was put off for a moment and is
// as it was has not changed.
//
// A process that stands still for less than 12 seconds may go unnoticed. A machine that sleeps for
// more than a second does not.
package netwatch

import (
	"context"
	"time"
)

const (
	// settleTime is for how long nothing more may happen before a change is told: addresses and
	// routes come one after the other.
	settleTime = 200 * time.Millisecond
	// settleMost is how long after the first of it a change is told in any case.
	settleMost = 800 * time.Millisecond
	// busyInterval is how often is looked where the kernel does not tell, while somebody has
	// something to lose.
	busyInterval = time.Second
	// restInterval is how often is looked otherwise.
	restInterval = 10 * time.Second
)

// Config is what a Watcher is made of.
type Config struct {
	// Tell is told of each change, one after the other. Run waits for it, and misses nothing
	// meanwhile.
	Tell func(Change)
	// Busy tells whether somebody has something to lose. It counts only where the kernel does not
	// tell of changes, and is asked at each look: when it becomes true, that is noticed at the
	// next one. Nil means that nobody ever has.
	Busy func() bool
}

// Watcher notices changes of the network. A process has one.
type Watcher struct {
	config Config
	open   func() source
	now    func() reading
}

// New returns a watcher that does nothing before Run.
func New(c Config) *Watcher { return &Watcher{config: c, open: openSource, now: readClocks} }

// source is where a Watcher learns what the network is.
type source interface {
	// look returns what the network is now. An error says that nobody can tell.
	look() (view, error)
	// hints gets something when that may be different, or a clock has been set.
	hints() <-chan struct{}
	// isDeaf tells whether changes may come without a hint.
	isDeaf() bool
	// close ends the hints, and waits for what makes them.
	close()
}

// Run tells of changes until ctx ends. When it returns, nothing of it is left. It must be called
// once.
func (w *Watcher) Run(ctx context.Context) {
	from := w.open()
	defer from.close()
	r := run{watcher: w, from: from, clocks: newClocks(w.now()), timer: time.NewTimer(0)}
	defer r.timer.Stop()
	now, err := from.look()
	r.known.learn(now, new(Change))
	r.stale = err != nil
	r.wait(w.interval(from))
	for {
		select {
		case <-ctx.Done():
			return
		case <-from.hints():
			r.hinted(time.Now())
		case <-r.timer.C:
			r.look()
		}
	}
}

// run is what Run remembers.
type run struct {
	watcher *Watcher
	from    source
	timer   *time.Timer // when to look
	clocks  *clocks
	known   outlook
	stale   bool      // what is known may not be so any more
	first   time.Time // when there was the first hint since the last look; zero if there was none
}

func (r *run) wait(d time.Duration) {
	r.clocks.expect(r.watcher.now(), d)
	r.timer.Reset(d)
}

// hinted has a look be soon: when nothing has happened for a moment, or for too long already.
func (r *run) hinted(now time.Time) {
	if r.first.IsZero() {
		r.first = now
	}
	r.stale = true
	r.wait(min(settleTime, max(0, settleMost-now.Sub(r.first))))
}

// look finds out what has changed, and tells of it.
func (r *run) look() {
	r.first = time.Time{}
	r.wait(r.watcher.interval(r.from))
	change := Change{Jumped: r.clocks.jumped(), Offline: r.known.offline}
	if r.stale || change.Jumped > 0 || r.from.isDeaf() {
		now, err := r.from.look()
		if r.stale = err != nil; err == nil {
			r.known.learn(now, &change)
		}
	}
	if change.matters() {
		r.watcher.config.Tell(change)
	}
}

// interval is how long until the next look that nothing calls for.
func (w *Watcher) interval(from source) time.Duration {
	if from.isDeaf() && w.config.Busy != nil && w.config.Busy() {
		return busyInterval
	}
	return restInterval
}
