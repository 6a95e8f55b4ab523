package daemon

import (
	"fmt"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
)

// CheckProof tells why a node that presents a history and some encoded credentials would reach
// nobody, and nobody it, or returns nil: all of it goes into one handshake message, and grows with
// each rotation of its own and of its authorities.
func CheckProof(h *identity.History, credentials [][]byte) error {
	size := identity.ProofSize(h, credentials)
	if size <= channel.MaxProof {
		return nil
	}
	err := fmt.Errorf("%s with %d changes and %d credentials has a proof of %d bytes, and a "+
		"handshake takes %d", h.Identifier(), h.Len(), len(credentials), size, channel.MaxProof)
	return &Error{Problem: TooLong, Err: err}
}

// CredentialHint says of a credential that is about to be given to somebody how many of its kind he
// can present, if that are few, or returns "".
func CredentialHint(c *identity.Credential) string {
	const few = 4
	fit := (channel.MaxProof - identity.MaxProofAlone) / len(c.Bytes())
	if fit >= few {
		return ""
	}
	return fmt.Sprintf("this credential has %d bytes, for its authority has rotated its key often "+
		"or it says much: who has rotated his own as often as can be can present %d of the kind",
		len(c.Bytes()), fit)
}
