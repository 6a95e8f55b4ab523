package testkit

import (
	"runtime"
	"sync"
	"time"
)

const (
	beatEvery = 400 * time.Millisecond
	// multiplications in a beat: longer than a scheduler lets one program run
	beatWork  = 1 << 22
	beatQuiet = 5 * time.Millisecond // a beat of a quiet machine, which takes 1.5 % of one core
	beatsKept = 1024                 // more than six minutes of them
	// a machine that seems slower than this is stuck, and so is the test
	slowest = 30
)

// Pulse measures, again and again, how slow this machine is while tests run on it: how long a fixed
// piece of work takes from the moment when it is due. Other programs, a slow processor and the
// tests themselves all show in it. A limit in time that a test checks is stretched by that, so it
// says something about the program and not about the machine.
//
// It is safe for concurrent use.
type Pulse struct {
	stop, stopped chan struct{}

	mu    sync.Mutex
	beats [beatsKept]beat // the latest is at (next-1) % beatsKept
	next  int
	due   time.Time // the one that is not there yet
}

// beat is one measurement: when the work was done, and how long that took from when it was due.
type beat struct {
	at   time.Time
	took time.Duration
}

// StartPulse starts to measure. [Pulse.Stop] ends that.
func StartPulse() *Pulse {
	p := &Pulse{stop: make(chan struct{}), stopped: make(chan struct{})}
	p.measure(time.Now()) // so there is always one
	go p.run()
	return p
}

func (p *Pulse) run() {
	defer close(p.stopped)
	for {
		due := p.expect(time.Now())
		select {
		case <-p.stop:
			return
		case <-time.After(beatEvery):
		}
		p.measure(due)
	}
}

// expect says when the next beat is due.
func (p *Pulse) expect(now time.Time) (due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due = now.Add(beatEvery)
	return p.due
}

func (p *Pulse) measure(due time.Time) {
	x := uint64(due.UnixNano())
	for range beatWork {
		x = x*6364136223846793005 + 1442695040888963407
	}
	runtime.KeepAlive(x) // or the compiler could do without the work
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addLocked(beat{time.Now(), time.Since(due)})
}

func (p *Pulse) addLocked(b beat) {
	p.beats[p.next%beatsKept] = b
	p.next++
	p.due = time.Time{}
}

// Stop ends the measuring.
func (p *Pulse) Stop() {
	close(p.stop)
	<-p.stopped
}

// Slowness returns how many times slower than a quiet one this machine has been since then, on
// average: 1 or more. Where nothing has been measured since, the latest measurement counts. A beat
// that is late counts before it is there: whoever goes on first after all have stood still may be
// whoever asks.
func (p *Pulse) Slowness(since time.Time) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slownessLocked(since, time.Now())
}

func (p *Pulse) slownessLocked(since, now time.Time) float64 {
	var sum time.Duration
	n := 0
	if late := now.Sub(p.due); !p.due.IsZero() && late > beatQuiet {
		sum, n = late, 1
	}
	for k := p.next - 1; k >= max(0, p.next-beatsKept); k-- {
		b := p.beats[k%beatsKept]
		if n > 0 && b.at.Before(since) {
			break
		}
		sum += b.took
		n++
	}
	return min(max(float64(sum)/float64(n)/float64(beatQuiet), 1), slowest)
}

// Stretch returns how long something may have taken since then that takes no longer than limit on a
// quiet machine.
func (p *Pulse) Stretch(limit time.Duration, since time.Time) time.Duration {
	return time.Duration(float64(limit) * p.Slowness(since))
}
