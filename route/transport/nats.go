package transport

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/secureportal/sp/internal/natsconn"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/queue"
)

// NATS: a box is a subject below that of the queue, SUBJECT.ID. What nobody reads is answered by
// the server, to SUBJECT.ID.TO, with the identity of the box that it was for.

// natsFlush is for what was written last to be taken, at the end.
const natsFlush = 2 * time.Second

// natsPending is the most bytes that wait here to be put where they belong, which takes no time.
const natsPending = 64 << 20

// newNATS is the transport through queues of NATS.
func newNATS(c Config) Transport {
	b := newBrokered(c)
	b.join = b.joinNATS
	return b
}

// natsQueue is a subject, as a hub uses it.
type natsQueue struct {
	*interruption
	subject string
	self    queue.Box
	conn    *natsconn.Conn
	main    *nats.Subscription // to the queue's own box, of who listens
	socket  atomic.Value       // an onSocket
	late    *time.Timer        // of hurried
}

// onSocket is what a connection to a server is on, whatever that is.
type onSocket struct{ Link }

// unsent is what the socket has not sent. What the client keeps is less than it tells without
// waiting.
func (q *natsQueue) unsent() int {
	on, _ := q.socket.Load().(onSocket)
	return netio.Unsent(on.Link)
}

// Close implements joined.
func (q *natsQueue) Close() {
	q.conn.Close()
	q.late.Stop()
}

// hurried implements joined. A server that takes nothing is lost by itself, but not soon.
func (q *natsQueue) hurried() {
	q.late = time.AfterFunc(natsFlush, func() {
		if on, ok := q.socket.Load().(onSocket); ok {
			_ = netio.Reset(on.Link)
		}
	})
}

// mute implements joined.
func (q *natsQueue) mute() { _ = q.main.Unsubscribe() }

// joinNATS connects to a server, and subscribes to the boxes of a hub.
func (b *brokered) joinNATS(ctx context.Context, a Address, j joining) (*queue.Hub, joined, error) {
	host, _ := splitQueue(a)
	q := &natsQueue{
		interruption: newInterruption(), subject: queueOf(a), self: queue.Box{ID: j.self},
	}
	conn, err := natsconn.Connect(ctx, natsconn.Config{
		Servers: []natsconn.Server{{
			Address: net.JoinHostPort(host, fmt.Sprint(a.Port)),
			Login:   b.config.Brokers.For(host, a.Port),
		}},
		Name: "sp",
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			l, err := dialSocket(ctx, b.config, a)
			if err != nil {
				return nil, withoutOperation(err)
			}
			q.socket.Store(onSocket{l})
			return l, nil
		},
		Lost:   q.note,
		Failed: func(_ *nats.Subscription, err error) { q.note(err) },
	})
	if err != nil {
		return nil, nil, natsError(err)
	}
	q.conn = conn
	most := int(min(conn.MaxPayload(), queue.MaxMessage))
	if most < queue.LeastMessage {
		conn.Close()
		return nil, nil, &refusedError{fmt.Errorf("the broker takes messages of %d bytes at "+
			"most: max_payload has to be %d or more", most, queue.LeastMessage)}
	}
	hub := queue.NewHub(queue.Config{
		Send: q.send, Unsent: q.unsent, Most: most, Self: q.self, Accept: j.accept,
	})
	if err := q.subscribe(ctx, hub, j.accept != nil); err != nil {
		hub.Close()
		conn.Close()
		return nil, nil, natsError(err)
	}
	return hub, q, nil
}

// natsError is a refusedError if the broker does not let this node in.
func natsError(err error) error {
	if natsconn.IsRefusal(err) {
		return &refusedError{err}
	}
	return err
}

// subscribe subscribes to the boxes of a hub, and returns when the server knows.
func (q *natsQueue) subscribe(ctx context.Context, hub *queue.Hub, listens bool) error {
	receive := func(m *nats.Msg) { hub.Receive(m.Data) }
	subjects := map[string]nats.MsgHandler{
		q.box(q.self):        receive,
		q.box(q.self) + ".*": func(m *nats.Msg) { q.missed(hub, m) },
	}
	if listens {
		subjects[q.subject] = receive
	}
	for subject, handle := range subjects {
		s, err := q.conn.Subscribe(subject, handle)
		if err == nil {
			err = s.SetPendingLimits(-1, natsPending)
		}
		if subject == q.subject {
			q.main = s
		}
		if err != nil {
			return err
		}
	}
	if err := q.conn.FlushWithContext(ctx); err != nil {
		return err
	}
	select {
	case <-q.lost(): // a subject was refused
		return &refusedError{q.why()}
	default:
		return nil
	}
}

// box is the subject of a box.
func (q *natsQueue) box(b queue.Box) string {
	if b == (queue.Box{}) {
		return q.subject
	}
	return q.subject + "." + hex.EncodeToString(b.ID[:])
}

// send sends a message to a box.
func (q *natsQueue) send(to queue.Box, m []byte) error {
	err := q.conn.PublishMsg(&nats.Msg{
		Subject: q.box(to), Data: m, Reply: q.box(q.self) + "." + hex.EncodeToString(to.ID[:]),
	})
	if err != nil {
		q.note(natsconn.Explain(err))
	}
	return err
}

// missed takes note of what a server says of something that was sent.
func (q *natsQueue) missed(hub *queue.Hub, m *nats.Msg) {
	if !natsconn.IsNobody(m) {
		return
	}
	name := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	var to queue.Box
	if n, err := hex.Decode(to.ID[:], []byte(name)); err != nil || n != queue.IDSize {
		return
	}
	hub.Missed(to)
}
