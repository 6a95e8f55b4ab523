package channel

import (
	"context"
	"time"
)

// SetDeadline implements net.Conn. A deadline that passes during a write ends the flow; one that
// passes during a read does not.
func (f *Flow) SetDeadline(t time.Time) error {
	f.setLate(t)
	defer f.hurry()
	return f.setDeadline(carrier.SetDeadline, t, true, true)
}

// SetReadDeadline implements net.Conn.
func (f *Flow) SetReadDeadline(t time.Time) error {
	f.setLate(t)
	defer f.hurry()
	return f.setDeadline(carrier.SetReadDeadline, t, true, false)
}

// hurry has who waits until records may be opened again look at his deadline, which has been set.
func (f *Flow) hurry() {
	if held := f.lasting.heldBack(); held != nil {
		held.hurried.tell()
	}
}

// SetWriteDeadline implements net.Conn.
func (f *Flow) SetWriteDeadline(t time.Time) error {
	return f.setDeadline(carrier.SetWriteDeadline, t, false, true)
}

// setDeadline sets the carrier's deadline, and keeps it for the carrier that may follow.
func (f *Flow) setDeadline(
	set func(carrier, time.Time) error, t time.Time, read, write bool,
) error {
	f.life.Lock()
	defer f.life.Unlock()
	if f.life.state != flowOpen {
		return nil
	}
	if read {
		f.life.readBy = t
	}
	if write {
		f.life.writeBy = t
		if f.lasting != nil {
			f.lasting.kept.wake()
		}
	}
	return set(f.carrier(), t)
}

// guard makes conn's blocked operations fail when ctx ends or after timeout. The returned function
// takes the guard off, and reports ctx's error in place of err where that is why err came about.
func guard(ctx context.Context, conn Conn, timeout time.Duration) func(err error) error {
	_ = conn.SetDeadline(time.Now().Add(timeout))
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	return func(err error) error {
		if !stop() {
			<-done
		}
		if err == nil {
			return conn.SetDeadline(time.Time{})
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
}
