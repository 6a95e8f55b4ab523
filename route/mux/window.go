package mux

import (
	"time"

	"github.com/secureportal/sp/internal/budget"
)

const (
	// maxWindow is how large one link's window grows: twice what a line of 1 Gbit/s and 100 ms
	// holds, as a window is given back by halves.
	maxWindow = 32 << 20
	// growWithin is the time in which half a window must have been read for it to grow: the reader
	// keeps up, and the round trip is what holds the sender back.
	growWithin = time.Second
	// growPause is the least time between two growths. A reader who stops soon after he has begun
	// has not had it grow: what is between here and him swallows megabytes in no time.
	growPause = 50 * time.Millisecond

	// leastWindow is how small a window gets when memory is short: spareParts of them would be a
	// share of what is free.
	leastWindow = 16 << 10
	spareParts  = 8
)

// window is how much one link's sender may send, as its receiver accounts for it. It is not safe
// for concurrent use.
type window struct {
	size    int       // what the sender may have on the way and here, at most
	left    int       // what it may still send
	charged int64     // to the budgets
	granted time.Time // when it was last told more
	grown   time.Time // when it last grew, or was made
	drained bool      // nothing has waited to be read at some time since
	budgets [2]*Budget
}

// allows reports whether the sender has a right to a frame of n bytes. They stay part of what is
// left until they have come: what is between the two would be granted a second time.
func (w *window) allows(n int) bool { return n <= w.left }

// receive takes note of n bytes, of a frame that was allowed, that have come.
func (w *window) receive(n int) { w.left = max(w.left-n, 0) } // stop may have been in between

// grant returns how many bytes more the sender may be told, while so many wait to be read.
func (w *window) grant(waiting int, now time.Time) uint32 {
	w.fit()
	more := w.size - waiting - w.left
	w.drained = w.drained || waiting == 0
	if more < w.size/2 {
		w.settle(w.charge(waiting))
		return 0
	}
	if w.drained && w.mayGrow(now) {
		w.size, w.grown = min(2*w.size, maxWindow), now
		more = w.size - waiting - w.left
	}
	if !w.settle(w.charge(waiting + more)) { // there is not so much: it is small again
		w.size = min(w.size, firstWindow)
		more = max(w.size-waiting-w.left, 0)
		w.settle(w.charge(waiting + more))
	}
	if more > 0 {
		w.left += more
		w.granted, w.drained = now, waiting == 0
	}
	return uint32(more)
}

// fit has a window that is small be no larger than the process can bear now.
func (w *window) fit() {
	switch {
	case budget.Process.Plenty():
		w.size = max(w.size, firstWindow)
	default:
		most := budget.Process.Share() / spareParts
		w.size = min(w.size, max(int(min(most, firstWindow)), leastWindow))
	}
}

func (w *window) mayGrow(now time.Time) bool {
	return now.Sub(w.granted) < growWithin && now.Sub(w.grown) >= growPause &&
		w.size >= firstWindow && budget.Process.Fits(int64(w.size))
}

// charge returns what counts against the budgets with so many bytes here besides what is left.
func (w *window) charge(here int) int64 { return int64(max(here+w.left-firstWindow, 0)) }

// settle charges n in place of what is charged. It reports false, and changes nothing, if a budget
// has not got that.
func (w *window) settle(n int64) bool {
	more := n - w.charged
	if more <= 0 {
		for _, b := range w.budgets {
			b.give(-more)
		}
		w.charged = n
		return true
	}
	if !w.budgets[0].take(more) {
		return false
	}
	if !w.budgets[1].take(more) {
		w.budgets[0].give(more)
		return false
	}
	w.charged = n
	return true
}

// stop takes note that nothing more will come, while so many bytes wait to be read.
func (w *window) stop(waiting int) {
	w.left = 0
	w.settle(w.charge(waiting))
}
