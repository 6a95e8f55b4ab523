package identity

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"time"
)

// Identity is an identity of one's own: a history and the secret key that is current
// in it. It never changes and is safe for concurrent use. Printed in whatever way, it
// shows its Identifier and not its key.
type Identity struct {
	history *History
	key     secretKey
}

// secretKey is a key that fmt cannot show. When an Identity is printed as an unexported
// part of something else, fmt does not call its methods and follows its pointers (with a
// verb that does not fit, such as %s, at any depth). Of a function it shows the address.
type secretKey func() ed25519.PrivateKey

func hide(key ed25519.PrivateKey) secretKey { return func() ed25519.PrivateKey { return key } }

// New makes an identity with a key of its own. random gives the secret key, 32 bytes;
// nil means crypto/rand. now is the time of creation, kept to the second.
func New(random io.Reader, now time.Time) (*Identity, error) {
	key, err := newKey(random)
	if err != nil {
		return nil, err
	}
	history, err := (*History)(nil).extend(nil, key, now)
	if err != nil {
		return nil, fmt.Errorf("new identity: %w", err)
	}
	return &Identity{history: history, key: hide(key)}, nil
}

// Derive returns a secret for a purpose, which it is of no use beyond: the same one as long as the
// identity has its key.
func (id *Identity) Derive(purpose string) [sha256.Size]byte {
	b, err := hkdf.Key(sha256.New, id.key().Seed(), nil, derivedFor+purpose, sha256.Size)
	if err != nil {
		panic("identity: " + err.Error()) // it is too long for HKDF
	}
	return [sha256.Size]byte(b)
}

// derivedFor begins what HKDF is told of a derived secret.
const derivedFor = "secureportal sp derived 1 "

// Rotate returns the identity with a new key, introduced by the old one; id itself is
// as it was. Whoever has seen the new history refuses the old key from then on. It
// fails when the history is full ([MaxChanges]).
func (id *Identity) Rotate(random io.Reader, now time.Time) (*Identity, error) {
	key, err := newKey(random)
	if err != nil {
		return nil, err
	}
	history, err := id.history.extend(id.key(), key, now)
	if err != nil {
		return nil, fmt.Errorf("rotate %s: %w", id.Identifier(), err)
	}
	return &Identity{history: history, key: hide(key)}, nil
}

func newKey(random io.Reader) (ed25519.PrivateKey, error) {
	var seed [seedSize]byte
	if _, err := io.ReadFull(orRandom(random), seed[:]); err != nil {
		return nil, fmt.Errorf("new key: no random bytes: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed[:]), nil
}

func orRandom(random io.Reader) io.Reader {
	if random == nil {
		return rand.Reader
	}
	return random
}

// Identifier returns the identity's name.
func (id *Identity) Identifier() Identifier { return id.history.Identifier() }

// History returns the identity's history.
func (id *Identity) History() *History { return id.history }

// String returns the Identifier's text form.
func (id Identity) String() string {
	if id.history == nil {
		return "no identity"
	}
	return id.history.Identifier().String()
}

// Format writes the Identifier, whatever the verb: no verb shows the key.
func (id Identity) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, id.String())
}
