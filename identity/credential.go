package identity

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/secureportal/sp/internal/printable"
)

// A credential on the wire, all numbers big-endian:
//
//	version (1) = 1 | serial (16) | subject (32) | not before (8) | expires (8)
//	count (1) | { key length (1) key | value length (1) value } …
//	authority's history | signature (64)
//
// Attributes are in ascending order of their keys, byte by byte, each key once. The
// signature is by the current key of the history inside, over contextCredential and
// everything before the signature. The authority's Identifier is not written again: it
// is the hash of the history's first change.

var credentialForm = form{
	name: "credential", signer: "authority", version: credentialVersion, max: MaxCredential,
	context: contextCredential, prefix: "sp-credential-1:",
}

// Errors of [Credential.Verify] that a program may want to tell apart.
var (
	ErrExpired     = errors.New("expired")
	ErrNotYetValid = errors.New("not yet valid")
)

// Credential is what an authority says about an identity, the subject: attributes, and
// from when until when they hold. It is worth nothing to anybody but the subject, so it
// is no secret. A Credential never changes and is safe for concurrent use.
//
// It has been decoded and not verified: until [Credential.Verify] has passed, its
// methods return what somebody claims.
//
// The authority signs with the key that is current when it signs, and its history up to
// that key is inside: who knows only the authority's Identifier can verify. An
// authority that rotates its key because the old one was stolen should know:
//
//   - a verifier that has seen the newer history refuses every credential that carries
//     an older one, the thief's and the honest ones alike, because a thief can date
//     them as it likes. So issue all credentials again after a rotation;
//   - a verifier that has not yet seen the newer history still believes the thief, until
//     the credentials expire. Give it the history, or put short lives
//     on credentials;
//   - the thief can rotate too. A verifier takes the branch it saw first and refuses the
//     other as a fork. If that was the thief's, only a new authority helps: deny the old.
type Credential struct {
	raw        []byte
	serial     [serialSize]byte
	subject    Identifier
	notBefore  uint64
	expires    uint64
	attributes map[string]string
	authority  *History // not verified
}

// Claims is what [Identity.Issue] signs.
type Claims struct {
	Subject    Identifier        // whom it is about
	Attributes map[string]string // at most MaxAttributes; keys of a-z 0-9 . _ -; may be empty
	NotBefore  time.Time         // valid from this second on
	Expires    time.Time         // not valid at this second or later; after NotBefore
}

// Issue signs a credential as an authority. random gives the serial number, 16 bytes;
// nil means crypto/rand.
func (id *Identity) Issue(random io.Reader, claims Claims) (*Credential, error) {
	b, err := credentialForm.begin(random)
	if err != nil {
		return nil, err
	}
	if claims.Subject.IsZero() {
		return nil, errors.New("credential: no subject")
	}
	if len(claims.Attributes) > MaxAttributes {
		return nil, fmt.Errorf("credential: %d attributes, at most %d are allowed", len(claims.Attributes), MaxAttributes)
	}
	notBefore, err := seconds(claims.NotBefore)
	if err != nil {
		return nil, fmt.Errorf("credential: not-before: %w", err)
	}
	expires, err := seconds(claims.Expires)
	if err != nil {
		return nil, fmt.Errorf("credential: expiry: %w", err)
	}
	b = append(b, claims.Subject[:]...)
	b = binary.BigEndian.AppendUint64(b, notBefore)
	b = binary.BigEndian.AppendUint64(b, expires)
	b = append(b, byte(len(claims.Attributes)))
	for _, key := range slices.Sorted(maps.Keys(claims.Attributes)) {
		value := claims.Attributes[key]
		if err := CheckAttribute(key, value); err != nil {
			return nil, fmt.Errorf("credential: %w", err)
		}
		b = append(append(b, byte(len(key))), key...)
		b = append(append(b, byte(len(value))), value...)
	}
	return ParseCredential(credentialForm.end(b, id))
}

// ParseCredential decodes a credential's bytes. It verifies no signature.
func ParseCredential(b []byte) (*Credential, error) {
	c := new(Credential)
	var err error
	if c.raw, err = credentialForm.decode(b, c.decode); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Credential) decode(r *reader) {
	c.serial = credentialForm.readBegin(r)
	copy(c.subject[:], r.take(hashSize))
	c.notBefore = r.seconds("not-before")
	c.expires = r.seconds("expiry")
	if r.err == nil && c.notBefore >= c.expires {
		r.fail("it expires before it becomes valid")
	}
	c.decodeAttributes(r)
	c.authority = credentialForm.readEnd(r)
}

