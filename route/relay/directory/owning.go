package directory

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/route/relay/sets"
)

// Times of whose names are.
const (
	ownerTimeout = 500 * time.Millisecond // for others to say whose a name is that is claimed
	refreshEach  = 10 * time.Minute       // in which each name is told anew
	tellEach     = 2 * time.Millisecond   // between two names, when all are told
	tellsLeast   = time.Second            // in which all are told, when the bus is back
	tellsMost    = time.Minute
	replyAfter   = time.Second // between two answers about one name
)

// tellAgain is when news are told once more: who should have heard them may have begun to listen a
// moment ago, which the bus tells nobody.
var tellAgain = []time.Duration{2 * time.Second, 15 * time.Second}

// toldOnce is the stage behind all others, in which a name is told and not again.
var toldOnce = len(tellAgain) + 1

// maxHeard is how much that others have said waits to be looked at.
const maxHeard = 1024

var heardLost = metrics.NewCounter("directory_news_lost_total",
	"news of whose names are that came faster than they were looked at")

// owning is what is said of whose names are. It has a lock of its own, which is never held while
// the bus is called.
type owning struct {
	heard chan heard
	woken chan struct{}

	// Only the goroutine of keepTelling has these, and, when that has ended, Run's.
	spoken map[string]*spoken // names that this node speaks for
	due    dues
	last   uint64 // that spoken.current has been

	mu    sync.Mutex // guards what follows
	dirty map[string]struct{}
	all   bool // are to be looked at
}

// spoken is a name that this node speaks for.
type spoken struct {
	stop    func()
	current uint64    // what is due of it with another number is not any more
	replied time.Time // when it was told because of what somebody had said
}

// heard is something that was said of a name.
type heard struct {
	name   string
	said   sets.Told
	answer func([]byte)
}

func newOwning() owning {
	return owning{
		heard: make(chan heard, maxHeard), woken: make(chan struct{}, 1),
		spoken: make(map[string]*spoken), dirty: make(map[string]struct{}),
	}
}

// due is that a name is to be told.
type due struct {
	at      time.Time
	name    string
	current uint64
	stage   int // of tellAgain that is next, or behind them
}

type dues []due

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d dues) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *dues) Push(x any)        { *d = append(*d, x.(due)) }
func (d *dues) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	*d = (*d)[:last]
	return x
}

// Owned takes note that something has changed of whose a name is. It never waits.
func (d *Directory) Owned(name string) {
	o := &d.owning
	o.mu.Lock()
	o.dirty[name] = struct{}{}
	o.mu.Unlock()
	o.wake()
}

func (o *owning) wake() {
	select {
	case o.woken <- struct{}{}:
	default:
	}
}

// tellAll has all names told, one after another.
func (d *Directory) tellAll() {
	o := &d.owning
	o.mu.Lock()
	o.all = true
	o.mu.Unlock()
	o.wake()
}

// askOwner learns whose a name is that nothing is known of here, from whoever speaks for another
// set. If the bus is down, or nobody answers, that is nobody's.
func (d *Directory) askOwner(ctx context.Context, name string) {
	if _, known := d.Record(name); known {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, ownerTimeout)
	defer cancel()
	ask := sets.Told{From: d.id, Asks: true}
	answers := 0
	_ = d.config.Bus.Ask(ctx, sets.SubjectOf(name).Owned(), ask.AppendTo(nil),
		func(b []byte) (enough bool) {
			answers++
			t, err := sets.ParseTold(b, name)
			if err == nil && !t.Asks && t.From != d.id {
				d.Hear(t.From, sets.Judges(t.From, d.id, name), t.What)
				return true
			}
			return answers >= maxAnswers
		})
}

// watchSet looks anew which names this node speaks for when there is another list of nodes.
func (d *Directory) watchSet(ctx context.Context) {
	changed := d.Changed()
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		changed = d.Changed() // before what is looked at, so that no change is missed meanwhile
		d.owning.mu.Lock()
		for _, name := range d.Names() {
			d.owning.dirty[name] = struct{}{}
		}
		d.owning.mu.Unlock()
		d.owning.wake()
	}
}

