package channel

import (
	"net"
	"os"
	"time"

	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/netio"
)

// carrier takes a flow's records to the other end of the flow, and brings those of the other end. A
// link is one, and so far the only one. A flow asks nothing else of what is below it.
//
// What is sealed and what has been opened is the flow's. So are its deadlines and what has been
// read from the carrier. A flow may therefore get another carrier at any boundary between two
// records: see Flow.replace. One goroutine at a time writes, and one reads.
type carrier interface {
	// Write takes sealed records, whole ones. They are the caller's again when it returns.
	Write(records []byte) (int, error)
	// LazyReader brings what arrives, cut anywhere.
	netio.LazyReader
	// Taker tells whether what is written is taken.
	netio.Taker
	// MoreTaker tells whether a short record can be written without waiting.
	netio.MoreTaker
	// Quieter tells whether nothing has arrived, and no end either.
	netio.Quieter
	// ResetAwaiter waits after the other end has ended its direction.
	netio.ResetAwaiter

	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	LocalAddr() net.Addr
	RemoteAddr() net.Addr

	// rest takes note that both directions of the flow have ended. It takes what has been read
	// behind the flow's end. It is called with a lock of the flow held, and must not wait.
	rest(in *input)
	// free follows rest. The carrier may go to the next flow from here on.
	free()
	// Close and Reset end the carrier, with a flow that has not ended in both directions or has
	// been given another. A blocked read or write fails. After Reset, the other end sees a reset
	// and not an end, where the carrier can tell the two apart.
	Close() error
	Reset() error
	// ResetDelivered is Reset when what has been written has arrived, after wait at the latest.
	ResetDelivered(wait time.Duration) error
}

// carrier returns the flow's carrier as it is now.
func (f *Flow) carrier() carrier {
	f.way.Lock()
	defer f.way.Unlock()
	return f.way.carrier
}

// replace gives an open flow another carrier, and closes the one before. It is for flows that
// outlive their links: both ends do it, at the boundary between the same two records in each
// direction. What the old carrier has brought and has not been opened is thrown away; what has been
// opened will be delivered. Those who wait on the old carrier go on with the new one. It reports
// whether the flow was still open; if not, next is still the caller's.
func (f *Flow) replace(next carrier) bool {
	f.life.Lock()
	if f.life.state != flowOpen {
		f.life.Unlock()
		return false
	}
	f.way.Lock()
	old := f.way.carrier
	f.way.carrier = next
	f.way.Unlock()
	_ = next.SetReadDeadline(f.life.readBy)
	_ = next.SetWriteDeadline(f.life.writeBy)
	f.life.Unlock()
	f.countOn(next)
	_ = old.Close()
	return true
}

// fillLocked reads once from the carrier, waiting if need be.
func (f *Flow) fillLocked() error {
	r := &f.receiving
	for {
		waited, err := f.awaitHeld()
		if err != nil {
			return err
		}
		c := f.carrier()
		if waited && r.from == c {
			return nil // there may be a record, and how much of one there is has not been looked at
		}
		if r.from != c {
			r.in = r.in.over(c)
			r.from = c
			if !r.in.empty() {
				return nil // it has come with the other end's answer
			}
		}
		err = r.in.fill(c)
		f.moves.Add(1)
		if err != nil && f.carrier() == c && f.goesOnAfter(c, err) {
			continue
		}
		if f.carrier() == c {
			return err
		}
	}
}

// awaitHeld waits while no record is to be opened, which is no longer than resumeTimeout. It
// reports whether it has waited.
func (f *Flow) awaitHeld() (waited bool, err error) {
	held := f.lasting.heldBack()
	if held == nil {
		return false, nil
	}
	for over := false; !over && err == nil; {
		f.life.Lock()
		by := f.life.readBy
		f.life.Unlock()
		over, err = held.await(by)
	}
	return true, err
}

// await returns when records may be opened again, at by, unless that is zero, or when that may have
// changed.
func (h *held) await(by time.Time) (over bool, err error) {
	var late <-chan time.Time
	if !by.IsZero() {
		timer := time.NewTimer(time.Until(by))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-h.over:
		return true, nil
	case <-h.hurried:
		return false, nil
	case <-late:
		return false, os.ErrDeadlineExceeded
	}
}

// goesOnAfter tells whether the flow goes on, or waits for that, after a carrier has failed because
// of err. The session does not end for want of flows meanwhile, although this one has no link.
func (f *Flow) goesOnAfter(failed carrier, err error) bool {
	if isTimeout(err) {
		return false
	}
	defer f.Session().hold()()
	return f.again(failed, err) || f.suspend(failed, err)
}

// transmitLocked writes sealed records to the carrier. Where that is replaced meanwhile, they go
// out on the next one.
func (f *Flow) transmitLocked(out *output, records []byte) error {
	f.keepLocked(records)
	if f.lasting != nil {
		return f.transmitLastingLocked(out, records)
	}
	for {
		c := f.carrier()
		f.moves.Add(1)
		_, err := c.Write(records)
		if err != nil && f.carrier() == c && f.againLocked(c, err) {
			return nil // with all that had been written
		}
		if err == nil || f.carrier() == c {
			return linkError(err)
		}
	}
}

// transmitLastingLocked is transmitLocked for a flow that outlives its links: the records are kept,
// and go out with all that is missing where there is another link.
func (f *Flow) transmitLastingLocked(out *output, records []byte) error {
	kept := &f.lasting.kept
	whole := records[out.prefix:]
	count := countRecords(whole)
	kept.make(count, len(whole))
	c := f.carrier()
	f.moves.Add(1)
	_, err := c.Write(records)
	if kept.keep(out.buffer, whole, count) {
		out.leave()
	}
	if budget.IsUnreadTooMuch() {
		f.Session().endpoint.keepWhatFits()
	}
	if err == nil {
		return nil
	}
	release := f.Session().hold()
	again := f.carrier() == c && f.againLocked(c, err)
	suspended := !again && f.suspend(c, err)
	release()
	switch {
	case again:
		return nil // with all that had been written
	case suspended:
		return f.awaitLinkLocked()
	}
	return linkError(err)
}

// Takes implements netio.Taker.
func (f *Flow) Takes() int { return f.carrier().Takes() }

// AwaitTakes implements netio.Taker.
func (f *Flow) AwaitTakes() { f.carrier().AwaitTakes() }
