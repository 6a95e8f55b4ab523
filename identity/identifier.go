package identity

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// Identifier names an identity for good: SHA-256 over the body of its first change.
// As text it is "I" and 64 lower-case hexadecimal digits. The zero value names nobody.
type Identifier [32]byte

// ErrIdentifier is what each error of [ParseIdentifier] is, whose texts say why.
var ErrIdentifier = errors.New("not an Identifier")

// identifierError is why a text is no Identifier.
type identifierError string

func (e identifierError) Error() string        { return "identifier " + string(e) }
func (e identifierError) Is(target error) bool { return target == ErrIdentifier }

// ParseIdentifier reads the text form, and only that: 65 characters, an upper-case I
// and then lower-case digits. Errors say what is wrong with the text and do not repeat it.
func ParseIdentifier(s string) (Identifier, error) {
	var id Identifier
	if len(s) != identifierText {
		return id, identifierError(fmt.Sprintf("has %d characters, want %d", len(s), identifierText))
	}
	if s[0] != 'I' {
		return id, identifierError("does not begin with an upper-case I")
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return id, identifierError(fmt.Sprintf("has something other than "+
				"a lower-case hexadecimal digit at character %d", i+1))
		}
	}
	_, err := hex.Decode(id[:], []byte(s[1:]))
	return id, err
}

// String returns the text form.
func (id Identifier) String() string { return "I" + hex.EncodeToString(id[:]) }

// IsZero reports whether id is the zero value, which names nobody.
func (id Identifier) IsZero() bool { return id == Identifier{} }

// MarshalText returns the text form.
func (id Identifier) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the text form, as [ParseIdentifier] does.
func (id *Identifier) UnmarshalText(b []byte) error {
	got, err := ParseIdentifier(string(b))
	if err != nil {
		return err
	}
	*id = got
	return nil
}
