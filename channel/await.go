package channel

import (
	"io"
	"os"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

var _ netio.ResetAwaiter = (*Flow)(nil)

// resetWait is somebody who waits in AwaitReset. It costs a half-closed flow some channels, and
// others nothing.
type resetWait struct {
	done chan struct{} // closed when the flow is no longer open
	left chan struct{} // closed when nobody waits on the carrier any more
	late signal        // told of a deadline that has passed when it is set

	moved signal // told when the flow is in another session
}

// overLocked says that the flow, whose life is locked, is no longer open. On nil, where nobody
// waits, it does nothing.
func (w *resetWait) overLocked() {
	if w != nil {
		close(w.done)
	}
}

// dismissLocked is overLocked where the carrier stays: it takes the waiter off it, so that the next
// flow has it for itself.
func (w *resetWait) dismissLocked(c carrier) {
	if w == nil {
		return
	}
	close(w.done)
	_ = c.SetReadDeadline(time.Unix(1, 0))
	<-w.left
	_ = c.SetReadDeadline(time.Time{})
}

// AwaitReset implements netio.ResetAwaiter: after the other end has ended its direction nobody
// reads from the link, and somebody must notice that the link is reset or the session has ended.
func (f *Flow) AwaitReset() error {
	ended, err := f.awaitAbort()
	if f.is(flowClean) {
		return nil
	}
	if err != nil {
		return err
	}
	for {
		w, err := f.beginAwait()
		if w == nil {
			return err
		}
		var c carrier
		if ended {
			c = f.carrier()
			err = c.AwaitReset()
		}
		close(w.left) // first: who dismisses holds the flow's life until then
		if c != nil && f.goesOnWithout(c, err) {
			continue
		}
		if err == nil { // a carrier that cannot tell
			err = f.awaitEnd(w)
		}
		switch {
		case f.is(flowClean):
			return nil
		case err == nil:
			return f.Err()
		}
		return f.explain(err)
	}
}

// beginAwait has somebody wait, unless the flow is no longer open or a deadline has passed.
func (f *Flow) beginAwait() (*resetWait, error) {
	f.life.Lock()
	defer f.life.Unlock()
	switch {
	case f.life.state == flowClean:
		return nil, nil
	case f.life.state != flowOpen:
		return nil, f.life.reason
	case f.life.late:
		return nil, os.ErrDeadlineExceeded
	}
	w := &resetWait{
		done: make(chan struct{}), left: make(chan struct{}),
		late: newSignal(), moved: newSignal(),
	}
	f.life.awaiting = w
	return w, nil
}

// goesOnWithout tells whether the flow is on another carrier than c, or waits for one: c may have
// failed because of err.
func (f *Flow) goesOnWithout(c carrier, err error) bool {
	if f.carrier() != c {
		return f.isOpen()
	}
	return err != nil && f.suspend(c, linkError(err))
}

// awaitEnd returns when the flow is no longer open, a deadline has passed, or the session has
// ended.
func (f *Flow) awaitEnd(w *resetWait) error {
	for {
		s := f.Session()
		ended := s.Done()
		if s.isLost() {
			ended = nil // the flow may go on in another one
		}
		select {
		case <-w.done:
			return nil
		case <-w.late:
			return os.ErrDeadlineExceeded
		case <-w.moved:
		case <-ended:
			if f.lasting == nil || !s.isLost() {
				return s.Err()
			}
		}
	}
}

// awaitAbort waits until the other end has ended its direction, if it has not: for a flow inside
// this one, which is over with an abort. It reports false if data came instead, which is not for
// who waits. Nobody may dismiss it, for before that end no other flow can follow on the link; a
// deadline ends it.
func (f *Flow) awaitAbort() (ended bool, err error) {
	f.receiving.Lock()
	err = f.awaitLocked()
	f.receiving.Unlock()
	switch {
	case err == nil:
		return false, nil
	case err == io.EOF:
		return true, nil
	case isTimeout(err):
		return false, err
	}
	return false, f.explain(err)
}

// setLate tells who waits in AwaitReset of a deadline that has passed: a flow inside this one
// dismisses its waiter so.
func (f *Flow) setLate(t time.Time) {
	f.life.Lock()
	defer f.life.Unlock()
	f.life.late = !t.IsZero() && !t.After(time.Now())
	if w := f.life.awaiting; w != nil && f.life.late {
		w.late.tell()
	}
}
