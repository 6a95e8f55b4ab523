package channel

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/secureportal/sp/identity"
)

// listen handles what arrives on the control link until that ends, and calls then with why, once.
// It may return before, while nothing arrives: then that is another goroutine's.
func (s *Session) listen(then func(error)) {
	for {
		err := s.hear()
		if err == nil && s.control.link.Park(func() { s.listenOn(then) }) {
			return
		}
		if err == nil {
			err = s.control.fill()
		}
		if err != nil {
			s.deaf(err, then)
			return
		}
	}
}

// listenOn is listen where something has arrived.
func (s *Session) listenOn(then func(error)) {
	if err := s.control.fill(); err != nil {
		s.deaf(err, then)
		return
	}
	s.listen(then)
}

// deaf is the end of listen.
func (s *Session) deaf(err error, then func(error)) {
	s.control.link.in.drop()
	if isTimeout(err) {
		err = ErrCut // see control.fail
	}
	then(err)
}

// hear handles what has arrived on the control link.
func (s *Session) hear() error {
	for {
		t, data, some, err := s.control.next()
		if err != nil || !some {
			return err
		}
		if err := s.handle(t, data); err != nil {
			return err
		}
		now := time.Now()
		s.heartbeat.hear(t, now, s.rest)
		if err := s.keys.overdue(now); err != nil {
			return err
		}
	}
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
