package transport

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/route/mux"
)

// carriersBudget bounds what the windows of all links on one node's carriers of a kind grow by.
const carriersBudget = 256 << 20

// bearings are what a transport whose links are carried has: one carrier between two nodes, and a
// mux on it.
type bearings struct {
	lately, taken time.Duration // set once
	frame         int           // see mux.Config; set once
	budget        *mux.Budget
	carriers      *sharing
}

func newBearings(frame int) bearings {
	return bearings{
		lately: heardLately, taken: takenWithin, frame: frame,
		budget: mux.NewBudget(carriersBudget), carriers: newSharing(),
	}
}

// Close implements Transport.
func (m *bearings) Close() error {
	m.carriers.close()
	return nil
}

// bears is what a carrier is on.
type bears interface {
	// Close ends both directions, and does not wait for that.
	Close() error

	// linger closes it once what has been written is on its way, or has had time to. It is for who
	// has read the carrier to its end.
	linger()

	// Reset closes it at once.
	Reset() error

	// quietFor returns for how long nothing has come.
	quietFor() time.Duration
}

// bearing is a mux on a carrier that ends when it has had no link for a while.
type bearing struct {
	usage

	of            *bearings // whose dialer has made it; nil for one that has come in
	mux           *mux.Mux
	on            bears
	local, remote urlAddr
}

func newBearing(on bears, idle time.Duration, local, remote urlAddr) *bearing {
	return &bearing{
		usage: usage{end: func() { _ = on.Close() }, idle: idle}, on: on,
		local: local, remote: remote,
	}
}

// begin has a carrier that was made carry links until it ends. Where that fails, it is closed.
func (m *bearings) begin(b *bearing, c mux.Carrier) error {
	b.of = m
	config := mux.Config{Run: m.carriers.run, Reads: true, Budget: m.budget, Frame: m.frame}
	var err error
	if b.mux, err = mux.NewOpener(c, config); err != nil {
		_ = b.on.Reset()
		return err
	}
	b.begin(b.idle)
	running := m.carriers.begin(b, func() {
		b.mux.Read()
		_ = b.mux.Close()
		b.over()
		b.on.linger()
	})
	if !running {
		b.over()
		_ = b.on.Reset()
		return net.ErrClosed
	}
	return b.mux.AcceptNone()
}

// carry implements Carrying.Carry for a carrier that has come in: the caller calls linger. config
// says what is special about the mux.
func (b *bearing) carry(
	ctx context.Context, c mux.Carrier, config mux.Config, run func(func()) bool,
	within time.Duration, serve func(Link),
) (err error) {
	config.Run, config.Reads = run, true
	if b.mux, err = mux.NewAcceptor(c, config); err != nil {
		return err
	}
	defer b.mux.Close()
	b.begin(within)
	defer b.over()
	if !run(func() { b.serve(serve) }) {
		return net.ErrClosed
	}
	stop := context.AfterFunc(ctx, func() { run(b.takeNone) })
	defer stop()
	b.mux.Read()
	return b.mux.Err()
}

// takeNone has the other side open no more links on the mux, which ends with the last one.
func (b *bearing) takeNone() {
	_ = b.mux.AcceptNone() // if that cannot be said, the mux ends
	b.retire()
}

// serve hands over the links that come until the mux ends.
func (b *bearing) serve(serve func(Link)) {
	for {
		l, err := b.mux.Accept()
		if err != nil {
			return
		}
		if b.enter() {
			serve(b.link(l))
		} else {
			_ = l.Reset()
		}
	}
}

// leadsTo implements shared.
func (b *bearing) leadsTo() Address { return b.remote.at }

// shut implements shared.
func (b *bearing) shut() { _ = b.on.Close() }

// open implements shared. Where nothing has come for a while, it waits until the other side has
// taken the link.
func (b *bearing) open(ctx context.Context) (Link, error) {
	type result struct {
		link *mux.Link
		err  error
	}
	by := time.Now().Add(b.of.taken)
	results := make(chan result, 1)
	running := b.of.carriers.run(func() {
		l, err := b.mux.Open()
		if err == nil && b.on.quietFor() > b.of.lately {
			err = l.AwaitTaken(by)
		}
		results <- result{l, err}
	})
	if !running {
		b.leave()
		return nil, net.ErrClosed
	}
	waiting, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	select {
	case r := <-results:
		link := b.link(r.link)
		if r.err == nil {
			return link, nil
		}
		if r.link == nil {
			b.leave()
		} else {
			_ = link.Close()
		}
		return nil, r.err
	case <-waiting.Done():
		b.of.carriers.run(func() { // the place has not been taken
			if r := <-results; r.link != nil {
				_ = r.link.Close()
			}
			b.leave()
		})
		return nil, context.Cause(waiting)
	}
}

// link returns a link of the mux that has been counted.
func (b *bearing) link(l *mux.Link) Link { return &carried{Link: l, by: b} }

// carried is a link on a carrier.
type carried struct {
	*mux.Link
	by   *bearing
	once sync.Once
}

// Close implements net.Conn.
func (c *carried) Close() error {
	defer c.once.Do(c.by.leave)
	return c.Link.Close()
}

// Reset implements netio.Resetter.
func (c *carried) Reset() error {
	defer c.once.Do(c.by.leave)
	return c.Link.Reset()
}

// LocalAddr implements net.Conn.
func (c *carried) LocalAddr() net.Addr { return c.by.local }

// RemoteAddr implements net.Conn.
func (c *carried) RemoteAddr() net.Addr { return c.by.remote }
