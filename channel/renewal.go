package channel

import (
	"fmt"
	"slices"
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

// tooMany says that new keys were asked for more often than anybody needs them. It is called with mu locked.
func (s *Session) tooMany() error {
	s.forgetOldLocked()
	if len(s.old) < maxOldEpochs {
		return nil
	}
	return fmt.Errorf("%w: new keys %d times within %v", ErrProtocol, maxOldEpochs, epochGrace)
}

// beginRenewal is the initiator's: message 1 goes out, unless a renewal is under way already.
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

// renewing tells whether a renewal is under way.
func (s *Session) renewing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renewal != nil
}

// handleRenewal handles a handshake message on the control link.
func (s *Session) handleRenewal(message []byte) error {
	if len(message) > maxHandshakeMessage {
		return fmt.Errorf("%w: handshake message of %d bytes", ErrProtocol, len(message))
	}
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
	err := s.tooMany()
	if err == nil {
		err = s.newRenewal()
	}
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
	if r.name != s.name {
		return fmt.Errorf("%w: another name in a handshake for new keys", ErrProtocol)
	}
	next, err := r.epoch()
	if err != nil {
		return err
	}
	send, receive := next.keys(s.role, 0)
	s.control.receive = receive
	if err := s.replaceEpoch(next); err != nil {
		return err
	}
	return s.control.writeThenSwitch(typeReady, nil, send)
}

// replaceEpoch is the responder's: flows of the new epoch are accepted from now on, of the old one for a while.
func (s *Session) replaceEpoch(next *epoch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err // what end has not seen must not be kept
	}
	s.old = append(s.old, oldEpoch{s.epoch, time.Now().Add(epochGrace), time.AfterFunc(epochGrace, s.forgetOld)})
	s.epoch, s.renewal = next, nil
	s.keep(next)
	return nil
}

// renewalReady is the initiator's: the far end is ready, and with this record its keys are new too.
func (s *Session) renewalReady() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.renewal
	if s.role != identity.Initiator || r == nil || r.next == nil {
		return fmt.Errorf("%w: ready out of place", ErrProtocol)
	}
	if s.err != nil {
		return s.err
	}
	s.control.receive = r.receive
	s.epoch.secret.Forget()
	s.epoch, s.renewal = r.next, nil
	select {
	case s.renewed <- struct{}{}:
	default: // tend has not heard of the one before yet
	}
	return nil
}

// readSamePeer reads a proof of the identity that the session is with.
func (s *Session) readSamePeer(r *renewal, message []byte) error {
	if err := r.readProof(message); err != nil {
		return err
	}
	if r.peer.Identifier() != s.id {
		return fmt.Errorf("%w: another identity in a handshake for new keys", ErrProtocol)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peer = r.peer
	s.noteDecision(r.decision)
	select {
	case s.proved <- struct{}{}: // trust may end sooner now
	default:
	}
	return nil
}

// forgetOld forgets the epochs whose flows cannot be on their way any more.
func (s *Session) forgetOld() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetOldLocked()
}

func (s *Session) forgetOldLocked() {
	now := time.Now()
	for len(s.old) > 0 && !now.Before(s.old[0].until) {
		s.drop(s.old[0].epoch)
		s.old = slices.Delete(s.old, 0, 1)
	}
}
