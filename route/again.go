package route

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/wire"
)

// An application's stream that was not opened is opened again where nothing of it has been carried:
// its outlet is being restarted, or was busy, or the message came too late. That nothing has been
// is known if the node where the channel ends says so in it, or if the application has said nothing
// yet. What anybody else says is no reason to send the application's data twice.
const (
	// againTries is how often a stream is opened again.
	againTries = 2
	// againPause is the longest pause before that: not all come back at once.
	againPause = 200 * time.Millisecond
	// againBytes is how much of what the application says is kept until the far end has answered,
	// and againMost how much where there is the memory. What says more is not opened again.
	againBytes = 32 << 10
	againMost  = 1 << 20
)

// again is what it takes to open a stream again. Nil is a stream that is not.
type again struct {
	open    func(context.Context) (*Stream, error)
	allowed func() bool // whether there are not too many of them
	// elsewhere tells whether that would be with another process that shares the name. Nil: no.
	elsewhere func() bool
	on        atomic.Pointer[healthCheck] // the path that the stream is on
	refused   func(on *healthCheck)       // is told that whoever that leads to has refused it
	life      context.Context
	run       func(func()) bool // on a goroutine that who ends life waits for
	by        time.Time         // when to give up
	answerBy  time.Time         // set before anything is done with the stream

	possible atomic.Bool // until the far end has answered, or too much has been written
	left     int         // tries; the stream's reading lock guards it

	// The stream's writing lock guards these.
	sent  []byte // by the application
	ended bool   // so has its direction
	// abandoned says that the stream was reset before the application had said anything.
	abandoned bool

	taken atomic.Int64 // from the process's budget, for what is kept beyond againBytes

	hook struct {
		sync.Mutex
		do      func()
		settled bool // it is the conn's by now
	}

	ending struct {
		sync.Mutex
		stopped bool
		cancel  context.CancelFunc // of what is under way
	}
}

// newAgain returns what opens a stream of n's again with open, no later than by and while n lives.
func newAgain(n *Node, by time.Time, allowed func() bool,
	open func(context.Context) (*Stream, error),
) *again {
	a := &again{
		open: open, allowed: allowed, life: n.life.ctx, run: n.Go, by: by, left: againTries,
	}
	a.possible.Store(true)
	return a
}

// mayHappen tells whether the stream may be opened again.
func (a *again) mayHappen() bool { return a != nil && a.possible.Load() }

// keepLocked keeps what the application says. If it is too much, the stream is not opened again.
func (a *again) keepLocked(p []byte) {
	switch {
	case a == nil:
	case !a.possible.Load():
		a.sent = nil
	case !a.hasRoomLocked(len(p)):
		a.giveUp()
		a.sent = nil
	default:
		a.sent = append(a.sent, p...)
	}
}

// hasRoomLocked tells whether so many bytes more may be kept, and takes room for them.
func (a *again) hasRoomLocked(more int) bool {
	size := len(a.sent) + more
	switch {
	case size > againMost:
		return false
	case size <= max(againBytes, cap(a.sent)):
		return true
	}
	room := min(2*size, againMost)
	if !budget.Process.Fits(int64(room)) {
		return false
	}
	budget.Process.Take(int64(room))
	budget.Process.Give(a.taken.Swap(int64(room)))
	if !a.possible.Load() {
		a.giveUp()
		return false
	}
	a.sent = append(make([]byte, 0, room), a.sent...)
	return true
}

// giveUp has the stream not opened again, and gives back what was taken to keep what it has said.
func (a *again) giveUp() {
	a.possible.Store(false)
	budget.Process.Give(a.taken.Swap(0))
}

// keepsHook keeps what is to be called when the stream's channel has ended, until the far end has
// answered: until then, who waits for that sees it.
func (a *again) keepsHook(do func()) bool {
	if a == nil {
		return false
	}
	a.hook.Lock()
	defer a.hook.Unlock()
	a.hook.do = do
	return !a.hook.settled
}

// settle is called when the stream is on the conn on which it stays, or with nil if it has failed.
func (a *again) settle(on netio.Conn) {
	if a == nil {
		return
	}
	a.giveUp()
	a.hook.Lock()
	a.hook.settled = true
	do := a.hook.do
	a.hook.Unlock()
	if e, ok := on.(interface{ OnEnd(func()) }); ok && do != nil {
		e.OnEnd(do)
	}
}

// settle is again's, and forgets what it would have taken to open the stream again.
func (s *Stream) settle(on netio.Conn) {
	s.again.Load().settle(on)
	s.again.Store(nil)
}

// mayOpenAgain tells whether the stream may be opened again.
func (s *Stream) mayOpenAgain() bool { return s.again.Load().mayHappen() }

// stop has the stream not opened again.
func (a *again) stop() {
	if a == nil {
		return
	}
	a.giveUp()
	a.ending.Lock()
	defer a.ending.Unlock()
	a.ending.stopped = true
	if a.ending.cancel != nil {
		a.ending.cancel()
	}
}

