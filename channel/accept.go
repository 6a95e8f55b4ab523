package channel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity"
)

// flowServer answers flow hellos on a link, one after the other, and calls then with why that is
// over. Between two of them, and while a flow is left to be served, it needs no goroutine.
//
//	hello ──▶ serving ──▶ waiting for the next flow ──▶ hello
//	  └──────────┴────────────────┴──▶ over
type flowServer struct {
	endpoint      *Endpoint
	ctx           context.Context
	link          *link
	authenticated func()
	handle        StayingHandler
	then          func(error)

	flow  *Flow        // the last one
	steps atomic.Int32 // the handler has returned, and the flow is over: the second goes on
	rest  flowRest
}

// serve answers the hello whose kind has been read.
func (v *flowServer) serve(unguard func(error) error) {
	for v.serveOne(unguard) && v.awaitNext() {
		unguard = v.begin()
	}
}

// serveOne serves the next flow, and reports whether it is over and the link is free for another.
func (v *flowServer) serveOne(unguard func(error) error) (free bool) {
	e, l := v.endpoint, v.link
	f, err := e.acceptFlow(l)
	lasts := err == nil && f.lasting != nil
	if err = unguard(err); err != nil && !lasts { // one that lasts may have lost the link already
		e.refuse(l, f, err)
		v.then(err)
		return false
	}
	v.authenticated()
	v.flow = f
	if f.request() != nil {
		if err := e.takeOver(l, f); err != nil {
			v.then(err)
			return false
		}
		return true
	}
	v.steps.Store(0)
	left := func() {
		if v.steps.Add(1) == 2 {
			v.goOn()
		}
	}
	if !v.handle(v.ctx, f, left) && v.steps.Add(1) < 2 {
		return false // who is done last goes on
	}
	return v.endFlow()
}

// goOn is serve where a flow that has been left is over.
func (v *flowServer) goOn() {
	if v.endFlow() && v.awaitNext() {
		v.serve(v.begin())
	}
}

// endFlow ends the flow, and reports whether it has left the link clean.
func (v *flowServer) endFlow() (free bool) {
	f := v.flow
	f.abort(abortReset, errFlowClosed)
	switch {
	case !f.is(flowClean):
		f.abandon()
		v.then(f.Err())
	case f.carrier() != carrier(v.link):
		v.then(nil) // the flow has gone on without the link, and closed it
	default:
		return true
	}
	return false
}

// begin has the next hello come in time, whose kind has been read.
func (v *flowServer) begin() (unguard func(error) error) {
	_ = v.link.SetReadDeadline(time.Now().Add(v.endpoint.config.handshakeTimeout()))
	return func(err error) error {
		_ = v.link.SetReadDeadline(time.Time{})
		return err
	}
}

// refuse lets go of a link on which f, which may be nil, has not become a flow because of err.
func (e *Endpoint) refuse(l *link, f *Flow, err error) {
	if f != nil {
		f.Session().pool.forget(l)
		f.abandon()
	} else {
		l.in.drop()
	}
	if errors.Is(err, ErrUnknownSession) && e.config.Unknown != nil {
		e.config.Unknown(l.Conn)
	}
}

// abandon gives the input's buffer back, unless somebody whom the handler left behind still reads:
// then it is left to the garbage collector.
func (f *Flow) abandon() {
	r := &f.receiving
	if !r.TryLock() {
		return
	}
	defer r.Unlock()
	r.data = nil
	if r.err == nil {
		r.err = f.explain(ErrClosed)
	}
	r.in.drop()
}

// errTooManyResting says that the initiator keeps more links without a flow than the protocol
// allows.
var errTooManyResting = fmt.Errorf("%w: more than %d links without a flow", ErrProtocol, restingMax)

// restAwake is how long somebody waits for the next flow on a link before it is parked: where one
// connection follows the other, it would only be parked to be called upon.
const restAwake = time.Second

// flowRest is a link's rest between two flows.
type flowRest struct {
	session *Session // of the flow before
	crowd   bool     // there were too many that rest when it began
	tooMany atomic.Bool
	end     func() // Config.Rest has been told
}

// awaitNext waits for the next flow on the link: not for long if too many links do, but long enough
// for an initiator that does not need so many to close them itself. It reports false if that is
// another goroutine's by now, or the link is at its end.
func (v *flowServer) awaitNext() bool {
	s, l := v.flow.Session(), v.link
	v.flow = nil
	s.pool.uncount(l)
	v.rest.session, v.rest.end = s, func() {}
	v.rest.tooMany.Store(false)
	if s.config.Rest != nil {
		v.rest.end = s.config.Rest(s.id, func() {
			v.rest.tooMany.Store(true)
			_ = l.Conn.Close()
		})
	}
	v.rest.crowd = s.pool.resting.Add(1) > restingMax
	switch {
	case v.rest.crowd:
		_ = l.SetReadDeadline(time.Now().Add(s.config.handshakeTimeout()))
	case l.parks:
		_ = l.SetReadDeadline(time.Now().Add(restAwake))
	}
	return v.nextFlow()
}

