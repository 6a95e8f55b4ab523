package route

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/wire"
)

const (
	openingTimeout    = 5 * time.Second // for an opening message to arrive
	refuseTimeout     = time.Second     // for the asker to take a refusal
	refuseFlowTimeout = time.Minute     // the same of a flow: the link's next flow may be behind it
	refuseDrain       = 64 << 10        // bytes of the asker's that are thrown away meanwhile
)

// Conn is a net.Conn whose direction can be ended: what a node serves, forwards and watches.
type Conn = netio.Conn

// Request is an opening message on this node, and the link that it came on. It belongs to the
// goroutine that serves it.
type Request struct {
	// Message is what was asked; Onward begins behind the service's own address.
	Message wire.Message
	// Session tells who asks. It is nil if the request did not come through a secure channel.
	Session *channel.Session

	node    *Node
	conn    netio.Conn
	ahead   []byte        // read behind the message
	address *wire.Address // what was taken off the onward route last; nil once it is answered
	answer  answer
	end     end
	missed  bool // somebody would miss what the request is for: see channel.Activity
	stays   bool // it is not over when its Handler has returned: see Stay
	asking  bool // it has come in a flow, and is not answered yet: see life.ask

	left func() // called when it is over, after it has stayed; nil: it must not

	// What limits count. A link from the network has a slot until something else counts it, and for
	// longer if its peer has been authenticated; party is whom the request counts for, if it does.
	slot    *admission.Slot
	carrier *admission.Slot // of what the link came on; nil if that is nothing
	party   admission.Party
	way     *admission.Way // that the link has come by; nil for one that was accepted here
}

// answer is how far a request's answer is.
type answer uint8

const (
	unanswered answer = iota
	answered
	refusedEarly // refused, and what the asker sends has not ended yet
)

// end tells who ends a request's link.
type end uint8

const (
	endsWithCaller  end = iota // whoever has the request served
	endsWithRequest            // the request, unless it is handed over
	endsElsewhere              // somebody else: it has been handed over
)

// newRequest returns a request on a link that has not been read yet. slot is the link's if it
// counts as unauthenticated, and nil otherwise.
func (n *Node) newRequest(link netio.Conn, slot *admission.Slot) *Request {
	return &Request{node: n, conn: link, slot: slot}
}

// newFlowRequest returns a request in a flow of a session, which has not been read yet.
func (n *Node) newFlowRequest(f *channel.Flow) *Request {
	return &Request{node: n, conn: f, Session: f.Session()}
}

// ReadRequest reads an opening message from a link that this side has made, in whatever time it
// takes to come.
func (n *Node) ReadRequest(link Conn) (*Request, error) {
	q := n.newRequest(link, nil)
	return q, q.read()
}

// Conn returns the link that the message came on.
func (q *Request) Conn() Conn { return q.conn }

// IsFollowed tells whether bytes have come behind the message.
func (q *Request) IsFollowed() bool { return len(q.ahead) > 0 }

// Peek reads what the asker sends behind the message, before it is answered, until enough says that
// this will do, or that it will not, or the time has come. enough gets what is new, and bounds how
// much there is. It comes again from the stream that Accept returns.
func (q *Request) Peek(by time.Time, enough func(more []byte) (bool, error)) error {
	if done, err := enough(q.ahead); done || err != nil {
		return err
	}
	_ = q.conn.SetReadDeadline(by)
	defer func() { _ = q.conn.SetReadDeadline(time.Time{}) }()
	var room netio.PooledRoom
	defer room.Release()
	for {
		n, err := netio.ReadLazy(q.conn, &room)
		if err != nil {
			return err
		}
		more := room.Filled(n)
		q.ahead = append(q.ahead, more...)
		if done, err := enough(more); done || err != nil {
			return err
		}
	}
}

// Watch resets c, which belongs to the request, when the node ends or nothing that is sent on it
// arrives, until Unwatch is called with it.
func (q *Request) Watch(c Conn) { q.node.links.watch(c) }

// Unwatch is the end of Watch.
func (q *Request) Unwatch(c Conn) { q.node.links.unwatch(c) }

