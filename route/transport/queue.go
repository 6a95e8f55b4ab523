package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/route/mux"
	"github.com/secureportal/sp/route/queue"
)

const (
	// queueBacklog is how many carriers that have come through a queue wait to be accepted.
	queueBacklog = 256

	// queueLeast and queueMost are between two attempts to come back to a broker.
	queueLeast = 500 * time.Millisecond
	queueMost  = 15 * time.Second

	// maxKnown is of how many queues is remembered who has answered there, and maxDoubted of how
	// many who have that they were not who was meant.
	maxKnown   = 256
	maxDoubted = 1024
)

// joined is a connection to a broker, as one queue of it is used.
type joined interface {
	// lost is closed when the connection has ended, or has lost messages. Then why is why.
	lost() <-chan struct{}
	why() error

	// mute has nobody hear any more of who wants a carrier.
	mute()

	// hurried is called once, before the hub is closed: from then on who sends does not wait for the
	// broker for long. What it was given by then still has its time, in Close.
	hurried()

	// Close ends the connection, and waits for it.
	Close()
}

// joining is how a hub is joined to a queue.
type joining struct {
	self   queue.ID
	accept func(*queue.Carrier) bool // of who listens

	// say is told what is wrong while it is tried again; nil is told nothing. It does not wait.
	say func(error)
}

// brokered makes links on carriers through the queues of brokers of one kind.
type brokered struct {
	bearings
	config Config // set once, as is the next
	join   func(context.Context, Address, joining) (*queue.Hub, joined, error)

	mu      sync.Mutex              // guards what follows
	met     map[Address]queueAnswer // and have not proved yet who they are
	known   map[Address]queue.Box   // have
	doubted map[queue.ID]bool       // have not
}

// queueAnswer is somebody who has answered at a queue, which anybody may who can write there.
type queueAnswer struct {
	who queue.Box
	on  *bearing
}

var _ answered = (*brokered)(nil)

func newBrokered(c Config) *brokered {
	return &brokered{
		bearings: newBearings(0), config: c, met: make(map[Address]queueAnswer),
		known: make(map[Address]queue.Box), doubted: make(map[queue.ID]bool),
	}
}

// Source implements Transport: who comes through a queue is at the broker, as are all others.
func (*brokered) Source(peer net.Addr) admission.Source {
	if a, ok := peer.(urlAddr); ok {
		return admission.FromName(a.String())
	}
	return admission.Source{}
}

// Dial implements Transport: a link is made on the carrier that is there, or on a new one.
func (b *brokered) Dial(ctx context.Context, a Address) (Link, error) {
	ctx, cancel := context.WithTimeout(ctx, b.config.sooner())
	defer cancel()
	return b.carriers.dial(ctx, a, func(ctx context.Context, a Address) (shared, error) {
		made, err := b.connect(ctx, a)
		if err != nil {
			return nil, err // and not a shared that is none
		}
		return made, nil
	})
}

// connect makes a carrier, on a connection to the broker of its own.
func (b *brokered) connect(ctx context.Context, a Address) (*bearing, error) {
	hub, by, err := b.join(ctx, a, joining{self: queue.NewID()})
	if err != nil {
		return nil, err
	}
	end := (&present{hub: hub, by: by}).close
	b.mu.Lock()
	known := b.known[placeOf(a)]
	b.mu.Unlock()
	c, who, err := hub.Dial(ctx, queue.Dialing{Known: known, Doubted: b.isDoubted})
	if err != nil {
		end()
		return nil, err
	}
	made := newBearing(newQueueEnd(c, hub, by), dialerIdle, queueAddr(a), queueAddr(a))
	if err := b.begin(made, c); err != nil {
		return nil, err
	}
	if who != known {
		b.meet(a, queueAnswer{who, made})
	}
	return made, nil
}

// meet remembers who has answered, until it is known whether he was meant.
func (b *brokered) meet(a Address, who queueAnswer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.met) >= maxKnown {
		clear(b.met)
	}
	b.met[placeOf(a)] = who
}

func (b *brokered) isDoubted(who queue.Box) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.doubted[who.ID]
}

// proved implements answered: the next carrier to a goes to the same process, if that is still
// there.
func (b *brokered) proved(a Address) {
	b.mu.Lock()
	defer b.mu.Unlock()
	met, ok := b.met[placeOf(a)]
	if !ok {
		return
	}
	delete(b.met, placeOf(a))
	delete(b.doubted, met.who.ID)
	if len(b.known) >= maxKnown {
		clear(b.known)
	}
	b.known[placeOf(a)] = met.who
}

// doubt implements answered: he gets no more links, and the next one who answers is preferred.
func (b *brokered) doubt(a Address) bool {
	b.mu.Lock()
	met, ok := b.met[placeOf(a)]
	if ok {
		delete(b.met, placeOf(a))
		if len(b.doubted) >= maxDoubted {
			clear(b.doubted)
		}
		b.doubted[met.who.ID] = true
		if b.known[placeOf(a)] == met.who {
			delete(b.known, placeOf(a))
		}
	}
	b.mu.Unlock()
	if ok {
		met.on.retire()
	}
	return ok
}

