package filewatch

import (
	"context"
	"time"
)

const (
	// remoteInterval is how often files are looked at whose file system tells nobody here what
	// others do to them.
	remoteInterval = 2 * time.Second
	// blindInterval is the same where the kernel tells of nothing at all.
	blindInterval = 400 * time.Millisecond
	// restInterval is the same where the kernel tells of all changes, for what it may have missed.
	restInterval = time.Minute
)

// looksAfter is when files are looked at again after a change: a file may be in the middle of being
// written, and what was written a moment ago may be written again without looking any different.
var looksAfter = [...]time.Duration{
	Interval, 2 * Interval, 4 * Interval, settleTime, settleTime,
}

// Watcher says when files are to be looked at. Where the kernel tells of changes, that is when
// something has happened to one of them, to its folder, or to a symbolic link or folder on the way
// to it: however it is replaced, and if it only appears later. So a process whose files are left
// alone does nothing.
type Watcher struct {
	files func() []string
	look  func()
	again chan struct{}
}

// NewWatcher returns a watcher that does nothing before Run, which calls both functions: files for
// the paths of the files, before each look, and look to do that. Neither may call Run.
func NewWatcher(files func() []string, look func()) *Watcher {
	return &Watcher{files: files, look: look, again: make(chan struct{}, 1)}
}

// Again has Run look soon, because the files are others now. It does not wait, and may be called by
// anybody.
func (w *Watcher) Again() {
	select {
	case w.again <- struct{}{}:
	default: // it will
	}
}

// Run calls look when it starts and whenever a file may have changed, no more often than at an
// Interval, until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	n := newNotifier()
	defer n.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time // when it looked last
	looks := 0         // since the last change
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.changed:
			looks = 0
			timer.Reset(Interval - time.Since(last))
			continue
		case <-w.again:
			looks = 0
		case <-timer.C:
		}
		covered := n.watch(w.files()) // before the look, or something could happen between the two
		w.look()
		last = time.Now()
		timer.Reset(nextLook(looks, covered))
		looks++
	}
}

// coverage is what the kernel tells of.
type coverage uint8

const (
	coversAll   coverage = iota
	coversLocal          // but not what is done elsewhere, and some files are on such a file system
	coversNone
)

// nextLook is how long to wait for the next look if nothing happens.
func nextLook(looks int, c coverage) time.Duration {
	wait := restInterval
	switch c {
	case coversLocal:
		wait = remoteInterval
	case coversNone:
		wait = blindInterval
	}
	if looks < len(looksAfter) {
		wait = min(wait, looksAfter[looks])
	}
	return wait
}