// FreeSlot says that the link does not count as unauthenticated any more, for it counts for
// something else. Only the goroutine that serves the link calls it.
func (q *Request) FreeSlot() {
	q.slot.Free()
	q.carrier.Free()
	q.slot = nil
}

// authenticated is called when the link's peer has proved who it is, and is trusted.
func (q *Request) authenticated() {
	q.slot.Authenticate()
	q.carrier.Authenticate()
}

// begin counts the request, until it is finished.
func (q *Request) begin() error {
	party := q.asker()
	if err := q.node.begin(party); err != nil {
		q.sayLeaving()
		return err
	}
	q.party = party
	q.FreeSlot()
	return nil
}

// sayLeaving tells a far end that asks for something new, where the node serves nothing more, that
// it goes away: the session has begun after the others were told. Those who only go on with what
// they have there are not told, who would leave again.
func (q *Request) sayLeaving() {
	if q.Session != nil && q.node.IsDraining() {
		q.node.GoAway(func(s *channel.Session) bool { return s == q.Session })
	}
}

// ask counts a request in a flow as not answered yet, until isAnswered is called.
func (q *Request) ask() {
	if q.Session != nil && !q.asking {
		q.asking = true
		q.node.life.ask()
	}
}

// isAnswered is the end of ask.
func (q *Request) isAnswered() {
	if q.asking {
		q.asking = false
		q.node.life.answer()
	}
}

// asker is whom a request counts for: who is known, or where it comes from.
func (q *Request) asker() admission.Party {
	if q.Session != nil {
		return admission.ByIdentity(q.Session.Peer().Identifier())
	}
	return admission.Anonymous(q.source())
}

// Accept answers that the service is there. The answer goes out with the stream's first bytes or
// its Flush. The message is gone then: the stream may live for years.
func (q *Request) Accept() *Stream {
	q.answer = answered
	out := wire.AppendStatus(nil, wire.Status{Code: wire.OK, Hop: q.ordinal()})
	s := accepted(q.conn, q.ahead, out)
	q.Message, q.ahead, q.address = wire.Message{}, nil, nil
	return s
}

// Forward sends the message on to next, and joins the two links until both directions have ended.
// It owns next from now on, and closes it in any case.
func (q *Request) Forward(next Conn) error {
	q.answer = answered
	if f, ok := q.conn.(*channel.Flow); ok {
		f.Background() // its ends know whether anybody would miss it
	}
	to := q.goesTo()
	untrack := q.node.links.track(next)
	if code, err := q.pass(next); err != nil {
		untrack()
		q.refuse(wire.Status{Code: code})
		return err
	}
	defer untrack()
	return q.joinTo(next, to)
}

// HandOver gives the request's link to somebody else, who has Forward of another request close it:
// the end of the request does not. So the goroutine that has served the link until then ends, and
// costs no stack while the link is used. It reports false, and has done nothing, for a link that
// ends with the goroutine that serves it, as a flow does and a link in a mux. It is the last thing
// that a Handler does.
func (q *Request) HandOver() bool {
	if q.end == endsWithRequest {
		q.end = endsElsewhere
		return true
	}
	return false
}

// Stay has the request live on when its Handler has returned, until over is called, once, with what
// the Handler would have returned. So who waits for something that may take years needs no
// goroutine, nor the stack that one has on which a request has been resolved. It reports false
// where the request ends with the Handler.
func (q *Request) Stay() (over func(error), ok bool) {
	if q.left == nil {
		return nil, false
	}
	q.stays = true
	return func(err error) {
		q.node.finish(q, err)
		q.node.leave(q)
	}, true
}

// pass writes the message, with this node on the way back, and what came behind it to next. To an
// asker in a channel it says that it has done so.
func (q *Request) pass(next netio.Conn) (wire.Code, error) {
	code, err := q.send(next, q.Message.Onward)
	q.sent()
	if err == nil {
		_, _ = q.conn.Write(q.saysPassed()) // Join sees what is wrong
	}
	return code, err
}

