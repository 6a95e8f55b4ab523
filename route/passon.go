package route

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/wire"
)

// passOnTimeout is for a next hop to refuse what it is not for, before another one is tried. Who
// has not answered by then keeps the link: it may be the far end that takes its time.
const passOnTimeout = 5 * time.Second

// NextHop is where a request may be passed on to.
type NextHop struct {
	Link   func(ctx context.Context) (Conn, error) // makes a link to the next node
	Onward Route                                   // what is left of the route there

	// Failed is called when the next node could not be reached, or has refused the request by
	// itself, which a *StatusError says. Nil calls nothing.
	Failed func(error)
}

func (h NextHop) again(ctx context.Context) (link Conn, end func(), err error) {
	link, err = h.Link(ctx)
	return link, func() {}, err
}

// PassOn forwards the request to the first of some next hops that does not refuse it by itself:
// what a node behind it says is not its own. An error is what the last one has said, or none if
// there was no hop at all, and the request has not been answered then.
func (q *Request) PassOn(ctx context.Context, hops iter.Seq[NextHop]) (passed bool, err error) {
	if f, ok := q.conn.(*channel.Flow); ok {
		f.Background() // its ends know whether anybody would miss it
	}
	for hop := range hops {
		next, dialErr := hop.Link(ctx)
		if dialErr != nil {
			err = RefuseBecause(wire.Unreachable, "the relay that may have it does not answer", dialErr)
			hop.failed(err)
			continue
		}
		untrack := q.node.links.track(next)
		var said []byte
		if said, err = q.offer(next, hop.Onward); err == nil {
			defer untrack()
			defer q.toldOfLeaving(hop.Onward, next.RemoteAddr().String(), hop.again)()
			return true, q.join(next, said)
		}
		untrack()
		hop.failed(err)
	}
	return false, err
}

func (h NextHop) failed(err error) {
	if h.Failed != nil {
		h.Failed(err)
	}
}

// offer sends the message on to next, and returns what came back for the asker. An error is what
// next itself has refused it with, or that it has not answered at all.
func (q *Request) offer(next Conn, onward Route) (said []byte, err error) {
	if code, err := q.send(next, onward); err != nil {
		return nil, RefuseBecause(code, "", err)
	}
	_ = next.SetReadDeadline(time.Now().Add(passOnTimeout))
	status, said, err := readStatusOf(next)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded): // it is the far end that takes its time
	case err != nil:
		return nil, RefuseBecause(wire.Unreachable, "", err)
	case status.Code != wire.OK && status.Hop == q.ordinal()+1:
		return nil, Refuse(status.Code, status.Reason)
	}
	return said, next.SetReadDeadline(time.Time{})
}

// join is Forward once next has taken the request, and said something for the asker.
func (q *Request) join(next Conn, said []byte) error {
	to := q.goesTo()
	q.answer = answered
	q.sent()
	said = append(q.saysPassed(), said...)
	if _, err := q.conn.Write(said); err != nil {
		return err
	}
	return q.joinTo(next, to)
}

// readStatusOf reads from a link until there is a status, and returns all that has been read.
func readStatusOf(link Conn) (status wire.Status, read []byte, err error) {
	var room netio.PooledRoom
	defer room.Release()
	for {
		status, size, err := wire.ParseStatus(read)
		if err != nil || size > 0 {
			return status, read, err
		}
		n, err := netio.ReadLazy(link, &room)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return status, read, err
		}
		read = append(read, room.Filled(n)...)
	}
}
