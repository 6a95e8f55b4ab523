package channel

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/secureportal/sp/identity"
)

// resumeKey proves that somebody is one of a flow's two ends. It opens nothing.
type resumeKey [16]byte

const (
	macSize = 16
	// request = session (16) | number (8) | attempt (4) | position (8) | MAC (16)
	requestSize = flowIDSize + 4 + 8 + macSize
	// answer = attempt (4) | position (8) | MAC (16)
	answerSize = 4 + 8 + macSize
)

// stand is what an end of a flow says when the flow is to go on: which attempt that is, and how
// many records it has opened.
type stand struct {
	attempt  uint32
	position uint64
}

// mac proves a stand that role says of the flow, in the flow on. All of a session's flows have one
// key.
func (k lastingKeys) mac(role identity.Role, on flowID, st stand) (out [macSize]byte) {
	m := hmac.New(sha256.New, k.key[:])
	b := append([]byte(resumeLabel), byte(role))
	b = appendFlowID(appendFlowID(b, k.id), on)
	b = st.append(b)
	m.Write(b)
	copy(out[:], m.Sum(nil))
	return out
}

func (st stand) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, st.attempt)
	return binary.BigEndian.AppendUint64(b, st.position)
}

// appendStand appends a stand and the proof of it.
func (k lastingKeys) appendStand(b []byte, role identity.Role, on flowID, st stand) []byte {
	mac := k.mac(role, on, st)
	return append(st.append(b), mac[:]...)
}

// readStand reads a stand that role says in the flow on, if it is proved.
func (k lastingKeys) readStand(
	b []byte, role identity.Role, on flowID,
) (st stand, err error) {
	st.attempt = binary.BigEndian.Uint32(b)
	st.position = binary.BigEndian.Uint64(b[4:])
	mac := k.mac(role, on, st)
	if !hmac.Equal(mac[:], b[4+8:]) {
		return st, fmt.Errorf("%w: not an end of that flow", ErrForged)
	}
	return st, nil
}

// opener is what a flow has at the responder until it is known whether it is the new link of
// another one.
type opener struct {
	on      flowID
	request []byte // to go on with the other one; nil: none has come
}

// request returns what the flow's first record asks, if it is the new link of another one.
func (f *Flow) request() []byte {
	if o := f.receiving.opener; o != nil {
		return o.request
	}
	return nil
}

// errOvertaken says that another attempt was faster, or that this one has been given up: more has
// come since, by the link that the flow has kept.
var errOvertaken = errors.New("this attempt to resume the flow is over")

// reach makes a link in s, which leads to the flow's far end, and finds out where that stands.
func (f *Flow) reach(ctx context.Context, s *Session) (l *link, theirs stand, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*resumeTimeout)
	defer cancel()
	l, err = s.pool.take()
	if err == nil && l == nil {
		l, err = s.dialLink(ctx)
	}
	if err != nil {
		return nil, theirs, err
	}
	k, err := s.keys.nextFlow()
	if err == nil {
		err = s.pool.add(l, false)
	}
	if err != nil {
		_ = l.Conn.Close()
		return nil, theirs, err
	}
	left, err := f.beginLeaving()
	if err != nil {
		_ = l.Close()
		return nil, theirs, err
	}
	st := stand{f.lasting.nextAttempt(), f.lasting.position()}
	unguard := guard(ctx, l.Conn, resumeTimeout)
	theirs, err = f.ask(l, k, st)
	if err = left(unguard(err)); err != nil {
		_ = l.Close()
		return nil, theirs, err
	}
	return l, theirs, nil
}

// errStays says that the flow stays on the link that it has: its other end can go on with no other.
var errStays = errors.New("the other end keeps nothing of the flow, which stays where it is")

// beginLeaving has nothing more come by the link that the flow has, if it has one, until left is
// called, with the other end's answer: the flow leaves the link if that is that it can go on
// elsewhere, and stays there otherwise.
func (f *Flow) beginLeaving() (left func(error) error, err error) {
	if !f.isOpen() || f.isAbsent() {
		return func(err error) error { return err }, nil
	}
	if f.lasting.kept.isLost() {
		return nil, errStays
	}
	release, ok := f.lasting.hold()
	if !ok {
		return nil, errOvertaken
	}
	return func(err error) error {
		defer release()
		switch {
		case errors.Is(err, ErrGone) && f.isOpen() && !f.isAbsent():
			f.lasting.stays.Store(true)
			return errStays
		case err != nil:
			return err
		}
		if c := f.carrier(); f.isOpen() && !f.setAside(c) && !f.isAbsent() {
			return errOvertaken
		}
		return nil
	}, nil
}

