// Package linequeue puts a bounded queue in front of a writer whose reader may be slow, stuck or
// gone: a log, or what waits for the line that says that a process is ready. Whoever has a line to
// write never waits. What the queue has no room for, and what could not be written, is dropped and
// counted, and the count is in front of the next line that gets through.
package linequeue

import (
	"io"
	"sync"
	"time"
)

// DefaultLimit is how many bytes wait for the writer, what it costs to keep them included.
const DefaultLimit = 256 << 10

// overhead is what keeping a line costs, beyond its bytes.
const overhead = 64

// Queue is lines on their way to a writer, one call of Write each, in their order. One goroutine
// writes them, from New until Close. It is safe for concurrent use.
type Queue struct {
	// Set once.
	w     io.Writer
	limit int
	fail  func(error)
	done  chan struct{} // closed when nothing is written any more

	mu      sync.Mutex // never held while anything is written
	changed sync.Cond  // lines or closed
	lines   []line
	size    int    // of lines
	lost    uint64 // since the last line that was taken
	note    func(lost uint64) []byte
	closed  bool
}

// line is what is written at once.
type line struct {
	text  []byte
	worth uint64 // how many lines are lost with it: for a note as many as it tells of
}

func (l line) cost() int { return len(l.text) + overhead }

// Config says how a queue behaves. The zero value is a good one.
type Config struct {
	// Limit is how many bytes may wait. 0 means DefaultLimit.
	Limit int

	// Fail is told of each line that could not be written, by the goroutine that writes. It must
	// not call Close. Nil is told nothing.
	Fail func(error)
}

// New returns a queue in front of w, which belongs to it until Close.
func New(w io.Writer, c Config) *Queue {
	q := &Queue{w: w, limit: c.Limit, fail: c.Fail, done: make(chan struct{})}
	if q.limit == 0 {
		q.limit = DefaultLimit
	}
	if q.fail == nil {
		q.fail = func(error) {}
	}
	q.changed.L = &q.mu
	go q.run()
	return q
}

// SetNote has note make the line that says how many were lost. Until then there is none.
func (q *Queue) SetNote(note func(lost uint64) []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.note = note
}

// Write takes a line, of which it makes a copy, and never waits. It never fails either: who writes
// a log has nobody to tell.
func (q *Queue) Write(p []byte) (int, error) {
	q.take(p, q.limit)
	return len(p), nil
}

// Insist is Write for the few lines that matter most, such as the one that says why the process
// ends: there is room for as much of them as for all others.
func (q *Queue) Insist(p []byte) (int, error) {
	q.take(p, 2*q.limit)
	return len(p), nil
}

func (q *Queue) take(p []byte, limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := line{text: append([]byte(nil), p...), worth: 1}
	note := q.noteLocked()
	need := l.cost()
	if note.worth > 0 {
		need += note.cost()
	}
	if q.closed || q.size+need > limit {
		q.lost++
		return
	}
	q.tellLocked(note)
	q.addLocked(l)
}

// noteLocked returns the line that tells of those lost so far, empty if there is nothing to tell.
func (q *Queue) noteLocked() line {
	if q.lost == 0 || q.note == nil {
		return line{}
	}
	return line{text: q.note(q.lost), worth: q.lost}
}

// tellLocked adds such a line.
func (q *Queue) tellLocked(note line) {
	if note.worth > 0 {
		q.lost = 0
		q.addLocked(note)
	}
}

func (q *Queue) addLocked(l line) {
	q.lines, q.size = append(q.lines, l), q.size+l.cost()
	q.changed.Signal()
}

func (q *Queue) run() {
	defer close(q.done)
	for {
		l, ok := q.next()
		if !ok {
			return
		}
		if _, err := q.w.Write(l.text); err != nil {
			q.lose(l)
			q.fail(err)
		}
	}
}

// next waits for a line, and reports false when the queue is closed and there are none.
func (q *Queue) next() (line, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.lines) == 0 && !q.closed {
		q.changed.Wait()
	}
	if len(q.lines) == 0 {
		return line{}, false
	}
	l := q.lines[0]
	q.lines[0] = line{}
	if q.lines = q.lines[1:]; len(q.lines) == 0 {
		q.lines = nil
	}
	q.size -= l.cost()
	return l, true
}

func (q *Queue) lose(l line) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lost += l.worth
}

// Close takes no more lines, and returns when those that wait have been written, or after so long:
// what is under way then is left to the end of the process, along with the goroutine. It reports
// whether all was written or failed. It may be called again.
func (q *Queue) Close(within time.Duration) bool {
	q.mu.Lock()
	if !q.closed {
		q.tellLocked(q.noteLocked())
		q.closed = true
		q.changed.Signal()
	}
	q.mu.Unlock()
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-q.done:
		return true
	case <-late.C:
		return false
	}
}