func (c *Credential) decodeAttributes(r *reader) {
	count := r.uint8()
	if count > MaxAttributes {
		r.fail("%d attributes, at most %d are allowed", count, MaxAttributes)
	}
	c.attributes = make(map[string]string)
	before := ""
	for i := 0; i < count && r.err == nil; i++ {
		key := string(r.take(r.uint8()))
		value := string(r.take(r.uint8()))
		if r.err != nil {
			return
		}
		if err := CheckAttribute(key, value); err != nil {
			r.fail("attribute %d: %w", i+1, err)
		}
		if key <= before {
			r.fail("attribute %d: keys are not in ascending order", i+1)
		}
		before = key
		c.attributes[key] = value
	}
}

// ParseCredentialText reads the text form, which [Credential.String] writes. White space
// around it is ignored.
func ParseCredentialText(s string) (*Credential, error) {
	b, err := credentialForm.parseText(s)
	if err != nil {
		return nil, err
	}
	return ParseCredential(b)
}

// CheckAttribute says whether a credential may have the attribute.
func CheckAttribute(key, value string) error {
	if len(key) < 1 || len(key) > MaxAttributeKey {
		return fmt.Errorf("attribute key has %d bytes, want 1 to %d", len(key), MaxAttributeKey)
	}
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return errors.New("attribute key has a character other than a-z 0-9 . _ -")
		}
	}
	if len(value) > MaxAttributeValue {
		return fmt.Errorf("value of attribute %s has %d bytes, at most %d are allowed", key, len(value), MaxAttributeValue)
	}
	if !printable.Is(value) {
		return fmt.Errorf("value of attribute %s is not printable text in UTF-8", key)
	}
	return nil
}

// Verify checks everything a credential can say by itself: that authority issued it,
// that it is about subject, that it is valid at now, and all signatures. It returns the
// authority's history as far as the credential carries it. What it does not know is
// whether the authority has rotated its key since.
//
// A credential is valid from the second NotBefore up to, and not including, the second
// Expires. There is no tolerance for clocks that differ.
func (c *Credential) Verify(
	authority, subject Identifier, now time.Time,
) (*History, error) {
	if c.Authority() != authority {
		return nil, fmt.Errorf("issued by %s, not by %s", c.Authority(), authority)
	}
	if c.subject != subject {
		return nil, fmt.Errorf("about %s, not about %s", c.subject, subject)
	}
	if err := c.validAt(now); err != nil {
		return nil, err
	}
	if err := c.VerifySignature(); err != nil {
		return nil, err
	}
	return c.authority, nil
}

func (c *Credential) validAt(now time.Time) error {
	if now.Before(c.NotBefore()) {
		return fmt.Errorf("%w: it begins at %s", ErrNotYetValid, c.NotBefore().Format(time.RFC3339))
	}
	if !now.Before(c.Expires()) {
		return fmt.Errorf("%w at %s", ErrExpired, c.Expires().Format(time.RFC3339))
	}
	return nil
}

// VerifySignature checks that the authority the credential names signed it, whoever
// that is and whatever the time: what to do before showing one.
func (c *Credential) VerifySignature() error {
	return credentialForm.verify(c.raw, c.authority)
}

// Authority returns the Identifier of the authority that issued it.
func (c *Credential) Authority() Identifier { return c.authority.Identifier() }

// Subject returns the Identifier of the identity it is about.
func (c *Credential) Subject() Identifier { return c.subject }

// Attributes returns a copy of the attributes.
func (c *Credential) Attributes() map[string]string { return maps.Clone(c.attributes) }

// NotBefore returns the second from which on it is valid.
func (c *Credential) NotBefore() time.Time { return unix(c.notBefore) }

// Expires returns the second from which on it is no longer valid.
func (c *Credential) Expires() time.Time { return unix(c.expires) }

// Serial returns the serial number: random, and of no meaning.
func (c *Credential) Serial() [16]byte { return c.serial }

// Bytes returns a copy of the encoding, as [Identity.Prove] takes it.
func (c *Credential) Bytes() []byte { return bytes.Clone(c.raw) }

// String returns the text form: one word, safe in URLs and shells.
func (c *Credential) String() string { return credentialForm.text(c.raw) }

// MarshalJSON returns the contents for people and scripts to read. There is no way back.
func (c *Credential) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Serial     string            `json:"serial"`
		Authority  Identifier        `json:"authority"`
		Subject    Identifier        `json:"subject"`
		Attributes map[string]string `json:"attributes"`
		NotBefore  time.Time         `json:"not_before"`
		Expires    time.Time         `json:"expires"`
	}{hex.EncodeToString(c.serial[:]), c.Authority(), c.subject, c.attributes, c.NotBefore(), c.Expires()})
}
