package channel

import (
	"crypto/ecdh"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/noise"
)

// epoch is the keys of a session between two handshakes.
type epoch struct {
	id     sessionID
	secret *noise.Secret
	resume resumeKey // of its flows
	flows  uint64    // initiator: numbers given out; guarded by keys
	used   *numbers  // responder: of its flows
}

// epoch returns what the finished handshake agreed on, and forgets the rest.
func (h *handshake) epoch() (*epoch, error) {
	secret, err := h.noise.Secret(secretLabel)
	if err != nil {
		return nil, err
	}
	e := &epoch{
		id: secret.ID(sessionIDLabel), secret: secret, resume: secret.ID(resumeLabel),
	}
	if h.role == identity.Responder {
		e.used = newNumbers()
	}
	h.noise.Forget()
	return e, nil
}

// keys returns the sending and receiving keys of flow number n for role.
func (e *epoch) keys(role identity.Role, n uint64) (send, receive cipherHalf) {
	initiator, responder := e.secret.CipherStates(flowLabel, n)
	if role == identity.Initiator {
		return cipherHalf{state: initiator}, cipherHalf{state: responder}
	}
	return cipherHalf{state: responder}, cipherHalf{state: initiator}
}

// lasting returns what flow number n needs to outlive its links.
func (e *epoch) lasting(n uint64) lastingKeys { return lastingKeys{flowID{e.id, n}, e.resume} }

// keys is what a session's flows get their keys from: the current epoch, those before whose flows
// may still be on their way, and the one to come.
type keys struct {
	// Set once.
	config *Config
	static *ecdh.PrivateKey
	role   identity.Role
	suite  noise.Suite
	name   string              // what the initiator believes it has reached
	id     identity.Identifier // the peer's
	keep   func(*epoch)        // responder only: has the epoch's flows accepted
	drop   func(*epoch)        // responder only: the opposite, and forgets the secret

	control *control     // says handshakes for new keys
	trust   *trustReview // is told of the proof in them
	chores  *chores      // to be done when the keys are new, or somebody wants new ones

	mu      sync.Mutex
	err     error // why the session has ended, and all keys are forgotten
	current *epoch
	old     []oldEpoch // responder only
	over    []*epoch   // responder only: what there was of them when the session ended
	renewal *renewal   // under way
}

// oldEpoch is one whose flows may still be on their way.
type oldEpoch struct {
	*epoch
	until  time.Time
	forget *time.Timer // then
}

// flowKeys is what a new flow needs of its session's keys.
type flowKeys struct {
	send, receive cipherHalf
	hello         []byte // tells the responder which
	lasting       lastingKeys
}

// nextFlow numbers a new flow. It is the initiator's.
func (k *keys) nextFlow() (flowKeys, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return flowKeys{}, sessionEnded(k.err)
	}
	e := k.current
	e.flows++
	send, receive := e.keys(k.role, e.flows)
	return flowKeys{send, receive, appendFlowHello(nil, e.id, e.flows), e.lasting(e.flows)}, nil
}

func (k *keys) now() *epoch {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// replaceLocked makes next the current epoch. The responder accepts flows of the one before for a
// while; the initiator, who begins flows, forgets it.
func (k *keys) replaceLocked(next *epoch) {
	before := k.current
	k.current, k.renewal = next, nil
	if k.role == identity.Initiator {
		before.secret.Forget()
		return
	}
	k.old = append(k.old, oldEpoch{
		before, time.Now().Add(epochGrace), time.AfterFunc(epochGrace, k.forgetOld),
	})
	k.keep(next)
}

// checkRateLocked fails if new keys are asked for more often than anybody needs them.
func (k *keys) checkRateLocked() error {
	k.forgetOldLocked()
	if len(k.old) < maxOldEpochs {
		return nil
	}
	return fmt.Errorf("%w: new keys %d times within %v", ErrProtocol, maxOldEpochs, epochGrace)
}

// forgetOld forgets the epochs whose flows cannot be on their way any more.
func (k *keys) forgetOld() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forgetOldLocked()
}

func (k *keys) forgetOldLocked() {
	now := time.Now()
	for len(k.old) > 0 && !now.Before(k.old[0].until) {
		k.drop(k.old[0].epoch)
		k.old = slices.Delete(k.old, 0, 1)
	}
}

// forget forgets all secrets, because the session has ended.
func (k *keys) forget(reason error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = reason
	if k.role == identity.Initiator {
		k.current.secret.Forget()
		return
	}
	k.over = []*epoch{k.current}
	k.drop(k.current)
	for _, e := range k.old {
		e.forget.Stop()
		k.drop(e.epoch)
		k.over = append(k.over, e.epoch)
	}
	k.old = nil
}
