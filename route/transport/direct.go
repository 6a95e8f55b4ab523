package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/mux"
	"github.com/secureportal/sp/wire"
)

// A direct connection is one that both sides have dialed, each from a port that the other one has
// been told. There is one such port, so there is one connection between the two, and a mux on it.

// ErrNotDirect says that nothing can be known of a port by a link to some address: it is no TCP, or
// goes through a proxy.
var ErrNotDirect = errors.New("the way there is no TCP connection of this machine's own")

// DialShared makes a link to whoever listens at a, a TCP address, from a port that others can go
// out from as well: one of some, or any if there are none.
func (s *Set) DialShared(
	ctx context.Context, a Address, ports []uint16,
) (Link, netio.Port, error) {
	if a.Kind != wire.IP4 && a.Kind != wire.IP6 && a.Kind != wire.DNS ||
		s.config.Proxy != nil && s.config.Proxy(a) != nil {
		return nil, netio.Port{}, ErrNotDirect
	}
	c, port, err := netio.DialShared(ctx, Format(a), s.config.ConnectTimeout,
		checkReach(s.config, a), s.config.From, ports)
	if err != nil {
		return nil, port, err
	}
	l, err := ToLink(c)
	return l, port, err
}

// IsWithheld tells whether an address is one that nobody means who has not written it: of this
// machine, of a link, of many, or of a host's own services.
func IsWithheld(ip netip.Addr) bool {
	for _, p := range withheld {
		if p.Contains(plain(ip)) {
			return true
		}
	}
	return false
}

// directBudget bounds what the windows of all links on one node's direct connections grow by.
const directBudget = carriersBudget

// NewDirectBudget returns what the direct connections of one node have in common.
func NewDirectBudget() *mux.Budget { return mux.NewBudget(directBudget) }

// directCarrier is a TCP connection as package mux wants it.
type directCarrier struct{ *bearer }

var (
	_ mux.Carrier      = directCarrier{}
	_ netio.LazyReader = directCarrier{}
)

// ReadLazy implements netio.LazyReader.
func (c directCarrier) ReadLazy(room netio.Room) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.closing.Load() {
		return 0, net.ErrClosed
	}
	n, err := netio.ReadLazy(c.Link, room)
	if n > 0 {
		c.heard.Store(int64(time.Since(c.began)))
	}
	return n, err
}

// TakesMore tells netio whether a few bytes would be taken at once.
func (c directCarrier) TakesMore() bool { return netio.TakesMore(c.Link) }

// newDirectBearer makes a bearer of a connection that a netio.Port has.
func newDirectBearer(c net.Conn) (*bearer, error) {
	netio.TuneDirect(c)
	l, err := ToLink(c)
	if err != nil {
		return nil, err
	}
	return newBearer(l), nil
}

// Direct is the side of a direct connection that opens links. It is safe for concurrent use.
type Direct struct {
	on    *bearer
	mux   *mux.Mux
	run   func(func()) bool
	ended chan struct{}

	mu    sync.Mutex // guards what follows
	links int        // that are open
	idle  time.Time  // since when there has been none
}

// NewDirect makes one of a connection that a netio.Port has. run runs what the caller waits for. It
// is over when Done says so; Close ends it. It closes c if it fails.
func NewDirect(c net.Conn, run func(func()) bool, budget *mux.Budget) (*Direct, error) {
	on, err := newDirectBearer(c)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	d := &Direct{on: on, run: run, idle: time.Now(), ended: make(chan struct{})}
	d.mux, err = mux.NewOpener(directCarrier{on}, mux.Config{Run: run, Reads: true, Budget: budget})
	if err == nil && !run(d.read) {
		_ = d.mux.Close()
		err = net.ErrClosed
	}
	if err != nil {
		_ = on.Link.Close()
		return nil, err
	}
	return d, d.mux.AcceptNone()
}

func (d *Direct) read() {
	defer close(d.ended)
	d.mux.Read()
	_ = d.mux.Close()
	d.on.linger()
}

// Open opens a link, and waits for nothing. Where nothing has come for a while, and the other side
// does not take the link in time, the connection is given up with all that is on it.
func (d *Direct) Open() (Link, error) {
	heard, asks := d.on.heard.Load(), d.on.quietFor() > heardLately
	l, err := d.mux.Open()
	if err != nil {
		if l != nil {
			_ = l.Close()
		}
		return nil, err
	}
	if asks {
		d.run(func() { d.awaitTaken(l, heard) })
	}
	d.count(1)
	return &directLink{Link: l, by: d}, nil
}

