package channel

import (
	"fmt"
	"math/rand/v2"
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
//	                                  ◀────────  ready, new keys
//	                                  ◀────────  … control records, new keys
//
// Each side decides again whether to trust the other. New flows use the new keys. The initiator
// forgets the old secret at once, and the responder after epochGrace, when no flow of it can be on
// its way any more.
//
// The first ready tells where the new keys begin. Whoever has the old ones can say it, and nobody
// but the responder the second: only then has it the new keys.
type renewal struct {
	*handshake
	by time.Time // when it must have ended

	// Initiator, once message 3 has been sent.
	next    *epoch
	receive cipherHalf
}

// newRenewalLocked begins a renewal, without sending anything.
func (k *keys) newRenewalLocked() error {
	h, err := newHandshake(k.config, k.static, k.role, k.trust.as, k.suite, k.current.id)
	if err != nil {
		return err
	}
	h.from = k.control.link.RemoteAddr()
	k.renewal = &renewal{handshake: h, by: time.Now().Add(renewTimeout)}
	return nil
}

// underWay returns the renewal under way, or nil.
func (k *keys) underWay() *renewal {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.renewal
}

// overdue fails if a renewal is not finished in time.
func (k *keys) overdue(now time.Time) error {
	if r := k.underWay(); r != nil && !now.Before(r.by) {
		return fmt.Errorf("%w: it did not finish a handshake for new keys", ErrMissedPongs)
	}
	return nil
}

// begin is the initiator's: message 1 goes out, unless a renewal is under way already.
func (k *keys) begin() error {
	k.mu.Lock()
	if k.renewal != nil {
		k.mu.Unlock()
		return nil
	}
	if err := k.newRenewalLocked(); err != nil {
		k.mu.Unlock()
		return err
	}
	message, err := k.renewal.writeBare(nil)
	k.mu.Unlock()
	if err != nil {
		return err
	}
	return k.control.write(typeHandshake, message)
}

// handle handles a handshake message on the control link.
func (k *keys) handle(message []byte) error {
	if len(message) > maxHandshakeMessage {
		return fmt.Errorf("%w: handshake message of %d bytes", ErrProtocol, len(message))
	}
	r := k.underWay()
	switch {
	case k.role == identity.Responder && r == nil:
		return k.answer(message)
	case k.role == identity.Responder:
		return k.accept(r, message)
	case r != nil && r.next == nil:
		return k.confirm(r, message)
	}
	return fmt.Errorf("%w: handshake message out of place", ErrProtocol)
}

// answer is the responder's: message 1 has arrived, message 2 goes out.
func (k *keys) answer(message []byte) error {
	k.mu.Lock()
	err := k.checkRateLocked()
	if err == nil {
		err = k.newRenewalLocked()
	}
	r := k.renewal
	k.mu.Unlock()
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
	return k.control.write(typeHandshake, answer)
}

// confirm is the initiator's: message 2 has arrived, message 3 goes out, and with it new keys this
// way.
func (k *keys) confirm(r *renewal, message []byte) error {
	if err := k.readSamePeer(r, message); err != nil {
		return err
	}
	last, err := r.writeProof(nil, k.name)
	if err != nil {
		return err
	}
	next, err := r.epoch()
	if err != nil {
		return err
	}
	send, receive := next.keys(k.role, 0)
	r.next, r.receive = next, receive
	return k.control.writeThenSwitch(typeHandshake, last, send)
}

// accept is the responder's: message 3 has arrived, ready goes out twice, and with each of these
// new keys that way.
func (k *keys) accept(r *renewal, message []byte) error {
	if err := k.readSamePeer(r, message); err != nil {
		return err
	}
	if r.name != k.name {
		return fmt.Errorf("%w: another name in a handshake for new keys", ErrProtocol)
	}
	next, err := r.epoch()
	if err != nil {
		return err
	}
	send, receive := next.keys(k.role, 0)
	k.control.receive = receive
	if err := k.replace(next); err != nil {
		return err
	}
	k.chores.add(choreRestart)
	return k.control.writeReadyTwice(send)
}

// replace is replaceLocked, unless the session has ended: forget would not see what is kept then.
func (k *keys) replace(next *epoch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	k.replaceLocked(next)
	if k.config.Renewed != nil {
		k.config.Renewed()
	}
	return nil
}

// ready is the initiator's: behind this record the far end's keys are new too, and it is to say so.
func (k *keys) ready() error {
	r := k.underWay()
	if k.role != identity.Initiator || r == nil || r.next == nil {
		return fmt.Errorf("%w: ready out of place", ErrProtocol)
	}
	k.control.receive = r.receive
	if err := k.control.awaitReady(); err != nil {
		return err
	}
	if err := k.replace(r.next); err != nil {
		return err
	}
	k.chores.add(choreRestart)
	return nil
}

// readSamePeer reads a proof of the identity that the session is with.
func (k *keys) readSamePeer(r *renewal, message []byte) error {
	if err := r.readProof(message); err != nil {
		return err
	}
	if r.peer.Identifier() != k.id {
		return fmt.Errorf("%w: another identity in a handshake for new keys", ErrProtocol)
	}
	k.trust.prove(r.peer, r.decision)
	return nil
}

// renew has both sides prove themselves anew, with the keys and credentials that they have now. It
// waits for nothing. Renewals have a least time between them: asked for sooner, one comes then.
func (k *keys) renew() { k.chores.add(choreHasten) }

// renewalTimer is when the next renewal is due. The session's chores own it.
type renewalTimer struct {
	*alarm
	keys  *keys
	due   time.Time // the timer's: it may have fired just before it was set anew
	asked bool      // one was asked for since the last one began
	began time.Time // the last one
	fresh time.Time // when the keys were new
}

func (t *renewalTimer) within(d time.Duration) {
	t.due = time.Now().Add(d)
	t.Reset(d)
}

// restart is called when the keys are new.
func (t *renewalTimer) restart() {
	t.fresh = time.Now()
	t.within(t.keys.renewIn())
	if t.asked {
		t.soon()
	}
}

// hasten has a renewal soon, because somebody asked for one. The responder asks the initiator.
func (t *renewalTimer) hasten() {
	if t.keys.role == identity.Responder {
		t.keys.control.say(typeRenew, nil)
		return
	}
	t.asked = true
	t.soon()
}

func (t *renewalTimer) soon() { t.within(time.Until(t.began.Add(minRenewAfter))) }

// begin begins the renewal that is due, and is called again when that has taken too long, however
// rare pings are. If one is under way, what was asked for waits for the next. The responder begins
// none, and has waited for one long enough.
func (t *renewalTimer) begin(now time.Time) error {
	if now.Before(t.due) {
		return nil
	}
	if t.keys.role == identity.Responder {
		return fmt.Errorf("%w: no handshake for new keys for %v", ErrProtocol, maxEpochAge)
	}
	if r := t.keys.underWay(); r != nil {
		t.within(r.by.Sub(now))
		return t.keys.overdue(now)
	}
	t.asked, t.began = false, now
	t.within(renewTimeout)
	return t.keys.begin()
}

// putsOff has the renewal that is due wait where nobody asks for one, no flow has the keys, and
// there are only flows in the session that nobody would miss soon: many keep one for years, with
// one far end. It comes when that changes, give or take the time between two, and in time for the
// far end.
func (t *renewalTimer) putsOff(now time.Time, p *linkPool) bool {
	again := t.keys.renewIn()
	late := now.Sub(t.fresh)+again > maxRenewAfter
	if t.keys.role == identity.Responder || t.asked || late || now.Before(t.due) ||
		!p.isBackground() || t.keys.areUsed() {
		return false
	}
	t.within(again)
	return true
}

// areUsed tells whether a flow has the keys, or they are being replaced.
func (k *keys) areUsed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.renewal != nil || k.current.flows > 0
}

// renewIn returns when to replace the keys: not at the same time as everybody else. Only the
// initiator does; the responder's is when it does not wait for that any longer.
func (k *keys) renewIn() time.Duration {
	if k.role == identity.Responder {
		return maxEpochAge
	}
	after := k.config.renewAfter()
	return after - time.Duration(rand.Int64N(int64(after)/8+1))
}