// queueEnd is a carrier through a queue as a bearing wants it, with the connection that it alone is
// on.
type queueEnd struct {
	*queue.Carrier
	end func()
}

// newQueueEnd has the carrier end with its connection to the broker, and linger the other way
// round.
func newQueueEnd(c *queue.Carrier, hub *queue.Hub, by joined) queueEnd {
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-by.lost():
			hub.Cut(by.why())
		case <-stop:
		}
	})
	return queueEnd{c, sync.OnceFunc(func() {
		close(stop)
		watching.Wait()
		(&present{hub: hub, by: by}).close()
	})}
}

func (e queueEnd) quietFor() time.Duration { return e.QuietFor() }

// linger implements bears: what has been written the broker has.
func (e queueEnd) linger() { e.end() }

// Reset implements bears.
func (e queueEnd) Reset() error {
	e.end()
	return nil
}

// Listen implements Transport. A broker that cannot be reached is waited for; one that is reached
// and refuses is an error.
func (b *brokered) Listen(ctx context.Context, a Address) (Listener, error) {
	l := &queueListener{
		of: b, at: a, accepted: make(chan queueAccepted, queueBacklog),
		self: queue.NewID(), ended: make(chan struct{}), changed: make(chan struct{}),
	}
	var life context.Context
	life, l.end = context.WithCancel(context.Background())
	l.open, l.stop = context.WithCancel(life)
	ctx, cancel := context.WithTimeout(ctx, b.config.sooner())
	defer cancel()
	first, err := l.join(ctx)
	if refused := (*refusedError)(nil); errors.As(err, &refused) {
		l.end()
		return nil, err
	}
	l.down = err
	if !b.carriers.begin(queueLife{l}, func() { l.run(life, first, err) }) {
		l.end()
		if first != nil {
			first.close()
		}
		return nil, net.ErrClosed
	}
	return l, nil
}

// refusedError says that a broker does not let this node do what it wants, now and later.
type refusedError struct{ error }

// queueListener is a listener for carriers through a queue. They live on when it is closed, and so
// does its connection to the broker.
type queueListener struct {
	of   *brokered
	at   Address
	self queue.ID
	end  context.CancelFunc // ends the connection as well
	open context.Context    // ends when no more are taken, as it is to by
	stop context.CancelFunc

	accepted chan queueAccepted
	ended    chan struct{} // closed when none come any more

	mu      sync.Mutex // guards what follows, and sends on accepted
	over    bool
	down    error         // why there is no connection to the broker; nil: there is one
	changed chan struct{} // closed when down becomes another
}

// queueLife is the connection of a listener, as the transport ends it.
type queueLife struct{ *queueListener }

func (queueLife) enter() bool                        { return false }
func (queueLife) leave()                             {}
func (queueLife) retire()                            {}
func (queueLife) open(context.Context) (Link, error) { return nil, net.ErrClosed }
func (l queueLife) leadsTo() Address                 { return l.at }
func (l queueLife) shut()                            { l.end() }

type queueAccepted struct {
	carrier *queue.Carrier
	err     error
}

// present is a connection to a broker.
type present struct {
	hub  *queue.Hub
	by   joined
	once sync.Once // for hurry
}

// hurry has nobody wait for long for the broker, which is about to be left.
func (p *present) hurry() { p.once.Do(p.by.hurried) }

// close ends the connection, after a bounded time.
func (p *present) close() {
	p.hurry()
	p.hub.Close()
	p.by.Close()
}

func (l *queueListener) join(ctx context.Context) (*present, error) {
	hub, by, err := l.of.join(ctx, l.at, joining{self: l.self, accept: l.take, say: l.say})
	if err != nil {
		return nil, err
	}
	return &present{hub: hub, by: by}, nil
}

// take takes a carrier that has come, if there is room.
func (l *queueListener) take(c *queue.Carrier) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	select {
	case l.accepted <- queueAccepted{carrier: c}:
		return true
	default:
		return false
	}
}

// say has whoever accepts told what is wrong. To him it is no error that he knows, such as the end
// of a connection: he goes on accepting.
func (l *queueListener) say(err error) {
	select {
	case l.accepted <- queueAccepted{err: fmt.Errorf("%s: %v", Format(l.at), err)}:
	default:
	}
}

// run keeps a connection to the broker until the listener is closed, and then for as long as there
// are carriers, or until life ends.
func (l *queueListener) run(life context.Context, now *present, err error) {
	defer l.end()
	defer l.rest()
	pause := queueLeast
	for {
		l.setDown(err)
		if now == nil {
			l.say(err)
			select {
			case <-l.open.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, queueMost)
			ctx, cancel := context.WithTimeout(l.open, l.of.config.sooner())
			now, err = l.join(ctx)
			cancel()
			continue
		}
		pause = queueLeast
		select {
		case <-l.open.Done():
			l.drain(life, now)
			return
		case <-now.by.lost():
			err = now.by.why()
			now.hub.Cut(err)
			now.close()
			now = nil
		}
	}
}

