package channel

import (
	"crypto/ecdh"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/noise"
)

// Labels that go into prologues and derivations. They are part of the protocol.
const (
	prologueLabel  = "sp/1 secure channel"
	secretLabel    = "sp/1 session"
	sessionIDLabel = "sp/1 session id"
	flowLabel      = "sp/1 flow"
	resumeLabel    = "sp/1 resume"
)

// maxHandshakeMessage bounds each handshake message, before anything of its sender is known. It has
// room for the longest history beside the most credentials of the usual size.
const maxHandshakeMessage = 16384

// handshakeOverhead is the most that is in a message besides a proof, in bytes: an ephemeral key, a
// sealed static one, a sealed ciphertext of ML-KEM, the payload's tag, and the name and the time
// before it.
const handshakeOverhead = 32 + (32 + 16) + (1088 + 16) + 16 + (1 + MaxName) + surviveSize

// surviveSize is how many bytes say for how long a flow is kept that has lost its link.
const surviveSize = 4

// MaxProof is the most bytes of a proof that fits each handshake, on either side and with every
// suite: see identity.ProofSize. A node whose proof is longer reaches nobody, and nobody it.
const MaxProof = maxHandshakeMessage - handshakeOverhead

// MaxName is the most bytes of the name in a handshake.
const MaxName = 80

// sessionID names one epoch of a session on the wire.
type sessionID [16]byte

// handshake is one Noise XX handshake with the proof of both identities: the first on a link, or a
// later one on the control link for new keys. It belongs to one goroutine.
type handshake struct {
	config *Config
	role   identity.Role
	noise  *noise.HandshakeState
	as     trust.As            // what the peer is taken for
	expect identity.Identifier // the peer must be this one, on top of trust; zero says nothing
	from   net.Addr            // where the peer's messages come from, for the log; nil: unknown

	// Known once the peer's proof has been read and found good.
	peer     *identity.Peer
	decision trust.Decision
	name     string        // what the initiator believes it has reached
	instance string        // which process the responder says that it is; empty: it does not say
	survive  time.Duration // for how long the peer keeps a flow that has lost its link
}

// newHandshake begins a handshake with a peer that is taken for as. previous is the epoch that it
// replaces, or zero.
func newHandshake(
	c *Config, static *ecdh.PrivateKey, role identity.Role, as trust.As,
	suite noise.Suite, previous sessionID,
) (*handshake, error) {
	state, err := noise.NewHandshakeState(noise.Config{
		Suite:     suite,
		Initiator: role == identity.Initiator,
		Prologue:  prologue(suite, previous),
		Static:    static,
	})
	if err != nil {
		return nil, err
	}
	return &handshake{config: c, role: role, as: as, noise: state}, nil
}

// prologue is label | length (1) | suite's name | previous session (16).
func prologue(suite noise.Suite, previous sessionID) []byte {
	name := suite.String()
	b := append([]byte(prologueLabel), byte(len(name)))
	b = append(b, name...)
	return append(b, previous[:]...)
}

// writeBare appends a message without a payload: message 1.
func (h *handshake) writeBare(dst []byte) ([]byte, error) {
	return h.noise.WriteMessage(dst, nil)
}

// readBare reads message 1.
func (h *handshake) readBare(message []byte) error {
	payload, _, err := h.noise.ReadMessage(message)
	if err == nil && len(payload) > 0 {
		err = fmt.Errorf("%w: handshake message 1 with a payload", ErrProtocol)
	}
	return err
}

// writeProof appends a message whose payload proves this side's identity: message 2 or 3.
func (h *handshake) writeProof(dst []byte, name string) ([]byte, error) {
	return h.noise.WriteMessage(dst, func(hash []byte) ([]byte, error) {
		var credentials [][]byte
		if h.config.Credentials != nil {
			credentials = h.config.Credentials()
		}
		var ticket []byte
		if h.role == identity.Initiator && h.config.Ticket != nil {
			ticket = h.config.Ticket(h.peer.Identifier())
		}
		proof, err := h.config.identity().Prove(h.role, hash, credentials, ticket)
		if err != nil {
			return nil, err
		}
		payload := append([]byte{byte(len(name))}, name...)
		payload = binary.BigEndian.AppendUint32(payload, uint32(h.config.survive()/MinSurvive))
		return append(payload, proof...), nil
	})
}

// readProof reads message 2 or 3, verifies the peer's identity and decides whether to trust it. An
// error that wraps trust.ErrNotTrusted is about a peer that has proved who it is, or would not be
// trusted if it did: to verify the longest history costs sixty times as much as to ask that first.
func (h *handshake) readProof(message []byte) error {
	payload, hash, err := h.noise.ReadMessage(message)
	if err != nil {
		return err
	}
	payload, err = h.readNameAndTime(payload)
	if err != nil {
		return err
	}
	proof, err := identity.ParseProof(h.other(), payload)
	if err != nil {
		return err
	}
	if err := h.config.Trust.MightTrust(proof.Claim(), h.as, time.Now()); err != nil {
		return err
	}
	peer, err := proof.Verify(hash)
	if err != nil {
		return err
	}
	if !h.expect.IsZero() && peer.Identifier() != h.expect {
		return fmt.Errorf("%w: %s is there, and %s is expected",
			ErrUnexpected, peer.Identifier(), h.expect)
	}
	if h.from != nil {
		peer.Source = h.from.String()
	}
	h.peer = peer
	h.decision, err = decide(h.config.Trust.Accept, peer, h.as, time.Now())
	return err
}

// readNameAndTime reads what is in a payload before the proof, and returns the proof.
func (h *handshake) readNameAndTime(payload []byte) (proof []byte, err error) {
	if len(payload) < 1 || int(payload[0]) > MaxName ||
		len(payload) < 1+int(payload[0])+surviveSize {
		return nil, fmt.Errorf("%w: handshake payload cut short", ErrProtocol)
	}
	name, rest := payload[1:1+payload[0]], payload[1+payload[0]:]
	h.name = string(name)
	h.survive = time.Duration(binary.BigEndian.Uint32(rest)) * MinSurvive
	return rest[surviveSize:], nil
}

// processKey is a process's static key, which it has for as long as it runs.
type processKey [32]byte

// process returns the peer's.
func (h *handshake) process() (k processKey) {
	copy(k[:], h.noise.PeerStatic().Bytes())
	return k
}

func (h *handshake) other() identity.Role {
	if h.role == identity.Initiator {
		return identity.Responder
	}
	return identity.Initiator
}
