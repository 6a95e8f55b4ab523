package channel

import (
	"fmt"
	"time"

	"github.com/secureportal/sp/identity"
)

// renewal is a handshake for new keys, on the control link, while flows go on:
//
//	initiator                                   responder
//	  handshake: message 1            ────────▶
//	                                  ◀────────  handshake: message 2
//	  handshake: message 3            ────────▶
//	  … control records, new keys     ────────▶
//	                                  ◀────────  ready
//	                                  ◀────────  … control records, new keys
//
// Each side's identity and trust are looked at again. New flows use the new keys; the old secret is forgotten by the
// initiator at once and by the responder after epochGrace, when no flow of it can be on its way any more.
type renewal struct {
	*handshake
	by time.Time // when it must have ended

	// Initiator, once message 3 has been sent.
	next    *epoch
	receive cipherHalf
}

// newRenewal begins a renewal, without sending anything. It is called with mu locked.
func (s *Session) newRenewal() error {
	h, err := newHandshake(s.config, s.static, s.role, s.suite, s.epoch.id)
	if err != nil {
		return err
	}
	s.renewal = &renewal{handshake: h, by: time.Now().Add(dropTimeout)}
	return nil
}

// beginRenewal is the initiator's: message 1 goes out.
func (s *Session) beginRenewal() error {
	s.mu.Lock()
	if s.renewal != nil {
		s.mu.Unlock()
		return nil
	}
	if err := s.newRenewal(); err != nil {
		s.mu.Unlock()
		return err
	}
	message, err := s.renewal.writeBare(nil)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.control.write(typeHandshake, message)
}

// renew handles a handshake message on the control link.
func (s *Session) renew(message []byte) error {
	s.mu.Lock()
	r := s.renewal
	s.mu.Unlock()
	switch {
	case s.role == identity.Responder && r == nil:
		return s.answerRenewal(message)
	case s.role == identity.Responder:
		return s.acceptRenewal(r, message)
	case r != nil && r.next == nil:
		return s.confirmRenewal(r, message)
	}
	return fmt.Errorf("%w: handshake message out of place", ErrProtocol)
}

// answerRenewal is the responder's: message 1 has arrived, message 2 goes out.
func (s *Session) answerRenewal(message []byte) error {
	s.mu.Lock()
	err := s.newRenewal()
	r := s.renewal
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := r.readBare(message); err != nil {
		return err
	}
	answer, err := r.writeProof(nil, "")
	if err != nil {
		return err
	}
	return s.control.write(typeHandshake, answer)
}

// confirmRenewal is the initiator's: message 2 has arrived, message 3 goes out, and with it new keys this way.
func (s *Session) confirmRenewal(r *renewal, message []byte) error {
	if err := s.readSamePeer(r, message); err != nil {
		return err
	}
	last, err := r.writeProof(nil, s.name)
	if err != nil {
		return err
	}
	next, err := r.epoch()
	if err != nil {
		return err
	}
	send, receive := next.keys(s.role, 0)
	r.next, r.receive = next, receive
	return s.control.writeThenSwitch(typeHandshake, last, send)
}

// acceptRenewal is the responder's: message 3 has arrived, ready goes out, and with each new keys that way.
func (s *Session) acceptRenewal(r *renewal, message []byte) error {
	if err := s.readSamePeer(r, message); err != nil {
		return err
	}
	next, err := r.epoch()
	if err != nil {
		return err
	}
	send, receive := next.keys(s.role, 0)
	s.control.receive = receive
	s.mu.Lock()
	s.old = append(s.old, oldEpoch{epoch: s.epoch, until: time.Now().Add(epochGrace)})
	s.epoch, s.renewal = next, nil
	s.mu.Unlock()
	s.keep(next)
	return s.control.writeThenSwitch(typeReady, nil, send)
}

// renewed is the initiator's: the far end is ready, and with this record its keys are new too.
func (s *Session) renewalReady() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.renewal
	if s.role != identity.Initiator || r == nil || r.next == nil {
		return fmt.Errorf("%w: ready out of place", ErrProtocol)
	}
	s.control.receive = r.receive
	s.epoch.secret.Forget()
	s.epoch, s.renewal = r.next, nil
	s.renewed <- struct{}{} // never blocks: tend takes it before it begins another
	return nil
}

// readSamePeer reads a proof of the identity that the session is with.
func (s *Session) readSamePeer(r *renewal, message []byte) error {
	if err := r.readProof(message); err != nil {
		return err
	}
	if r.peer.Identifier() != s.peer.Identifier() {
		return fmt.Errorf("%w: another identity in a handshake for new keys", ErrProtocol)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peer, s.decision = r.peer, r.decision
	return nil
}

// forgetOld returns the epochs whose flows cannot be on their way any more. It is called with mu locked.
func (s *Session) forgetOld(now time.Time) (forgotten []*epoch) {
	keep := s.old[:0]
	for _, e := range s.old {
		if now.Before(e.until) {
			keep = append(keep, e)
		} else {
			forgotten = append(forgotten, e.epoch)
		}
	}
	s.old = keep
	return forgotten
}
