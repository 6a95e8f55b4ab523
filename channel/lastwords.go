package channel

import (
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// lingerQuiet is for how long nothing may come from an other end that is to be told of a reset.
const lingerQuiet = 250 * time.Millisecond

// ResetDelivered implements netio.DeliveredResetter. A link that is closed while the other end
// still sends takes back what it has not brought there. So what comes is read and thrown away:
// behind an abort, until the other end, which has read it, closes the link; and behind the end of
// this side's direction, for as long as something comes and the other end has not said that it has
// all. If that ends in good order the link is clean, and the other end may have sent the next flow
// on it.
func (f *Flow) ResetDelivered(wait time.Duration) {
	by := time.Now().Add(wait)
	if f.sending.TryLock() { // or somebody still writes
		ended := f.sending.ended
		f.sending.Unlock()
		if ended && f.endsBy(by) {
			return
		}
	}
	linger := func(c carrier) error { return f.linger(c, by) }
	reset := func(c carrier) error { return c.ResetDelivered(time.Until(by)) }
	f.abortAnd(linger, reset, abortReset, errFlowClosed)
}

// endsBy throws away what the other end sends, until it knows all that this side has said, and
// reports whether it ends its direction.
func (f *Flow) endsBy(by time.Time) bool {
	wait := func() {
		quiet := time.Now().Add(lingerQuiet)
		if quiet.After(by) {
			quiet = by
		}
		_ = f.SetReadDeadline(quiet)
	}
	wait()
	f.receiving.Lock()
	defer f.receiving.Unlock()
	for {
		wait()
		if f.awaitLocked() != nil {
			return f.is(flowClean)
		}
		f.receiving.data = nil
		f.receiving.in.Release()
		if f.lasting != nil && f.lasting.kept.isOpened() {
			return false
		}
	}
}

// linger reads what comes until the other end closes the carrier, or by, and closes it.
func (f *Flow) linger(c carrier, by time.Time) error {
	_ = c.SetReadDeadline(by)
	f.receiving.Lock() // whoever has it fails to write, or with the carrier
	var room netio.PooledRoom
	for {
		if _, err := c.ReadLazy(&room); err != nil {
			break
		}
	}
	room.Release()
	f.receiving.Unlock()
	return c.Close()
}
