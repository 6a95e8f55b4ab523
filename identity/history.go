package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// A history on the wire, all numbers big-endian:
//
//	count (1) | change | change | …
//
// and each change:
//
//	body       version (1) = 1 | kind (1) = 1 | previous (32) | public key (32) | created (8)
//	signature  (64) by the change's own key over contextChange | body
//	signature  (64) by the key of the change before, over the same; not in the first change
//
// previous is SHA-256 of the body of the change before, and zeros in the first. The
// Identifier is SHA-256 of the body of the first. Hashes cover bodies and not
// signatures: the body says everything there is to say, and who holds the key can
// make any number of signatures under it.

// History is the past of one identity: the keys it has had, oldest first, each
// introduced by the one before. A History has been verified, and never changes. It is safe
// for concurrent use.
type History struct {
	raw     []byte
	changes []change
}

// Change is one entry of a history, for printing.
type Change struct {
	Hash      [32]byte          // SHA-256 of the change's body; of the first, the Identifier
	Previous  [32]byte          // Hash of the change before; zeros in the first
	PublicKey ed25519.PublicKey // the key that is current from this change on
	Created   time.Time         // when its maker says it was made, to the second; nobody checks
}

// change is a decoded change. Its slices are parts of History.raw.
type change struct {
	body              []byte
	previous          [hashSize]byte
	key               ed25519.PublicKey
	created           uint64
	byNew, byPrevious []byte
	hash              [hashSize]byte
}

// ParseHistory decodes a history and verifies every signature in it. The cost is two
// signature verifications a change; the limit is [MaxChanges].
func ParseHistory(b []byte) (*History, error) {
	if len(b) > maxHistory {
		return nil, fmt.Errorf("history has %d bytes, at most %d are allowed", len(b), maxHistory)
	}
	d := &decoder{b: bytes.Clone(b)}
	h := decodeHistory(d)
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	if err := h.verify(); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return h, nil
}

// decodeHistory reads a history without verifying its signatures. What it returns must
// not leave the package before verify has passed. It keeps parts of the reader's bytes.
func decodeHistory(d *decoder) *History {
	start := d.b
	count := d.uint8()
	if d.err == nil && (count < 1 || count > MaxChanges) {
		d.fail("it has %d changes, want 1 to %d", count, MaxChanges)
	}
	if d.err != nil {
		return nil
	}
	h := &History{changes: make([]change, 0, count)}
	for i := range count {
		h.changes = append(h.changes, decodeChange(d, i == 0))
		if d.err != nil {
			d.err = fmt.Errorf("change %d: %w", i+1, d.err)
			return nil
		}
	}
	h.raw = start[: len(start)-len(d.b) : len(start)-len(d.b)]
	return h
}

func decodeChange(d *decoder, first bool) change {
	var c change
	c.body = d.take(changeBodySize)
	c.byNew = d.take(signatureSize)
	if !first {
		c.byPrevious = d.take(signatureSize)
	}
	if d.err != nil {
		return c
	}
	b := &decoder{b: c.body}
	b.expect(changeVersion, "version")
	b.expect(changeKindKey, "kind")
	copy(c.previous[:], b.take(hashSize))
	c.key = b.take(keySize)
	c.created = b.seconds("time of creation")
	c.hash = sha256.Sum256(c.body)
	d.err = b.end()
	return c
}

// verify checks that the changes form a chain and that every signature is right. A forger
// has put changes of his own behind true ones, and lacks the one signature where they meet.
// So it goes from both ends at once: that costs him who asks at most twice what the fewer of
// the two kinds do.
func (h *History) verify() error {
	if err := h.verifyChain(); err != nil {
		return err
	}
	for old, young := 0, len(h.changes)-1; old <= young; old, young = old+1, young-1 {
		if err := h.verifyChange(young); err != nil {
			return err
		}
		if old == young {
			break
		}
		if err := h.verifyChange(old); err != nil {
			return err
		}
	}
	return nil
}

// verifyChange checks the signatures of one change: first the one that a forger lacks.
func (h *History) verifyChange(i int) error {
	c := &h.changes[i]
	if i > 0 && !verify(h.changes[i-1].key, c.byPrevious, contextChange, c.body) {
		return fmt.Errorf("change %d: not signed by the key before it", i+1)
	}
	if !verify(c.key, c.byNew, contextChange, c.body) {
		return fmt.Errorf("change %d: not signed by its own key", i+1)
	}
	return nil
}

// verifyChain checks everything but the signatures.
func (h *History) verifyChain() error {
	var previous [hashSize]byte
	for i := range h.changes {
		c := &h.changes[i]
		if c.previous != previous {
			return fmt.Errorf("change %d: does not follow the change before it", i+1)
		}
		if err := checkPublicKey(c.key); err != nil {
			return fmt.Errorf("change %d: %w", i+1, err)
		}
		for j := range i {
			if bytes.Equal(h.changes[j].key, c.key) {
				return fmt.Errorf("change %d: the key was used before, in change %d", i+1, j+1)
			}
		}
		previous = c.hash
	}
	return nil
}

// Identifier returns the name of the identity.
func (h *History) Identifier() Identifier { return h.changes[0].hash }

// PublicKey returns a copy of the current key.
func (h *History) PublicKey() ed25519.PublicKey { return bytes.Clone(h.current()) }

func (h *History) current() ed25519.PublicKey { return h.changes[len(h.changes)-1].key }

// Len returns the number of changes, at least one.
func (h *History) Len() int { return len(h.changes) }

// Bytes returns a copy of the encoding.
func (h *History) Bytes() []byte { return bytes.Clone(h.raw) }

// Changes returns the changes for printing, oldest first.
func (h *History) Changes() []Change {
	out := make([]Change, len(h.changes))
	for i, c := range h.changes {
		out[i] = Change{
			Hash:      c.hash,
			Previous:  c.previous,
			PublicKey: bytes.Clone(c.key),
			Created:   unix(c.created),
		}
	}
	return out
}

// extend returns h with one change more, which makes key the current one. h is nil for
// the first change. old is the current key of h.
func (h *History) extend(old, key ed25519.PrivateKey, now time.Time) (*History, error) {
	created, err := seconds(now)
	if err != nil {
		return nil, fmt.Errorf("time of creation: %w", err)
	}
	count := 1
	var previous [hashSize]byte
	var before []byte
	if h != nil {
		count = h.Len() + 1
		previous = h.changes[h.Len()-1].hash
		before = h.raw[1:]
	}
	if count > MaxChanges {
		return nil, fmt.Errorf("the history has %d changes already and may have no more: "+
			"make a new identity", MaxChanges)
	}
	body := make([]byte, 0, changeBodySize)
	body = append(body, changeVersion, changeKindKey)
	body = append(body, previous[:]...)
	body = append(body, key.Public().(ed25519.PublicKey)...)
	body = binary.BigEndian.AppendUint64(body, created)

	out := append([]byte{byte(count)}, before...)
	out = append(out, body...)
	out = append(out, sign(key, contextChange, body)...)
	if h != nil {
		out = append(out, sign(old, contextChange, body)...)
	}
	return ParseHistory(out)
}

// Hashes returns the hash of each change's body, oldest first. Two histories of one
// identity agree as far as their hashes do.
func (h *History) Hashes() [][32]byte {
	out := make([][hashSize]byte, len(h.changes))
	for i := range h.changes {
		out[i] = h.changes[i].hash
	}
	return out
}
