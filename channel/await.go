package channel

import (
	"io"
	"os"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

var _ netio.ResetAwaiter = (*Flow)(nil)

// resetWait is somebody who waits in AwaitReset. It costs a half-closed flow some channels, and others nothing.
type resetWait struct {
	done chan struct{} // closed when the flow is no longer open
	left chan struct{} // closed when nobody waits on the link any more
	late chan struct{} // gets one when a deadline that has passed is set
}

// over says that the flow is no longer open. It is called with life locked, on nil where nobody waits.
func (w *resetWait) over() {
	if w != nil {
		close(w.done)
	}
}

// dismiss is over where the link stays: it takes the waiter off it, so that the next flow has it for itself.
func (w *resetWait) dismiss(conn Conn) {
	if w == nil {
		return
	}
	close(w.done)
	_ = conn.SetReadDeadline(time.Unix(1, 0))
	<-w.left
	_ = conn.SetReadDeadline(time.Time{})
}

// AwaitReset implements netio.ResetAwaiter: after the other end has ended its direction nobody reads from the link, and
// somebody must notice that the link is reset or the session has ended.
func (f *Flow) AwaitReset() error {
	ended, err := f.awaitAbort()
	if f.is(flowClean) {
		return nil
	}
	if err != nil {
		return err
	}
	w := &resetWait{done: make(chan struct{}), left: make(chan struct{}), late: make(chan struct{}, 1)}
	f.life.Lock()
	open, late := f.life.state == flowOpen, f.life.late
	if open && !late {
		f.life.awaiting = w
	}
	f.life.Unlock()
	switch {
	case !open:
		return f.Err()
	case late:
		return os.ErrDeadlineExceeded
	}
	if ended {
		err = netio.AwaitReset(f.chain.conn)
	}
	close(w.left)
	if err == nil { // a link that cannot tell
		select {
		case <-w.done:
		case <-w.late:
			err = os.ErrDeadlineExceeded
		case <-f.session.Done():
		}
	}
	if f.is(flowClean) {
		return nil
	}
	if err == nil {
		err = f.session.Err()
	}
	if err == nil {
		return f.Err()
	}
	return f.explain(err)
}

// awaitAbort waits until the other end has ended its direction, if it has not: for a flow inside this one, which is over
// with an abort. It reports false if data came instead, which is not for who waits. Nobody may dismiss it, for before that
// end no other flow can follow on the link; a deadline ends it.
func (f *Flow) awaitAbort() (ended bool, err error) {
	f.receiving.Lock()
	err = f.await()
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

// setLate tells who waits in AwaitReset of a deadline that has passed: a flow inside this one dismisses its waiter so.
func (f *Flow) setLate(t time.Time) {
	f.life.Lock()
	defer f.life.Unlock()
	f.life.late = !t.IsZero() && !t.After(time.Now())
	if w := f.life.awaiting; w != nil && f.life.late {
		select {
		case w.late <- struct{}{}:
		default:
		}
	}
}
