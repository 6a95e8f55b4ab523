package mux

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// writeTimeout is for the carrier to take what is written, give or take a quarter: or the mux ends.
const writeTimeout = time.Minute

// maxData is how much a frame of data holds: with its header it fits into one record of a flow.
const maxData = 65518 - headerSize

// writer is the way out: whoever has something to say takes a turn. What the mux itself has to say,
// a frame without data, waits for nobody: it goes out in front of what comes next, or at the end of
// the turn.
type writer struct {
	carrier Carrier
	failed  func(error)       // ends the mux
	run     func(func()) bool // see Config.Run
	done    <-chan struct{}   // closed when the mux has ended

	turn     chan struct{} // full while somebody has it, who owns what follows
	finished bool          // nothing more is sent, and that is no error
	limited  time.Time     // when the carrier was last given a deadline

	mu      sync.Mutex // guards what follows; taken by who has the turn, never before it
	pending []byte     // frames without data
}

// take waits for a turn until the mux ends or a deadline passes; the zero deadline never does.
func (w *writer) take(by time.Time) error {
	select {
	case w.turn <- struct{}{}:
		return nil
	default:
	}
	patience := writeTimeout
	if !by.IsZero() {
		patience = min(patience, time.Until(by))
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-w.done:
		return errEnded
	case <-timer.C:
	}
	if patience == writeTimeout {
		w.failed(errUnread)
		return errEnded
	}
	return os.ErrDeadlineExceeded
}

// release ends a turn, when all that is pending has been written.
func (w *writer) release() error {
	var err error
	for {
		w.mu.Lock()
		b := w.pending
		w.pending = nil
		if len(b) == 0 {
			<-w.turn
			w.mu.Unlock()
			return err
		}
		w.mu.Unlock()
		if failed := w.write(b); failed != nil {
			err = failed
		}
	}
}

// write sends b. It is for who has the turn.
func (w *writer) write(b []byte) error {
	if w.finished {
		return nil
	}
	if now := time.Now(); now.Sub(w.limited) > writeTimeout/4 {
		_ = w.carrier.SetWriteDeadline(now.Add(writeTimeout))
		w.limited = now
	}
	_, err := w.carrier.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errUnread
	}
	if err != nil {
		w.failed(err)
	}
	return err
}

// data sends a frame of data, no later than by.
func (w *writer) data(link uint32, p []byte, by time.Time) error {
	if err := w.take(by); err != nil {
		return err
	}
	w.mu.Lock()
	pending := w.pending
	w.pending = nil
	w.mu.Unlock()
	h := header{kind: typeData, link: link, length: uint32(len(p))}
	buffer := netio.GetBuffer(netio.ClassFor(len(pending) + headerSize + len(p)))
	defer buffer.Free()
	b := append(h.append(append(buffer.Bytes[:0], pending...)), p...)
	err := w.write(b)
	if failed := w.release(); err == nil {
		err = failed
	}
	return err
}

// say sends a frame without data, and may wait for the carrier.
func (w *writer) say(h header) error {
	if w.enqueue(h) {
		return w.release()
	}
	return nil
}

// tell is say for the goroutine that reads the carrier: it waits for nothing, or the two sides
// could wait for each other.
func (w *writer) tell(h header) {
	if !w.enqueue(h) {
		return
	}
	if !w.run(func() { _ = w.release() }) {
		w.mu.Lock()
		w.pending = nil
		w.mu.Unlock()
		<-w.turn
	}
}

// enqueue adds a frame to what is pending, and reports whether the caller has been given the turn
// to send it: otherwise whoever has it will.
func (w *writer) enqueue(h header) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = h.append(w.pending)
	select {
	case w.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

// owes is how many bytes are pending.
func (w *writer) owes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending)
}

// finish ends this direction of the carrier behind all that has been written.
func (w *writer) finish() error {
	if err := w.take(time.Time{}); err != nil {
		return err
	}
	w.mu.Lock()
	pending := w.pending
	w.pending = nil
	w.mu.Unlock()
	err := w.write(pending)
	w.finished = true
	if ended := endWriting(w.carrier); err == nil {
		err = ended
	}
	_ = w.release()
	return err
}

// endWriting ends a carrier's direction, or the carrier if it has no half-close.
func endWriting(c Carrier) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
