package sets

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/secureportal/sp/route/relay/set"
)

// Messages on the bus. Integers are big-endian.
//
//	ask    = version (1) = 1 | nonce (16)                       on the subject of who holds a name
//	answer = version (1) = 1 | kind (1) = 0                     the name is not held here (any more)
//	       | version (1) = 1 | kind (1) = 1 | first (8) | claim it is; for how long its owner has it
//	told   = version (1) = 1 | kind (1) | node (8) | Identifier (32) | held (1) | first (8)
//	         | last (4)
//	                                                            on the subject of who owns a name
//
// kind of told: 1 is news or an answer. 2 asks for it, and ends with the node.
const (
	messageVersion = 1
	askSize        = 1 + nonceSize
	answerHeader   = 1 + 1
	toldHeader     = 1 + 1 + 8
	toldSize       = toldHeader + 32 + 1 + 8 + 4

	answerNone  = 0
	answerClaim = 1

	toldNews = 1
	toldAsks = 2

	// MaxAnswer and MaxAsk are the most bytes of what is said to who asks, and on a subject.
	MaxAnswer = answerHeader + 8 + MaxClaim
	MaxAsk    = toldSize

	maxFirst = (1<<40 - 1) * time.Millisecond
)

// AppendAsk appends the question where a name is held.
func AppendAsk(dst []byte, n Nonce) []byte { return append(append(dst, messageVersion), n[:]...) }

// ParseAsk decodes it. Its errors wrap ErrMalformed.
func ParseAsk(b []byte) (Nonce, error) {
	if len(b) != askSize || b[0] != messageVersion {
		return Nonce{}, fmt.Errorf("%w: a question of %d bytes", ErrMalformed, len(b))
	}
	return Nonce(b[1:]), nil
}

// AppendNone appends the answer that a name is not held.
func AppendNone(dst []byte) []byte { return append(dst, messageVersion, answerNone) }

// AppendAnswer appends the answer that a name is held, whose owner has claimed it first that long
// ago, as the claim says that who holds it has signed.
func AppendAnswer(dst []byte, first time.Duration, claim []byte) []byte {
	dst = append(dst, messageVersion, answerClaim)
	dst = binary.BigEndian.AppendUint64(dst, uint64(min(max(first, 0), maxFirst).Milliseconds()))
	return append(dst, claim...)
}

// Answer is what somebody has said to who asks where a name is. Only what the Claim says has been
// signed by who holds it.
type Answer struct {
	Held  bool          // otherwise it is not there, and there is nothing else
	First time.Duration // how long ago the owner has claimed the name first
	Claim Claim
}

// ParseAnswer decodes and verifies an answer: see ParseClaim.
func ParseAnswer(b []byte, nonce Nonce, name string) (a Answer, err error) {
	if len(b) < answerHeader || len(b) > MaxAnswer || b[0] != messageVersion {
		return Answer{}, fmt.Errorf("%w: an answer of %d bytes", ErrMalformed, len(b))
	}
	switch kind := b[1]; {
	case kind == answerNone && len(b) == answerHeader:
		return Answer{}, nil
	case kind != answerClaim || len(b) < answerHeader+8:
		return Answer{}, fmt.Errorf("%w: an answer of kind %d", ErrMalformed, kind)
	}
	first := binary.BigEndian.Uint64(b[answerHeader:])
	if first > uint64(maxFirst/time.Millisecond) {
		return Answer{}, fmt.Errorf("%w: an answer out of its limits", ErrMalformed)
	}
	a = Answer{Held: true, First: time.Duration(first) * time.Millisecond}
	a.Claim, err = ParseClaim(b[answerHeader+8:], nonce, name)
	return a, err
}

// Told is what a relay tells those who know whose a name is, or asks them.
type Told struct {
	From set.NodeID
	Asks bool       // there is no record
	What set.Record // without the name, which is the subject's
}

// AppendTo appends the encoding of t, whose record is a valid one.
func (t *Told) AppendTo(dst []byte) []byte {
	kind := byte(toldNews)
	if t.Asks {
		kind = toldAsks
	}
	dst = append(append(dst, messageVersion, kind), t.From[:]...)
	if t.Asks {
		return dst
	}
	held := byte(0)
	if t.What.Held {
		held = 1
	}
	dst = append(append(dst, t.What.Who[:]...), held)
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.What.First.Milliseconds()))
	return binary.BigEndian.AppendUint32(dst, uint32(t.What.Last.Milliseconds()))
}

// ParseTold decodes what is told of a name. Its errors wrap ErrMalformed.
func ParseTold(b []byte, name string) (t Told, err error) {
	if len(b) < toldHeader || len(b) > toldSize || b[0] != messageVersion {
		return Told{}, fmt.Errorf("%w: %d bytes of a name's owner", ErrMalformed, len(b))
	}
	t.From = set.NodeID(b[2:])
	switch kind := b[1]; {
	case kind == toldAsks && len(b) == toldHeader:
		t.Asks = true
		return t, nil
	case kind != toldNews || len(b) != toldSize:
		return Told{}, fmt.Errorf("%w: kind %d of a name's owner", ErrMalformed, kind)
	}
	t.What.Name = name
	b = b[toldHeader:]
	copy(t.What.Who[:], b)
	held, first, last := b[32], binary.BigEndian.Uint64(b[33:]), binary.BigEndian.Uint32(b[41:])
	if held > 1 || first > uint64(maxFirst/time.Millisecond) {
		return Told{}, fmt.Errorf("%w: whose a name is, out of its limits", ErrMalformed)
	}
	t.What.Held = held == 1
	t.What.First = time.Duration(first) * time.Millisecond
	t.What.Last = time.Duration(last) * time.Millisecond
	if err := t.What.Validate(); err != nil {
		return Told{}, err
	}
	return t, nil
}