// awaitTaken gives the connection up if nobody takes a link in time, and nothing has come since
// something was last heard. Whoever closes or resets the link before that knows nothing of the
// connection.
func (d *Direct) awaitTaken(l *mux.Link, heard int64) {
	err := l.AwaitTaken(time.Now().Add(directTaken))
	if errors.Is(err, os.ErrDeadlineExceeded) && d.on.heard.Load() == heard {
		d.Reset()
	}
}

func (d *Direct) count(more int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.links += more
	d.idle = time.Now()
}

// directLink is a link that is counted.
type directLink struct {
	*mux.Link
	by   *Direct
	once sync.Once
}

func (l *directLink) leave() { l.once.Do(func() { l.by.count(-1) }) }

// Close implements net.Conn.
func (l *directLink) Close() error {
	defer l.leave()
	return l.Link.Close()
}

// Reset implements netio.Resetter.
func (l *directLink) Reset() error {
	defer l.leave()
	return l.Link.Reset()
}

// GoesDirectly tells route.Stream and channel.Flow, by whichever of them the link is asked, that it
// is on a direct connection.
func (l *directLink) GoesDirectly() bool { return true }

// directTaken is for the other side of a direct connection to take a link. Who waits has another
// way.
const directTaken = 3 * time.Second

// Check looks whether the other side is still there, and gives the connection up if it is not. It
// waits for nothing.
func (d *Direct) Check() {
	d.run(func() {
		heard := d.on.heard.Load()
		l, err := d.mux.Open()
		if err != nil {
			return
		}
		defer l.Close()
		d.awaitTaken(l, heard)
	})
}

// IdleFor returns for how long no link has been open.
func (d *Direct) IdleFor() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.links > 0 {
		return 0
	}
	return time.Since(d.idle)
}

// RemoteAddr returns where the connection leads.
func (d *Direct) RemoteAddr() net.Addr { return d.on.RemoteAddr() }

// Done returns a channel that is closed when the connection has ended.
func (d *Direct) Done() <-chan struct{} { return d.ended }

// Finish has all arrive that has been written, ends the connection behind it, and returns when that
// has been done, or has had its time. Nothing is to be opened any more.
func (d *Direct) Finish() {
	finish(d.mux, d.on)
	<-d.ended
}

// finishTimeout is for what has been written on a direct connection to arrive.
const finishTimeout = 5 * time.Second

// finish ends a mux behind all that has been written, and returns when the other side has ended it
// as well, or has had its time.
func finish(m *mux.Mux, on *bearer) {
	late := time.AfterFunc(finishTimeout, func() { _ = on.Close() })
	defer late.Stop()
	if m.Finish() != nil {
		_ = on.Close()
	}
	<-m.Done()
}

// Close ends the connection in order, and does not wait for that.
func (d *Direct) Close() { _ = d.on.Close() }

// Reset ends the connection at once: what is on it breaks off.
func (d *Direct) Reset() { _ = d.on.Reset() }

// DirectCaller is the side of a direct connection that accepts links.
type DirectCaller struct {
	*bearer
	budget *mux.Budget
	mux    atomic.Pointer[mux.Mux] // nil before Carry
}

var _ Carrying = (*DirectCaller)(nil)

// NewDirectCaller returns a connection that a netio.Port has as what carries links that come in.
// Whoever is at its other end is a stranger.
func NewDirectCaller(c net.Conn, budget *mux.Budget) (*DirectCaller, error) {
	on, err := newDirectBearer(c)
	if err != nil {
		return nil, err
	}
	return &DirectCaller{bearer: on, budget: budget}, nil
}

// Finish is Direct.Finish.
func (c *DirectCaller) Finish() {
	if m := c.mux.Load(); m != nil {
		finish(m, c.bearer)
	} else {
		_ = c.Close()
	}
}

// Carry implements Carrying. The first link has to come in time.
func (c *DirectCaller) Carry(
	ctx context.Context, run func(func()) bool, within time.Duration, serve func(Link),
) error {
	defer c.linger()
	config := mux.Config{Run: run, Reads: true, Budget: c.budget}
	m, err := mux.NewAcceptor(directCarrier{c.bearer}, config)
	if err != nil {
		return err
	}
	defer m.Close()
	c.mux.Store(m)
	first := time.AfterFunc(within, func() { _ = c.Close() })
	defer first.Stop()
	running := run(func() {
		for {
			l, err := m.Accept()
			if err != nil {
				return
			}
			first.Stop()
			serve(acceptedDirectly{l})
		}
	})
	if !running {
		return net.ErrClosed
	}
	defer context.AfterFunc(ctx, func() { run(func() { _ = m.AcceptNone() }) })()
	m.Read()
	return m.Err()
}

// acceptedDirectly is a link that has come in on a direct connection.
type acceptedDirectly struct{ *mux.Link }

// GoesDirectly is directLink's.
func (acceptedDirectly) GoesDirectly() bool { return true }
