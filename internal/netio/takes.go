package netio

import (
	"io"
	"math"

	"github.com/secureportal/sp/internal/budget"
)

// Taker is a conn that can tell whether it takes what is written to it.
type Taker interface {
	// Takes returns how many bytes can be written now without much waiting, or 0 if whoever
	// reads them at the other end does not keep up.
	Takes() int
	// AwaitTakes waits until Takes is not 0, or the next write fails. It returns at once if the
	// conn is closed, and at a write deadline.
	AwaitTakes()
}

// takes is Takes of w. One that cannot tell takes everything.
func takes(w any) int {
	if t, ok := w.(Taker); ok {
		return t.Takes()
	}
	return math.MaxInt
}

// Takes implements Taker for whoever writes to w: a conn that cannot tell takes everything.
func Takes(w io.Writer) int { return takes(w) }

// AwaitTakes implements Taker for whoever writes to w.
func AwaitTakes(w io.Writer) {
	if t, ok := w.(Taker); ok {
		t.AwaitTakes()
	}
}

// ClassTo returns the class of buffer, c at most, to read into what is to be written to w; a nil w
// takes everything. While memory is plenty that is c. Otherwise it is no more than the process's
// budget has a share for, nor than w takes: who waits for a reader who does not read holds little.
func ClassTo(w io.Writer, c Class) Class {
	if c == Small || budget.Process.Plenty() {
		return c
	}
	for c > Small && !budget.Process.Fits(int64(classSize[c])) {
		c--
	}
	if c < Large || w == nil {
		return c
	}
	for n := takes(w); c > Small && classSize[c]-BufferSlack > n; {
		c--
	}
	return c
}