// ask says on l where this side stands, and returns where the other one does.
func (f *Flow) ask(l *link, k flowKeys, st stand) (theirs stand, err error) {
	data := appendFlowID(nil, f.lasting.id)
	data = f.lasting.appendStand(data, identity.Initiator, k.lasting.id, st)
	var out output
	defer out.Release()
	b, err := out.one(&k.send, k.hello, typeResume, data)
	if err != nil {
		return theirs, err
	}
	if _, err = l.Write(b); err != nil {
		return theirs, linkError(err)
	}
	t, data, err := l.readRecord(&k.receive)
	switch {
	case err != nil:
		return theirs, err
	case t == typeAbort && len(data) == 1:
		return theirs, abortReason(data[0]).err()
	case t != typeResume || len(data) != answerSize:
		return theirs, fmt.Errorf("%w: record of type %d with %d bytes in place of an answer",
			ErrProtocol, t, len(data))
	}
	theirs, err = f.lasting.readStand(data, identity.Responder, k.lasting.id)
	if err == nil && theirs.attempt != st.attempt {
		err = fmt.Errorf("%w: answer to another attempt", ErrForged)
	}
	return theirs, err
}

// readRecord reads the next record on a link that no flow is on.
func (l *link) readRecord(c *cipherHalf) (recordType, []byte, error) {
	for {
		body, err := l.in.record(maxFirstBody)
		if err != nil {
			return 0, nil, err
		}
		if body != nil {
			return c.open(body)
		}
		if err := l.in.fill(l); err != nil {
			return 0, nil, linkError(err)
		}
	}
}

// goOn has the flow go on with l, a link of s, where the other end stands where theirs says: what
// that lacks is sent again. A flow that has ended on this side only delivers what is left, and put
// is false. With an error it has not gone on, and waits as before; a link that is lost once it is
// the flow's is none. It takes as long as the link does.
func (f *Flow) goOn(l *link, s *Session, theirs stand) (put bool, err error) {
	put, gone, err := f.sendAgain(l, s, theirs)
	switch {
	case !gone && f.lasting.hasParted():
		f.partIn(s, l)
		return false, nil
	case !gone:
		_ = l.Close()
		return false, err
	case put && err != nil:
		if !f.suspend(l, err) && f.isOpen() && f.carrier() == carrier(l) {
			f.fail(f.explain(err))
		}
	case err != nil:
		_ = l.Close()
		f.remain()
		f.linkLost()
	case !put:
		f.remain()
		l.closeDelivered()
	case s.role == identity.Initiator && s.life.goingAway.happened():
		s.suspend(f) // it has come too late to be handed over with the others
	}
	return put, nil
}

// sendAgain puts the flow on l, and sends what the other end lacks. It tells whether the flow is on
// l now, and whether it has gone on at all, be it only to deliver what is left.
func (f *Flow) sendAgain(l *link, s *Session, theirs stand) (put, gone bool, err error) {
	f.sending.Lock()
	defer f.sending.Unlock()
	if !f.lasting.isAttempt(theirs.attempt) {
		return false, false, errOvertaken
	}
	pieces, err := f.lasting.kept.from(theirs.position, s.role == identity.Initiator)
	if err != nil {
		return false, false, err
	}
	defer f.lasting.kept.sent()
	l.attempt = theirs.attempt
	// It waits no more, and if it loses l it begins to wait anew. Until it is in s, the session that
	// it was in must not end.
	before := f.Session()
	release := before.hold()
	before.unsuspend(f, true)
	flowsResumed.Inc()
	f.lasting.noteResumed()
	f.prove()
	put, overtaken := f.putOn(l, s, theirs.attempt)
	release()
	if overtaken {
		f.Session().suspend(f) // as the newer attempt has: it must not be left out there
		return false, false, errOvertaken
	}
	if put && (s.cutsLinks() || !f.lasting.isAttempt(theirs.attempt)) {
		return put, true, ErrCut // who lost the session, or that link, did not find the flow there yet
	}
	if !put && !f.lasting.deliverOn(l, theirs.attempt) {
		return false, false, errOvertaken
	}
	for _, p := range pieces {
		if _, err := l.Write(p); err != nil {
			return put, true, linkError(err)
		}
	}
	if put {
		f.restoreWriteDeadline(l)
	}
	return put, true, nil
}