// send writes the message, with this node on the way back and onward as what is left of the route,
// and what came behind it to next. The code goes with an error.
func (q *Request) send(next netio.Conn, onward Route) (wire.Code, error) {
	m := q.Message
	m.Onward = onward
	if saysLeaving(m) {
		return wire.BadMessage, errNotSaidHere
	}
	m.Return = append(wire.Route{q.node.labels.passing(q.source().String())}, m.Return...)
	out, err := wire.AppendMessage(nil, m)
	if err != nil {
		return wire.TooLong, err
	}
	_, err = next.Write(append(out, q.ahead...))
	return wire.Unreachable, err
}

// sent forgets what has been sent on: the request may live for years.
func (q *Request) sent() {
	q.Message, q.ahead, q.address = wire.Message{Return: q.Message.Return}, nil, nil
}

// saysPassed is what an asker in a channel is told when the message has been passed on, and nothing
// for others. He can believe this status; what comes behind it is somebody else's.
func (q *Request) saysPassed() []byte {
	if q.Session == nil {
		return nil
	}
	return wire.AppendStatus(nil, wire.Status{Code: wire.OK, Hop: q.ordinal()})
}

// ordinal is this node's place among those that the message has come by.
func (q *Request) ordinal() uint8 { return uint8(len(q.Message.Return)) }

// refuse answers that the service is not to be had, or that there is nothing more to do, and gives
// the asker time to take that. What the asker has sent already is read and thrown away: closing a
// socket that has unread data could take the answer back.
func (q *Request) refuse(status wire.Status) {
	q.answer = answered
	countRefusal(status.Code)
	status.Hop = q.ordinal()
	_ = q.conn.SetDeadline(time.Now().Add(refuseTimeout))
	if _, err := q.conn.Write(wire.AppendStatus(nil, status)); err != nil {
		return
	}
	if err := q.conn.CloseWrite(); err != nil {
		return
	}
	_, err := io.CopyN(io.Discard, q.conn, refuseDrain)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		q.answer = refusedEarly
	}
}

// awaitEnd reads a flow that has been refused to its end, however late that comes: the asker has
// seen both ends by then, and may have sent the next flow on the same link.
func (q *Request) awaitEnd() {
	if q.answer == refusedEarly && q.Session != nil {
		_ = q.conn.SetDeadline(time.Now().Add(refuseFlowTimeout))
		_, _ = io.CopyN(io.Discard, q.conn, refuseDrain)
	}
}

// readInTime is readOrRefuse for one who has to be quick.
func (q *Request) readInTime() bool {
	_ = q.conn.SetReadDeadline(time.Now().Add(openingTimeout))
	ok := q.readOrRefuse()
	if ok {
		_ = q.conn.SetReadDeadline(time.Time{})
	}
	return ok
}

// readOrRefuse reads the opening message, or refuses what is none. It reports whether there is one.
// Who ends at once asks for nothing, and is told the same: a flow's link is there for the next one
// then.
func (q *Request) readOrRefuse() bool {
	err := q.read()
	if err == nil {
		return true
	}
	if err == io.EOF {
		_ = q.conn.CloseWrite()
	} else {
		q.node.logger.Debug("no opening message", "peer", q.conn.RemoteAddr(), "error", err)
		q.refuse(wire.Status{Code: codeOf(err)})
	}
	return false
}

func codeOf(err error) wire.Code {
	switch {
	case errors.Is(err, wire.ErrTooLong):
		return wire.TooLong
	case errors.Is(err, os.ErrDeadlineExceeded):
		return wire.Timeout
	}
	return wire.BadMessage
}

// read reads the opening message, and what came with it.
func (q *Request) read() error {
	var room netio.PooledRoom
	defer room.Release()
	var b []byte
	for {
		size, err := wire.MessageSize(b)
		if err != nil {
			return err
		}
		if size > 0 && len(b) >= size {
			q.Message, err = wire.ParseMessage(b[:size:size])
			q.ahead = b[size:]
			return err
		}
		n, err := netio.ReadLazy(q.conn, &room)
		if err == io.EOF && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		b = append(b, room.Filled(n)...)
	}
}

// next takes the next address off the onward route.
func (q *Request) next() (wire.Address, bool) {
	if len(q.Message.Onward) == 0 {
		return wire.Address{}, false
	}
	a := q.Message.Onward[0]
	q.Message.Onward = q.Message.Onward[1:]
	return a, true
}
