package logthrottle

import (
	"slices"
	"sync"
	"time"
)

// remindAfter is when there is another line about what is down still: so long after it began, and
// then again and again after the last of these.
var remindAfter = []time.Duration{30 * time.Second, 5 * time.Minute, time.Hour}

// maxReasons is how many reasons of one outage get a line of their own.
const maxReasons = 8

// Outage says when to log that something is down: at once, once for each other reason that comes,
// and then ever more rarely. The zero value is something that is up. It belongs to one goroutine.
type Outage struct {
	began   time.Time
	next    time.Time // of the next line for want of another reason
	times   int       // that there was such a line
	reasons []string
}

// Failed reports whether there is to be a line about a failure, and if it is not the first, since
// when there have been some.
func (o *Outage) Failed(reason string, now time.Time) (due bool, since time.Time) {
	if o.began.IsZero() {
		*o = Outage{began: now, next: now.Add(remindAfter[0]), reasons: []string{reason}}
		return true, time.Time{}
	}
	if !now.Before(o.next) {
		last := len(remindAfter) - 1
		if o.times++; o.times <= last {
			o.next = o.began.Add(remindAfter[o.times])
		}
		if !now.Before(o.next) {
			o.next = now.Add(remindAfter[last])
		}
		return true, o.began
	}
	if len(o.reasons) < maxReasons && !slices.Contains(o.reasons, reason) {
		o.reasons = append(o.reasons, reason)
		return true, o.began
	}
	return false, o.began
}

// Ended ends it, and returns how long it has lasted: 0 if there was none.
func (o *Outage) Ended(now time.Time) time.Duration {
	defer func() { *o = Outage{} }()
	if o.began.IsZero() {
		return 0
	}
	return now.Sub(o.began)
}

// forgetAfter is how long something that repeats itself may be silent. It is longer than who waits
// for something that is down takes between two attempts.
const forgetAfter = 5 * time.Minute

// Repeats is an Outage for each of many things that repeat themselves, such as what one who waits
// asks for again and again. What is told apart is bounded, and what there is no room for counts as
// new. The zero value is ready. It is safe for concurrent use.
type Repeats[K comparable] struct {
	mu    sync.Mutex
	of    map[K]*repeat
	swept time.Time // when room was last looked for
}

type repeat struct {
	Outage
	last  time.Time
	times int // since the last line
}

// Due reports whether there is to be a line about what has happened, and if it is not the first,
// since when it does and how many have been left out since the last line.
func (r *Repeats[K]) Due(what K, now time.Time) (due bool, since time.Time, omitted int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.of[what]
	if one != nil && now.Sub(one.last) > forgetAfter {
		*one = repeat{}
	}
	if one == nil {
		if one = r.roomLocked(now); one == nil {
			return true, time.Time{}, 0
		}
		r.of[what] = one
	}
	one.last = now
	if due, since = one.Failed("", now); !due {
		one.times++
		return false, since, 0
	}
	omitted, one.times = one.times, 0
	return true, since, omitted
}

// roomLocked returns room for one more, or nil.
func (r *Repeats[K]) roomLocked(now time.Time) *repeat {
	if len(r.of) >= maxSources && now.Sub(r.swept) >= floodInterval {
		r.swept = now
		for k, one := range r.of {
			if now.Sub(one.last) > forgetAfter {
				delete(r.of, k)
			}
		}
	}
	if len(r.of) >= maxSources {
		return nil
	}
	if r.of == nil {
		r.of = make(map[K]*repeat)
	}
	return new(repeat)
}
