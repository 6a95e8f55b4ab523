package route

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/wire"
)

// asker is who makes a handshake on a link, as far as limits know him.
type asker struct {
	source  admission.Source
	slot    *admission.Slot
	ordinal uint8 // this node's on his route
	by      by    // what he has come by
}

// source says where a request comes from, for limits: as the hop nearest to it saw it.
func (q *Request) source() admission.Source {
	switch {
	case q.Session != nil:
		return admission.FromIdentity(q.Session.Peer().Identifier())
	case q.way != nil:
		return q.way.Source(nearestLabel(q.Message.Return))
	}
	return q.node.source(q.conn.RemoteAddr())
}

// Source says where a request comes from, for limits: the same text for the same source, and of no
// other meaning.
func (q *Request) Source() string { return q.source().String() }

// nearestLabel returns the label that the hop before this one has put on a return route.
func nearestLabel(r Route) string {
	if len(r) == 0 || r[0].Kind != wire.Label {
		return ""
	}
	return r[0].Name
}

// compute runs what a handshake computes when it is the asker's turn. Who is refused before
// anything has been computed for him is told that the node is busy.
func (n *Node) compute(
	ctx context.Context, link channel.Conn, begins bool, f func() error,
) error {
	stream, ok := link.(*Stream)
	if !ok || stream.asker == nil {
		return f()
	}
	who := stream.asker
	err := n.beginHandshake(who, begins)
	if err == nil {
		err = n.admission.Compute(ctx, who.source, begins, time.Now(), f)
	}
	if begins && isBusy(err) {
		countRefusal(wire.Busy)
		n.refusing.note(err.Error())
		stream.refuse(wire.Status{Code: wire.Busy, Hop: who.ordinal, Reason: err.Error()})
	}
	return err
}

// beginHandshake counts a handshake whose first message has come whole.
func (n *Node) beginHandshake(who *asker, begins bool) error {
	if !begins {
		return nil
	}
	now := time.Now()
	if err := n.admission.Handshake(who.source, now); err != nil {
		return err
	}
	displaced, err := who.slot.Speak(now)
	n.displace(displaced)
	return err
}

func isBusy(err error) bool {
	for _, busy := range []error{
		admission.ErrBusy, admission.ErrTooMany, admission.ErrTooManyFromThere,
		admission.ErrTooManyHandshakes,
	} {
		if errors.Is(err, busy) {
			return true
		}
	}
	return false
}

// unknownSession tells the asker that the session of his flow is not here. He may have sent more of
// it already: closing a socket that has unread data could take the answer back.
func (n *Node) unknownSession(link channel.Conn) {
	stream, ok := link.(*Stream)
	if !ok || stream.asker == nil {
		return
	}
	countRefusal(wire.NoSession)
	stream.refuse(wire.Status{Code: wire.NoSession, Hop: stream.asker.ordinal})
	_ = stream.first.SetReadDeadline(time.Now().Add(refuseTimeout))
	_, _ = io.CopyN(io.Discard, stream.first, refuseDrain)
}

// displace resets a link that has to make room for another one.
func (n *Node) displace(holder any) {
	old, ok := holder.(Conn)
	if !ok {
		return
	}
	n.refusing.note("links: " + tooManyMute)
	if n.linkRefusals.Due(time.Now()) {
		n.logger.Warn("cutting links: "+tooManyMute, "peer", old.RemoteAddr())
	}
	_ = netio.Reset(old)
}
