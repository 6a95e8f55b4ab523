package route

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/route/direct"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// Two nodes that a relay has joined may reach each other without it. Each of them asks a relay at
// which address it is seen, from a port that more connections can go out from. They tell each other
// in the session that they have, and both dial at the same moment. What comes of it is a connection
// like any that comes in at a listener: nothing that is said there is believed before the session
// has proved it.

const (
	// directAfter is how long after its first stream a direct way is looked for: short connections
	// come and go by the relay.
	directAfter = time.Second
	// directIdle is for how long there has been no link on a direct connection until it is closed,
	// unless somebody would miss the session, and directLook is the time between two looks.
	directIdle = 5 * time.Minute
	directLook = 30 * time.Second
)

// Why there is no direct way, or none any more.
var (
	// ErrNoRelay says that a route goes over no single relay, or that direct ways are not wanted.
	ErrNoRelay = errors.New("there is no relay on the way that a direct one could do without")

	errDirectLost = errors.New("the direct connection has broken")
	errDirectIdle = errors.New("nobody has used the direct connection for a while")
)

// directs is what a node has of direct ways. It has locks of its own.
type directs struct {
	node *Node    // set once
	ways sync.Map // *directWay by *channel.Session: of those that this node has made

	answers directAnswers
}

// directWay is the direct way of one session that this node has made, and the looking for it.
type directWay struct {
	node    *Node
	session *channel.Session
	relay   wire.Address

	wanted  atomic.Bool   // somebody looks for it, or has it
	changed chan struct{} // gets something when the network is another one

	mu    sync.Mutex // guards what follows
	pause direct.Pause
	state DirectState
}

// DirectState is what is known of the direct way of a session.
type DirectState struct {
	// At is where the far end is reached without a relay; invalid if it is not.
	At netip.AddrPort
	// Took is how long the far end took to answer there when the connection was made.
	Took time.Duration
	// Err says why the last attempt has failed, or why the connection has ended; nil if there is a
	// connection, or has been no attempt.
	Err error
}

// directable returns the relay's address if links by a route go over one, and over nothing else
// that forwards, up to the last node.
func directable(segs []Route, k int) (relay wire.Address, ok bool) {
	if k != 0 || forwardName(segs[0]) == "" {
		return relay, false
	}
	for _, a := range segs[0][1:] {
		if a.IsTransport() {
			return relay, false
		}
	}
	return segs[0][0], true
}

// mayMake has a session that this node has made go directly, once a stream has been opened in it
// for a while, if that can be.
func (d *directs) mayMake(s *channel.Session, segs []Route, k int) {
	n := d.node
	relay, ok := directable(segs, k)
	if !ok || !n.config.Direct || n.ProxyTo(relay) != "" {
		return
	}
	at, ok := addrPortOf(s.Link().RemoteAddr())
	if !ok || transport.IsWithheld(at.Addr()) { // it is no TCP, or on this machine
		return
	}
	w := &directWay{node: n, session: s, relay: relay, changed: make(chan struct{}, 1)}
	d.ways.Store(s, w)
	// Connections that go on in s, in place of one that was lost, are opened by nobody.
	resumed := time.AfterFunc(directAfter, func() {
		if s.IsMissed() {
			d.want(s)
		}
	})
	s.AfterEnd(func() {
		resumed.Stop()
		d.ways.Delete(s)
	})
	if s.Err() != nil { // before it was stored, perhaps
		d.ways.Delete(s)
	}
	if !s.Survives() {
		n.logger.Debug("no direct way: connections that end with their links stay on the relay",
			"identifier", s.Peer().Identifier(), "name", s.Name())
	}
}

// of returns the way of a session, or nil.
func (d *directs) of(s *channel.Session) *directWay {
	if w, ok := d.ways.Load(s); ok {
		return w.(*directWay)
	}
	return nil
}

