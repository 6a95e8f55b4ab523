// Package netwatch notices that a process's network is another one: an address has come or gone,
// another way leads out, or the clock has jumped because the machine slept or the process stood
// still. What was connected before may be dead by then, and nobody says so.
//
// Where the kernel tells of such things, on Linux, a Watcher learns of them at once and does little
// meanwhile: it looks at the clock every 10 seconds, and at the rest every minute. Elsewhere, and
// where a sandbox keeps the kernel from telling, it looks at the addresses: every second while
// somebody has something to lose, and every 10 seconds otherwise.
//
// Told is only what matters. Addresses count if they are of use beyond their line: none of
// loopback's, no link-local ones as those of containers' devices, none that IPv6 has not tried out
// yet. Of routes, the one counts that leads to the Internet. What has been different for a moment
// only has not changed.
//
// A process that stands still for less than 12 seconds may go unnoticed. A machine that sleeps is
// noticed after a second of it.
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
	// restInterval is how often is looked otherwise, and at the clock where the kernel tells of the
	// rest.
	restInterval = 10 * time.Second
	// doubtInterval is how often is looked in any case: not every kernel tells what it promises.
	doubtInterval = time.Minute
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
	rest   time.Duration // how often is looked, unless somebody has something to lose
}

// New returns a watcher that does nothing before Run.
func New(c Config) *Watcher {
	return &Watcher{config: c, open: openSource, now: readClocks, rest: restInterval}
}

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
	began := w.now() // before anybody can see that it watches
	from := w.open()
	defer from.close()
	r := run{watcher: w, from: from, clocks: newClocks(began), timer: time.NewTimer(0)}
	defer r.timer.Stop()
	seen, err := from.look()
	r.known.learn(seen, new(Change))
	r.stale, r.looked = err != nil, time.Now()
	r.wait(w.interval(from))
	if r.clocks.missing > 0 { // since the beginning
		r.hinted(time.Now())
	}
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
	looked  time.Time // when the last look was
	first   time.Time // when there was the first hint since the last look; zero if there was none
}

// wait has the next look be after d.
func (r *run) wait(d time.Duration) {
	r.timer.Reset(d) // first: who stands still between the two is woken late, and sees it
	r.clocks.expect(r.watcher.now(), d)
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
	now := time.Now()
	if r.stale || change.Jumped > 0 || r.from.isDeaf() || now.Sub(r.looked) >= doubtInterval {
		seen, err := r.from.look()
		if r.stale, r.looked = err != nil, now; err == nil {
			r.known.learn(seen, &change)
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
	return w.rest
}
