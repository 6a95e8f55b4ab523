package channel

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/secureportal/sp/identity"
)

// listen handles what arrives on the control link, until that ends.
func (s *Session) listen() error {
	defer s.control.link.in.drop()
	for {
		t, data, err := s.control.read()
		if err == nil {
			err = s.handle(t, data)
		}
		if err == nil {
			now := time.Now()
			s.heartbeat.hear(t, now, s.rest)
			err = s.keys.overdue(now)
		}
		if isTimeout(err) {
			err = ErrCut // see control.say
		}
		if err != nil {
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