// Direct returns what is known of the direct way of a session, if one is looked for when there are
// streams.
func (n *Node) Direct(s *channel.Session) (state DirectState, ok bool) {
	w := n.directs.of(s)
	if w == nil {
		return state, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state, true
}

// TryDirect makes the direct way of the session on a route now, if it is not there, and returns
// what has come of that. ErrNoRelay says that no relay leads there, so that there is nothing to do.
func (n *Node) TryDirect(ctx context.Context, r Route) (DirectState, error) {
	s, err := n.Session(ctx, r)
	if err != nil {
		return DirectState{}, err
	}
	w := n.directs.of(s)
	if w == nil {
		return DirectState{}, ErrNoRelay
	}
	if w.wanted.CompareAndSwap(false, true) {
		made, err := w.attempt(ctx)
		w.note(made, err)
		if err == nil {
			if !n.Go(func() { w.hold(made); w.wanted.Store(false) }) {
				made.Reset()
				return DirectState{}, net.ErrClosed
			}
		} else {
			w.wanted.Store(false)
		}
	}
	state, _ := n.Direct(s)
	return state, nil
}

// want is told of a stream that has been opened in a session. One that ends with its link stays on
// the relay: it could not come back there when the direct way breaks.
func (d *directs) want(s *channel.Session) {
	w := d.of(s)
	if w == nil || !s.Survives() || w.wanted.Load() || !w.wanted.CompareAndSwap(false, true) {
		return
	}
	if !d.node.Go(w.run) {
		w.wanted.Store(false)
	}
}

// run makes the direct way, and makes it anew when it has ended, as long as somebody uses the
// session.
func (w *directWay) run() {
	defer w.wanted.Store(false)
	if !w.sleep(directAfter) {
		return
	}
	for {
		wait := w.untilDue()
		if wait > 0 && !w.sleep(wait) {
			return
		}
		if !w.session.IsMissed() {
			return // the next stream asks again
		}
		made, err := w.attempt(w.node.life.ctx)
		w.note(made, err)
		if err != nil {
			continue
		}
		w.hold(made)
		if w.session.Err() != nil {
			return
		}
	}
}

func (w *directWay) untilDue() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pause.Wait(time.Now())
}

// sleep waits, no longer than until the network is another one. It reports false if the session or
// the node has ended meanwhile.
func (w *directWay) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.changed:
		w.mu.Lock()
		w.pause.Reset()
		w.mu.Unlock()
	case <-w.session.Done():
		return false
	case <-w.node.life.ctx.Done():
		return false
	}
	return true
}

// note takes note of an attempt.
func (w *directWay) note(made *transport.Direct, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	about := []any{"identifier", w.session.Peer().Identifier(), "name", w.session.Name()}
	if err == nil {
		w.state.Err = nil
		w.state.At, _ = addrPortOf(made.RemoteAddr())
		directMade.Inc()
		w.node.logger.Info("connections go directly, and not over the relay",
			append(about, "peer", made.RemoteAddr())...)
		return
	}
	directFailed.Inc()
	w.state.Err = err
	if errors.Is(err, errNoDirect) {
		w.pause.Never(time.Now())
	} else {
		w.pause.Failed(time.Now(), 0)
	}
	w.node.logger.Debug("no direct way: connections go over the relay", append(about, "error", err)...)
}

// hold returns when the direct way has ended: it has broken, nobody has used it for a while, or the
// session is over.
func (w *directWay) hold(made *transport.Direct) {
	began := time.Now()
	directNow.Inc()
	defer directNow.Dec()
	defer w.node.directs.attach()()
	why := errDirectLost
	idle := time.NewTimer(directIdle)
	defer idle.Stop()
	for open := true; open; {
		select {
		case <-made.Done():
			open = false
		case <-w.session.Over():
			w.finish(made)
			open = false
		case <-w.node.Inactive():
			w.finish(made)
			open = false
		case <-w.changed:
			made.Check()
		case <-idle.C:
			unused := made.IdleFor()
			if isDirectUnused(unused, w.session.IsMissed()) {
				why = errDirectIdle
				made.Finish()
				open = false
			}
			idle.Reset(max(directIdle-unused, directLook))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = DirectState{Err: why}
	if why == errDirectIdle {
		w.pause.Reset()
	} else {
		w.pause.Failed(time.Now(), time.Since(began))
	}
	if w.session.Err() == nil {
		w.node.logger.Info("connections go over the relay again",
			"identifier", w.session.Peer().Identifier(), "name", w.session.Name(), "reason", why)
	}
}

// isDirectUnused tells whether a direct way has had no link for long enough to be closed. Whose
// session is missed would have it made anew at once.
func isDirectUnused(idle time.Duration, missed bool) bool { return idle >= directIdle && !missed }

// finish ends the direct way of a node that has nothing more to say. One that is closed ends its
// sessions first.
func (w *directWay) finish(made *transport.Direct) {
	select {
	case <-w.node.life.ctx.Done():
		<-w.session.Over()
		made.Close()
		<-made.Done()
	default:
		made.Finish()
	}
}

// networkChanged has direct ways looked for anew, and those that there are looked at.
func (d *directs) networkChanged() {
	d.ways.Range(func(_, w any) bool {
		select {
		case w.(*directWay).changed <- struct{}{}:
		default:
		}
		return true
	})
}

// attach is Node.Attach for a direct connection, which may be made as late as it likes.
func (d *directs) attach() (detach func()) {
	if detach, err := d.node.Attach(); err == nil {
		return detach
	}
	return func() {}
}
