package channel

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// absent is the carrier of a flow that has lost its link, until it has another one or ends: who
// reads waits, and what is written waits in kept.
type absent struct {
	local, remote net.Addr // of the link before
	over          event

	read, write deadline
}

// deadline is one that may be set while somebody waits.
type deadline struct {
	mu  sync.Mutex
	by  time.Time
	set chan struct{} // closed, and made anew, when by is set
}

func (d *deadline) put(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.by = t
	close(d.set)
	d.set = make(chan struct{})
}

func (d *deadline) get() (by time.Time, set <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.by, d.set
}

var _ carrier = (*absent)(nil)

// errAbsent is the error of using an absent carrier. It is told to nobody who uses a flow.
var errAbsent = errors.New("the link is lost")

func newAbsent(lost carrier) *absent {
	a := &absent{local: lost.LocalAddr(), remote: lost.RemoteAddr()}
	a.read.set, a.write.set = make(chan struct{}), make(chan struct{})
	return a
}

// Write implements carrier: it takes nothing.
func (a *absent) Write([]byte) (int, error) { return 0, errAbsent }

// ReadLazy implements carrier: it waits until the carrier is over.
func (a *absent) ReadLazy(netio.Room) (int, error) { return 0, a.wait(&a.read) }

// wait returns when the carrier is over, or with a deadline.
func (a *absent) wait(d *deadline) error {
	for {
		by, set := d.get()
		if done, err := a.waitBy(by, set); done {
			return err
		}
	}
}

func (a *absent) waitBy(by time.Time, set <-chan struct{}) (done bool, err error) {
	var late <-chan time.Time
	if !by.IsZero() {
		timer := time.NewTimer(time.Until(by))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-a.over.await():
		return true, errAbsent
	case <-late:
		return true, os.ErrDeadlineExceeded
	case <-set:
		return false, nil
	}
}

// AwaitReset implements carrier.
func (a *absent) AwaitReset() error {
	_, err := a.ReadLazy(nil)
	return err
}

// Takes implements carrier.
func (a *absent) Takes() int { return 0 }

// AwaitTakes implements carrier.
func (a *absent) AwaitTakes() { <-a.over.await() }

// Unsent implements netio.Unsenter.
func (a *absent) Unsent() int { return netio.UnsentForNow }

// TakesMore implements carrier.
func (a *absent) TakesMore() bool { return false }

// Quiet implements carrier.
func (a *absent) Quiet() bool { return true }

// SetReadDeadline implements carrier.
func (a *absent) SetReadDeadline(t time.Time) error {
	a.read.put(t)
	return nil
}

// SetWriteDeadline implements carrier. It is for who waits in Flow.awaitLinkLocked.
func (a *absent) SetWriteDeadline(t time.Time) error {
	a.write.put(t)
	return nil
}

// SetDeadline implements carrier.
func (a *absent) SetDeadline(t time.Time) error {
	a.read.put(t)
	a.write.put(t)
	return nil
}

// LocalAddr implements carrier.
func (a *absent) LocalAddr() net.Addr { return a.local }

// RemoteAddr implements carrier.
func (a *absent) RemoteAddr() net.Addr { return a.remote }

// rest implements carrier.
func (a *absent) rest(in *input) { in.drop() }

// free implements carrier.
func (a *absent) free() {}

// Close implements carrier.
func (a *absent) Close() error {
	a.over.happen()
	return nil
}

// Reset implements carrier.
func (a *absent) Reset() error { return a.Close() }

// ResetDelivered implements carrier.
func (a *absent) ResetDelivered(time.Duration) error { return a.Close() }