// setDown takes note of why there is no connection to the broker, or that there is one.
func (l *queueListener) setDown(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if why == nil && l.down == nil {
		return
	}
	l.down = why
	close(l.changed)
	l.changed = make(chan struct{})
}

// Down implements Interruptible.
func (l *queueListener) Down() (changed <-chan struct{}, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down != nil {
		why = fmt.Errorf("nobody can come by %s, for its broker is not reached: %w",
			Format(l.at), l.down)
	}
	return l.changed, why
}

// drain takes no more carriers, and waits until those that there are have ended.
func (l *queueListener) drain(life context.Context, now *present) {
	defer context.AfterFunc(life, now.hurry)()
	left := l.refuse() // first: mute may wait for the broker
	now.by.mute()
	drained := now.hub.Drain()
	endAll(left)
	select {
	case <-life.Done():
	case <-now.by.lost():
	case <-drained:
	}
	now.close()
}

// rest has nobody wait for carriers any more, and ends those that nobody has accepted.
func (l *queueListener) rest() { endAll(l.refuse()) }

// endAll closes carriers, each of which may wait for the broker.
func endAll(all []*queue.Carrier) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for _, c := range all {
		tasks.Go(func() { _ = c.Close() })
	}
}

// refuse has nobody wait for carriers any more, and returns those that nobody has accepted.
func (l *queueListener) refuse() (left []*queue.Carrier) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return nil
	}
	l.over = true
	close(l.ended)
	for {
		select {
		case a := <-l.accepted:
			if a.carrier != nil {
				left = append(left, a.carrier)
			}
		default:
			return left
		}
	}
}

// Accept implements Listener.
func (l *queueListener) Accept() (Link, error) {
	select {
	case a := <-l.accepted:
		if a.err != nil {
			return nil, a.err
		}
		return &queueCaller{carrier: a.carrier, budget: l.of.budget, at: queueAddr(l.at)}, nil
	case <-l.open.Done():
		return nil, net.ErrClosed
	}
}

// Close implements Listener.
func (l *queueListener) Close() error {
	l.stop()
	<-l.ended
	return nil
}

// Addr implements Listener.
func (l *queueListener) Addr() net.Addr { return queueAddr(l.at) }

// queueCaller is somebody who has come through a queue.
type queueCaller struct {
	carrier *queue.Carrier
	budget  *mux.Budget // of all that come to one node
	at      urlAddr
}

var _ Carrying = (*queueCaller)(nil)

// Carry implements Carrying.
func (c *queueCaller) Carry(
	ctx context.Context, run func(func()) bool, within time.Duration, serve func(Link),
) error {
	end := func() { _ = c.carrier.Close() }
	defer end()
	b := newBearing(queueEnd{c.carrier, end}, acceptorIdle, c.at, c.at)
	return b.carry(ctx, c.carrier, mux.Config{Budget: c.budget}, run, within, serve)
}

// It is no link itself: nothing is read from it and written to it.

var errNotALink = errors.New("this is a carrier of links and none itself")

// Read implements net.Conn.
func (*queueCaller) Read([]byte) (int, error) { return 0, errNotALink }

// Write implements net.Conn.
func (*queueCaller) Write([]byte) (int, error) { return 0, errNotALink }

// CloseWrite implements netio.Conn.
func (*queueCaller) CloseWrite() error { return errNotALink }

// Close implements net.Conn.
func (c *queueCaller) Close() error { return c.carrier.Close() }

// LocalAddr implements net.Conn.
func (c *queueCaller) LocalAddr() net.Addr { return c.at }

// RemoteAddr implements net.Conn.
func (c *queueCaller) RemoteAddr() net.Addr { return c.at }

// SetDeadline implements net.Conn.
func (*queueCaller) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn.
func (*queueCaller) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn.
func (c *queueCaller) SetWriteDeadline(t time.Time) error { return c.carrier.SetWriteDeadline(t) }

var _ netio.Conn = (*queueCaller)(nil)

// interruption is the end of a connection to a broker, which is the first one of several.
type interruption struct {
	once sync.Once
	done chan struct{}
	err  error
}

func newInterruption() *interruption { return &interruption{done: make(chan struct{})} }

// note takes note of why.
func (i *interruption) note(err error) {
	i.once.Do(func() {
		if err == nil {
			err = syscall.ECONNRESET
		}
		i.err = fmt.Errorf("the connection to the broker has ended: %w", err)
		close(i.done)
	})
}

func (i *interruption) lost() <-chan struct{} { return i.done }

func (i *interruption) why() error {
	<-i.done
	return i.err
}