// keepTelling tells whose names are, and takes in what others tell, until ctx ends.
func (d *Directory) keepTelling(ctx context.Context) {
	timer := time.NewTimer(refreshEach)
	defer timer.Stop()
	for {
		timer.Reset(d.tellDue())
		select {
		case h := <-d.owning.heard:
			d.hear(h)
		case <-d.owning.woken:
			d.look()
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// look looks at the names of which something has changed.
func (d *Directory) look() {
	o := &d.owning
	o.mu.Lock()
	dirty, all := o.dirty, o.all
	o.dirty, o.all = make(map[string]struct{}), false
	o.mu.Unlock()
	for name := range dirty {
		d.lookAt(name)
	}
	if !all {
		return
	}
	within := min(max(time.Duration(len(o.spoken))*tellEach, tellsLeast), tellsMost)
	o.due = nil
	for name, s := range o.spoken {
		o.tellFrom(s, name, rand.N(within), 1)
	}
}

// tellFrom has a name told from a stage on, after a while. What was due of it is not any more.
func (o *owning) tellFrom(s *spoken, name string, after time.Duration, stage int) {
	o.last++
	s.current = o.last
	heap.Push(&o.due, due{time.Now().Add(after), name, s.current, stage})
}

// silence ends to speak for a name.
func (o *owning) silence(s *spoken, name string) {
	s.stop()
	delete(o.spoken, name)
}

// lookAt begins or ends to speak for a name, and has it told if it does.
func (d *Directory) lookAt(name string) {
	o := &d.owning
	_, known := d.Record(name)
	speaks := known && d.Speaks(name)
	s := o.spoken[name]
	switch {
	case !speaks && s != nil:
		o.silence(s, name)
		return
	case !speaks:
		return
	case s == nil:
		s = &spoken{stop: d.config.Bus.Listen(sets.SubjectOf(name).Owned(),
			func(said []byte, answer func([]byte)) { d.owning.take(name, said, answer) })}
		o.spoken[name] = s
	}
	o.tellFrom(s, name, 0, 0)
}

// take has looked at what has been said of a name, if there is room.
func (o *owning) take(name string, said []byte, answer func([]byte)) {
	t, err := sets.ParseTold(said, name)
	if err != nil {
		return
	}
	select {
	case o.heard <- heard{name, t, answer}:
	default:
		heardLost.Inc()
	}
}

// hear takes in what has been said of a name, and answers.
func (d *Directory) hear(h heard) {
	if h.said.From == d.id || !d.Speaks(h.name) {
		return
	}
	if h.said.Asks {
		if r, ok := d.Record(h.name); ok && h.answer != nil {
			t := sets.Told{From: d.id, What: r}
			h.answer(t.AppendTo(nil))
		}
		return
	}
	again := d.Hear(h.said.From, sets.Judges(h.said.From, d.id, h.name), h.said.What)
	o := &d.owning
	s := o.spoken[h.name]
	if again && s != nil && time.Since(s.replied) > replyAfter {
		s.replied = time.Now()
		heap.Push(&o.due, due{time.Now(), h.name, s.current, toldOnce})
	}
}

// tellDue tells what is due, and returns when the next is.
func (d *Directory) tellDue() (next time.Duration) {
	o := &d.owning
	for now := time.Now(); len(o.due) > 0; {
		if wait := o.due[0].at.Sub(now); wait > 0 {
			return wait
		}
		t := heap.Pop(&o.due).(due)
		s := o.spoken[t.name]
		if s == nil || s.current != t.current {
			continue
		}
		if !d.tell(t.name) {
			o.silence(s, t.name) // its owner is forgotten, of which nobody has told
			continue
		}
		after := jittered(refreshEach)
		if t.stage < len(tellAgain) {
			after = jittered(tellAgain[t.stage])
		}
		if t.stage < toldOnce {
			heap.Push(&o.due, due{now.Add(after), t.name, t.current, min(t.stage+1, len(tellAgain))})
		}
	}
	return refreshEach
}

// tell tells whose a name is, and reports false if that is not known any more.
func (d *Directory) tell(name string) (known bool) {
	r, known := d.Record(name)
	if known {
		t := sets.Told{From: d.id, What: r}
		d.config.Bus.Tell(sets.SubjectOf(name).Owned(), t.AppendTo(nil))
	}
	return known
}

// stopListening ends what has been begun for names.
func (d *Directory) stopListening() {
	for name, s := range d.owning.spoken {
		d.owning.silence(s, name)
	}
}
