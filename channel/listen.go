package channel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/secureportal/sp/identity"
)

// listener is who handles what arrives on a session's control link. Where nothing goes on that is a
// ping now and then, for which a glance is enough.
type listener struct {
	session *Session
	then    func(error) // called with why the link has ended, once

	left *leftover // nil: the last glance has come upon nothing of the kind
}

// leftover is what a glance has come upon and is for a goroutine: an error, or a record.
type leftover struct {
	err error
	words
}

// listen handles what arrives on the control link until that ends, and calls then with why, once.
// It may return before, while nothing arrives: then that is another goroutine's.
func (s *Session) listen(then func(error)) {
	l := &listener{session: s, then: then}
	l.run()
}

func (l *listener) run() {
	c := &l.session.control
	for {
		err := l.session.hear()
		if err == nil && c.link.parkAndGlance(l.glance, l.arrived) {
			return
		}
		if err == nil {
			err = c.fill()
		}
		if err != nil {
			l.deaf(err)
			return
		}
	}
}

// arrived is run where something has arrived.
func (l *listener) arrived() {
	s, left, err := l.session, l.left, error(nil)
	l.left = nil
	switch {
	case left != nil && left.err != nil:
		err = left.err
	case left != nil:
		err = s.heard(left.t, left.data)
	case !s.control.link.in.holdsRecord():
		err = s.control.fill()
	}
	if err != nil {
		l.deaf(err)
		return
	}
	l.run()
}

// deaf is the end of listening.
func (l *listener) deaf(err error) {
	l.session.control.link.in.drop()
	if isTimeout(err) {
		err = ErrCut // see control.fail
	}
	l.then(err)
}

// glanceMost is how many records a glance looks at: whoever sends more at once has a goroutine busy
// that nobody else waits for.
const glanceMost = 4

// glance answers pings, and waits for nothing. It reports false if there is something else.
func (l *listener) glance() bool {
	s := l.session
	in := s.control.link.in
	if !in.fillNow(s.control.link.Conn) {
		return false
	}
	for n := 0; in.holdsRecord(); n++ {
		if n == glanceMost || !in.nextIs(pingSize) || !s.control.tryTake() || !l.answer() {
			return false
		}
	}
	in.Release()
	return true
}

// answer handles the next record, which has a ping's size. It reports false if there is something
// left to do. The caller has the turn, and has it no more then.
func (l *listener) answer() bool {
	s := l.session
	t, data, _, err := s.control.next()
	if err == nil && t == typePing {
		s.control.sayNow(typePong, data, s.tasks.Go)
		err = s.hasHeard(t)
	} else {
		s.control.done()
	}
	if err == nil && t == typePing {
		return true
	}
	l.left = &leftover{err, words{t, bytes.Clone(data)}}
	return false
}

// hear handles what has arrived on the control link.
func (s *Session) hear() error {
	for {
		t, data, some, err := s.control.next()
		if err != nil || !some {
			return err
		}
		if err := s.heard(t, data); err != nil {
			return err
		}
	}
}

// heard handles a record that has arrived.
func (s *Session) heard(t recordType, data []byte) error {
	if err := s.handle(t, data); err != nil {
		return err
	}
	return s.hasHeard(t)
}

// hasHeard takes note that the far end is there.
func (s *Session) hasHeard(t recordType) error {
	now := time.Now()
	s.heartbeat.hear(t, now, s.rest)
	return s.keys.overdue(now)
}

// handle does what a record on the control link asks for.
func (s *Session) handle(t recordType, data []byte) error {
	if size, ok := controlSizes[t]; ok && len(data) != size {
		return fmt.Errorf("%w: record of type %d with %d bytes", ErrProtocol, t, len(data))
	}
	switch t {
	case typePing:
		s.control.say(typePong, data)
		return nil
	case typePong:
		number := binary.BigEndian.Uint64(data)
		err := s.heartbeat.pong(number)
		if err == nil {
			s.lingering.heard(s, number)
		}
		return err
	case typeHandshake:
		return s.keys.handle(data)
	case typeReady:
		return s.keys.ready()
	case typeRenew:
		if s.role == identity.Responder {
			return fmt.Errorf("%w: the initiator asks for a handshake instead of beginning one",
				ErrProtocol)
		}
		s.keys.renew()
		return nil
	case typeGoingAway:
		s.leaving.Store(true)
		s.life.goAway()
		s.pool.freed.tell() // the session may have nothing left to do
		return nil
	case typeAcknowledge:
		return s.acknowledged(data)
	case typeLost:
		return s.heardOfLost(data)
	case typeGone:
		s.heardOfGone(parseFlowID(data))
		return nil
	case typeAbort:
		return abortReason(data[0]).err()
	}
	return fmt.Errorf("%w: record of type %d on the control link", ErrProtocol, t)
}