// begin returns what bounds the stream's being opened again. The caller cancels it.
func (a *again) begin() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithDeadline(a.life, a.by)
	a.ending.Lock()
	defer a.ending.Unlock()
	if a.ending.cancel = cancel; a.ending.stopped {
		cancel()
	}
	return ctx, cancel
}

// openAgain opens the stream again, if it has failed because of err and that may be done. It is
// called with reading locked.
func (s *Stream) openAgain(err error) bool {
	a := s.again.Load()
	if !a.mayHappen() || a.left == 0 || errors.Is(err, os.ErrDeadlineExceeded) ||
		!a.notCarried(err, true) {
		return false
	}
	a.left--
	if status := (*StatusError)(nil); errors.As(err, &status) && !status.Hearsay && a.refused != nil {
		a.refused(a.on.Load())
	}
	why := err                // err is not the same for long
	s.failure.Store(&why)     // whoever else fails now, fails because of that
	_ = netio.Reset(s.conn()) // nothing more goes out on it, and whoever writes does not wait for it
	w := &s.writing
	w.Lock()
	lent := false
	defer func() {
		if !lent {
			w.Unlock()
		}
	}()
	silent := len(a.sent) == 0 && !a.ended || a.abandoned
	if !a.mayHappen() || !a.notCarried(err, silent) || !a.allowed() {
		return false
	}
	ctx, cancel := a.begin()
	defer cancel()
	select {
	case <-time.After(a.pause()):
	case <-ctx.Done():
		return false
	}
	next, err := a.open(ctx)
	if err != nil {
		return false
	}
	if !s.moveLocked(ctx, next) {
		return false
	}
	// Whoever is told much may answer before he has heard all of it, and then waits until somebody
	// reads: that is the caller. Who writes meanwhile waits for the lock, although there is an answer.
	s.pending.Store(true)
	lent = len(a.sent) > againBytes && a.run(func() {
		defer w.Unlock()
		s.sayAgainLocked(a, next)
	})
	if !lent {
		s.sayAgainLocked(a, next)
	}
	return true
}

// abandon resets a stream that is not answered, so that it is opened again, unless the application
// has said something that may have been carried.
func (s *Stream) abandon() {
	a := s.again.Load()
	w := &s.writing
	if !a.mayHappen() || !w.TryLock() { // somebody who writes has something to say
		return
	}
	defer w.Unlock()
	if s.awaiting.Load() && len(a.sent) == 0 && !a.ended && !a.abandoned {
		a.abandoned = true
		_ = netio.Reset(s.conn())
	}
}

// sayAgainLocked says again what has been said, where the stream goes on. The answer says what is
// wrong with it, if that fails.
func (s *Stream) sayAgainLocked(a *again, next *Stream) {
	defer s.pending.Store(false)
	conn := next.first
	if _, err := conn.Write(append(next.writing.out, a.sent...)); err == nil && a.ended {
		_ = conn.CloseWrite()
	}
}

// moveLocked has the stream go on where next would.
func (s *Stream) moveLocked(ctx context.Context, next *Stream) bool {
	a, conn := s.again.Load(), next.first
	s.later.Store(&conn)
	if ctx.Err() != nil { // closed meanwhile
		_ = conn.Close()
		return false
	}
	s.reading.from, s.reading.ahead, a.abandoned = next.reading.from, nil, false
	s.failure.Store(nil)
	if s.answerBy.Load() {
		_ = conn.SetReadDeadline(a.answerBy)
	}
	streamsAgain.Inc()
	return true
}

// pause returns how long to wait before the stream is opened again.
func (a *again) pause() time.Duration {
	if a.isElsewhere() {
		return 0
	}
	return rand.N(againPause)
}

func (a *again) isElsewhere() bool { return a.elsewhere != nil && a.elsewhere() }

// notCarried is the function notCarried. A process that says that it does not reach the service is
// no better when it is asked again, but another one may be.
func (a *again) notCarried(err error, silent bool) bool {
	if notCarried(err, silent) {
		return true
	}
	var status *StatusError
	return errors.As(err, &status) && !status.Hearsay &&
		(status.Code == wire.Refused || status.Code == wire.Unreachable) && a.isElsewhere()
}

// notCarried tells whether a stream that has failed because of err has certainly not brought
// anything to the service. silent says that the application has said nothing, of which there is
// nothing that could arrive twice.
func notCarried(err error, silent bool) bool {
	var status *StatusError
	if !errors.As(err, &status) {
		return silent || errors.Is(err, channel.ErrNeverSeen)
	}
	transient := slices.Contains([]wire.Code{
		wire.Busy, wire.GoingAway, wire.Timeout, wire.NoSession,
	}, status.Code)
	return transient && (silent || !status.Hearsay)
}
