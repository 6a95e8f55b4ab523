package transport

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// several are listeners that are one. It is safe for concurrent use.
type several struct {
	listeners []net.Listener

	accepted chan acceptance
	closing  chan struct{}
	once     sync.Once
	tasks    sync.WaitGroup

	mu      sync.Mutex    // guards what follows
	expired chan struct{} // closed while Accept is not to wait
	used    bool          // somebody accepts
	rest    []net.Conn    // accepted when it was closed, for him
}

type acceptance struct {
	conn net.Conn
	err  error
}

func newSeveral(listeners ...net.Listener) *several {
	l := &several{
		listeners: listeners, accepted: make(chan acceptance), closing: make(chan struct{}),
		expired: make(chan struct{}),
	}
	for _, one := range listeners {
		l.tasks.Go(func() { l.run(one) })
	}
	return l
}

// run hands what one accepts, errors included, to whoever calls Accept, and takes nothing before
// somebody has: what waits, waits in the kernel.
func (l *several) run(one net.Listener) {
	for {
		c, err := one.Accept()
		select {
		case l.accepted <- acceptance{c, err}:
		case <-l.closing:
			if err == nil {
				l.leave(c)
			}
			return
		}
	}
}

// leave keeps what was accepted at the end for who accepts, until he is told of the end.
func (l *several) leave(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.used {
		_ = c.Close()
		return
	}
	l.rest = append(l.rest, c)
}

// Accept implements net.Listener.
func (l *several) Accept() (net.Conn, error) {
	l.mu.Lock()
	l.used = true
	expired := l.expired
	l.mu.Unlock()
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-expired:
		return nil, os.ErrDeadlineExceeded
	case <-l.closing:
		return l.acceptRest()
	}
}

// acceptRest is Accept once it is closed.
func (l *several) acceptRest() (net.Conn, error) {
	l.tasks.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rest) == 0 {
		return nil, net.ErrClosed
	}
	c := l.rest[0]
	l.rest = l.rest[1:]
	return c, nil
}

// SetDeadline ends Accept, and has it fail, until it is called with the zero time: any other one is
// taken for one that has passed. Who has come meanwhile stays for who accepts next.
func (l *several) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	passed := false
	select {
	case <-l.expired:
		passed = true
	default:
	}
	switch {
	case t.IsZero() && passed:
		l.expired = make(chan struct{})
	case !t.IsZero() && !passed:
		close(l.expired)
	}
	return nil
}

// Close implements net.Listener. It returns when nothing is accepted any more.
func (l *several) Close() error {
	var errs []error
	l.once.Do(func() {
		close(l.closing)
		for _, one := range l.listeners {
			errs = append(errs, one.Close())
		}
	})
	l.tasks.Wait()
	return errors.Join(errs...)
}

// Addr implements net.Listener: that of the first.
func (l *several) Addr() net.Addr { return l.listeners[0].Addr() }