// arrived goes on where something has arrived on the link that has rested.
func (v *flowServer) arrived() {
	if v.nextFlow() {
		v.serve(v.begin())
	}
}

// nextFlow reads the kind of the next hello, and reports whether it is a flow's. It reports false
// as well where nobody waits for that on the link any more, and arrived is called.
func (v *flowServer) nextFlow() bool {
	l, s, resting := v.link, v.rest.session, &v.rest.session.pool.resting
	err := l.nextFlow()
	if isTimeout(err) && (!v.rest.crowd || resting.Load() <= restingMax) {
		_ = l.SetReadDeadline(time.Time{})
		if l.Park(v.arrived) {
			return false
		}
		err = l.nextFlow()
	}
	switch {
	case isTimeout(err):
		err = errTooManyResting
	case v.rest.tooMany.Load():
		err = io.EOF
	}
	resting.Add(-1)
	v.rest.end()
	v.rest.session, v.rest.end = nil, nil
	s.pool.forget(l)
	if err == nil {
		return true
	}
	l.in.drop()
	if err == io.EOF {
		v.then(nil)
	} else {
		v.then(linkError(err))
	}
	return false
}

// KnowsFlow tells whether b begins with the hello of a flow of a session that is here, and whether
// its first record is there as well, so that the far end need say no more to prove that it is.
// Whoever has seen the session's number can say so.
func (e *Endpoint) KnowsFlow(b []byte) (known, whole bool) {
	if len(b) < flowHelloSize || b[0] != helloFlow {
		return false, false
	}
	id, _ := parseFlowHello(b[1:])
	e.mu.RLock()
	_, known = e.epochs[id]
	e.mu.RUnlock()
	record := b[flowHelloSize:]
	if !known || len(record) < lengthSize {
		return known, false
	}
	size := int(binary.BigEndian.Uint16(record))
	return true, size > maxFirstBody || len(record) >= lengthSize+size
}

// nextFlow waits for the next flow's hello, for as long as the session lives, and reads its kind.
func (l *link) nextFlow() error {
	kind, err := l.need(1)
	if err != nil {
		return err
	}
	if kind[0] != helloFlow {
		return errNoHello
	}
	return nil
}

// acceptFlow reads a flow's hello behind its kind, and its first record, which proves that the
// hello is no invention. Only then its number counts as used, and only a number used for the first
// time makes a flow that may send. A flow that it returns with an error is for abandon.
func (e *Endpoint) acceptFlow(l *link) (*Flow, error) {
	hello, err := l.need(flowHelloSize - 1)
	if err != nil {
		return nil, linkError(err)
	}
	id, number := parseFlowHello(hello)
	s, keys, used, err := e.lookUp(id, number)
	if err != nil {
		return nil, err
	}
	if err := s.pool.adopt(l); err != nil {
		return nil, err
	}
	f := newFlow(s, l, keys)
	if s.survive > 0 {
		f.receiving.opener = &opener{on: keys.lasting.id}
	}
	if err := f.first(); err != nil {
		return f, err
	}
	if number == 0 { // the control link's
		return f, ErrReplayed
	}
	ok, late := used.use(number)
	if !ok {
		return f, ErrReplayed
	}
	f.late = late
	l.resting.Store(f.receiving.ended) // true for an empty flow
	l.unauthenticated.Store(false)
	if f.request() == nil {
		f.receiving.opener = nil
		if !f.receiving.ended {
			s.outlive(f, keys.lasting)
			f.lasting.openedFirst(f)
		}
	}
	return f, nil
}

// lookUp returns the session that a hello names, and the keys of the flow.
func (e *Endpoint) lookUp(id sessionID, number uint64) (*Session, flowKeys, *numbers, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	a, ok := e.epochs[id]
	if !ok {
		return nil, flowKeys{}, nil, ErrUnknownSession
	}
	send, receive := a.epoch.keys(identity.Responder, number)
	keys := flowKeys{send: send, receive: receive, lasting: a.epoch.lasting(number)}
	return a.session, keys, a.epoch.used, nil
}

// first waits for the flow's first record and opens it.
func (f *Flow) first() error {
	r := &f.receiving
	r.Lock()
	defer r.Unlock()
	for {
		opened, err := f.openLocked(maxFirstBody)
		if opened || err != nil {
			return err
		}
		if err := f.fillLocked(); err != nil {
			return linkError(err)
		}
	}
}