// putOn puts the flow on l, without a deadline for writing: what is sent again is nobody's write.
// It reports false if this side's part of the flow has ended: then l is still the caller's. So it
// is if there has been a newer attempt, which has taken the flow off all links that it had, and may
// have said how much had come by them.
func (f *Flow) putOn(l *link, s *Session, attempt uint32) (put, overtaken bool) {
	before := f.Session()
	f.life.Lock()
	if !f.lasting.isNewest(attempt) {
		f.life.Unlock()
		return false, true
	}
	if f.life.state != flowOpen {
		f.life.Unlock()
		f.in.Store(s)
		return false, false
	}
	before.reports.forget(f)
	f.in.Store(s)
	l.flow.Store(f)
	f.way.Lock()
	old := f.way.carrier
	f.way.carrier = l
	f.way.Unlock()
	_ = l.SetReadDeadline(f.life.readBy)
	if w := f.life.awaiting; w != nil {
		w.moved.tell()
	}
	f.life.Unlock()
	f.countOn(l)
	_ = old.Close()
	return true, false
}

// restoreWriteDeadline sets the flow's own deadline for writing on l, if the flow is there.
func (f *Flow) restoreWriteDeadline(l *link) {
	f.life.Lock()
	defer f.life.Unlock()
	if f.life.state == flowOpen && f.carrier() == carrier(l) {
		_ = l.SetWriteDeadline(f.life.writeBy)
	}
}

// closeDelivered closes a link when what has been written has arrived, or soon.
func (l *link) closeDelivered() {
	if w, ok := l.Conn.(interface{ CloseWrite() error }); ok && w.CloseWrite() == nil {
		_ = l.SetReadDeadline(time.Now().Add(resumeTimeout))
		b := make([]byte, 512)
		for {
			if _, err := l.Conn.Read(b); err != nil {
				break
			}
		}
	}
	_ = l.Close()
}

// takeOver is the responder's part of reach and goOn: what has come on l, in the flow opener, asks
// to go on with another flow there. It returns when that has left the link, clean, and with an
// error when the link is at its end.
func (e *Endpoint) takeOver(l *link, opener *Flow) error {
	s, data, on := opener.Session(), opener.request(), opener.receiving.opener.on
	f := e.flows.get(parseFlowID(data))
	if f == nil || !f.mayGoOnIn(s) {
		reason := abortGone
		if f == nil && e.neverSeen(s, data, on) {
			reason = abortNeverSeen
		}
		opener.abort(reason, reason.err())
		opener.abandon()
		return fmt.Errorf("%w: %w", ErrNotResumed, reason.err())
	}
	st, err := f.lasting.readStand(data[flowIDSize:], identity.Initiator, on)
	if err == nil {
		err = f.lasting.take(st)
	}
	reason := abortProtocol
	if errors.Is(err, errNotKept) {
		reason = abortGone // neither side can go on
		f.fail(err)
	}
	if err != nil {
		opener.abort(reason, err)
		opener.abandon()
		if !errors.Is(err, ErrForged) {
			err = fmt.Errorf("%w: %w", ErrNotResumed, err)
		}
		return err
	}
	f.waitIn(s)
	if err = opener.answer(f, on, st.attempt); err == nil {
		left := f.lasting.leaves(l)
		l.in, opener.receiving.in = opener.receiving.in, nil
		var put bool
		if put, err = f.goOn(l, s, st); put {
			<-left
		}
	}
	if err != nil {
		// The answer may have come all the same. The initiator then takes the link for good, and may
		// not notice as long as nobody there reads or writes.
		s.tellLost(f, st.attempt)
	}
	if err == nil && l.resting.Load() && f.is(flowClean) {
		return nil
	}
	_ = l.Close()
	if err == nil {
		err = f.Err()
	}
	return cmp.Or(err, ErrCut)
}

// mayGoOnIn tells whether the flow's other end may be the far end of s.
func (f *Flow) mayGoOnIn(s *Session) bool {
	return f.lasts() && !f.lasting.hasParted() && !f.lasting.kept.isLost() && s.isLike(f.Session())
}

// isLike tells whether both sessions are with the same far end, and by the same name.
func (s *Session) isLike(other *Session) bool {
	return s.role == other.role && s.id == other.id && s.Name() == other.Name()
}

// answer says, in the flow on its link, where f stands.
func (opener *Flow) answer(f *Flow, on flowID, attempt uint32) error {
	st := stand{attempt, f.lasting.position()}
	data := f.lasting.appendStand(nil, identity.Responder, on, st)
	opener.sending.Lock()
	defer opener.sending.Unlock()
	_ = opener.SetWriteDeadline(time.Now().Add(resumeTimeout))
	defer func() { _ = opener.SetWriteDeadline(time.Time{}) }()
	return opener.sendRecordLocked(typeResume, data...)
}
