package identity

import (
	"errors"
)

// HoldingSignature is how many bytes SignHolding returns.
const HoldingSignature = signatureSize

// SignHolding signs, with the identity's current key, what it says of where it holds a name. What
// is said has to begin with something that the one who asks has drawn: nothing of it is good twice.
func (id *Identity) SignHolding(said []byte) []byte {
	return sign(id.key(), contextHolding, said)
}

// VerifyHolding checks that the current key of the history has signed what is said of where its
// identity holds a name. Whether that key has been given up since, the history cannot know.
func (h *History) VerifyHolding(said, signature []byte) error {
	if !verify(h.current(), signature, contextHolding, said) {
		return forgedError{errors.New("the signature of what is said of a name is wrong")}
	}
	return nil
}

// ReadHistory takes a history off the front of b, as ParseHistory does a whole one.
func ReadHistory(b []byte) (h *History, rest []byte, err error) {
	size, err := historySize(b)
	if err != nil {
		return nil, nil, err
	}
	h, err = ParseHistory(b[:size])
	return h, b[size:], err
}

// historySize is how long the history is that b begins with.
func historySize(b []byte) (int, error) {
	if len(b) == 0 || b[0] < 1 || b[0] > MaxChanges {
		return 0, errNoHistory
	}
	size := 1 + firstChangeSize + (int(b[0])-1)*laterChangeSize
	if size > len(b) {
		return 0, errNoHistory
	}
	return size, nil
}

var errNoHistory = errors.New("no history, or one that is cut short")
