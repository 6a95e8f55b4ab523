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
	"sync/atomic"
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

var credentialObject = signedObject{
	name: "credential", signer: "authority", version: credentialVersion, max: MaxCredential,
	context: contextCredential, prefix: "sp-credential-1:",
}

// Errors of [Credential.Verify] that a program may want to tell apart.
var (
	ErrExpired     = errors.New("expired")
	ErrNotYetValid = errors.New("not yet valid")
	ErrForged      = errors.New("forged")
)

// Credential is what an authority says about an identity, the subject: attributes, and
// from when until when they hold. It is worth nothing to anybody but the subject, so it
// is no secret. A Credential never changes and is safe for concurrent use.
//
// It has been decoded and not verified: until [Credential.Verify] has passed, its
// methods return what somebody claims.
//
// The authority signs with its current key, and puts its history up to that key inside:
// to verify, its Identifier is enough. An authority that rotates its key because the old
// one was stolen should know:
//
//   - A verifier that knows the newer history refuses every credential with an older one
//     inside, the thief's and the honest ones alike: a thief can date them as it likes. So
//     issue all credentials again after a rotation.
//   - A verifier that does not know the newer history yet believes the thief until the
//     credentials expire. So issue credentials that live for a short time.
//   - The thief can rotate the key, too. A verifier takes the branch that it saw first, and
//     refuses the other as a fork. If that was the thief's, only a new authority helps: deny
//     the old one.
type Credential struct {
	raw        []byte
	serial     [serialSize]byte
	subject    Identifier
	notBefore  uint64
	expires    uint64
	attributes map[string]string
	authority  *History // not verified

	signed atomic.Bool // its signatures have been verified
}

// Claims is what [Identity.Issue] signs. Times are kept to the second.
type Claims struct {
	Subject    Identifier        // whom it is about
	Attributes map[string]string // at most MaxAttributes; keys of a-z 0-9 . _ -; may be empty
	NotBefore  time.Time         // valid from this second on
	Expires    time.Time         // not valid at this second or later; after NotBefore
}

// Issue signs a credential as an authority. random gives the serial number, 16 bytes; nil
// means crypto/rand. Claims that no credential can hold are an error.
func (id *Identity) Issue(random io.Reader, claims Claims) (*Credential, error) {
	b, err := credentialObject.begin(random)
	if err != nil {
		return nil, err
	}
	if claims.Subject.IsZero() {
		return nil, errors.New("credential: no subject")
	}
	if len(claims.Attributes) > MaxAttributes {
		return nil, fmt.Errorf("credential: %d attributes, at most %d are allowed",
			len(claims.Attributes), MaxAttributes)
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
	return ParseCredential(credentialObject.end(b, id))
}

// ParseCredential decodes a credential's bytes. It verifies no signature.
func ParseCredential(b []byte) (*Credential, error) {
	c := new(Credential)
	var err error
	if c.raw, err = credentialObject.decode(b, c.decode); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Credential) decode(d *decoder) {
	c.serial = credentialObject.readBegin(d)
	copy(c.subject[:], d.take(hashSize))
	c.notBefore = d.seconds("not-before")
	c.expires = d.seconds("expiry")
	if d.err == nil && c.notBefore >= c.expires {
		d.fail("it expires before it becomes valid")
	}
	c.decodeAttributes(d)
	c.authority = credentialObject.readEnd(d)
}

func (c *Credential) decodeAttributes(d *decoder) {
	count := d.uint8()
	if count > MaxAttributes {
		d.fail("%d attributes, at most %d are allowed", count, MaxAttributes)
	}
	c.attributes = make(map[string]string)
	before := ""
	for i := 0; i < count && d.err == nil; i++ {
		key := string(d.take(d.uint8()))
		value := string(d.take(d.uint8()))
		if d.err != nil {
			return
		}
		if err := CheckAttribute(key, value); err != nil {
			d.fail("attribute %d: %w", i+1, err)
		}
		if key <= before {
			d.fail("attribute %d: keys are not in ascending order", i+1)
		}
		before = key
		c.attributes[key] = value
	}
}

// ParseCredentialText reads the text form, which [Credential.String] writes. White space
// around it is ignored.
func ParseCredentialText(s string) (*Credential, error) {
	b, err := credentialObject.parseText(s)
	if err != nil {
		return nil, err
	}
	return ParseCredential(b)
}

// CheckAttribute returns an error, which says why, if a credential may not have the
// attribute: a key has 1 to [MaxAttributeKey] bytes of a-z 0-9 . _ -, and a value is
// printable text in UTF-8 of at most [MaxAttributeValue] bytes.
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
		return fmt.Errorf("value of attribute %s has %d bytes, at most %d are allowed",
			key, len(value), MaxAttributeValue)
	}
	if !printable.Is(value) {
		return fmt.Errorf("value of attribute %s is not printable text in UTF-8", key)
	}
	return nil
}

// Verify checks that authority issued the credential, that it is about subject, that it is
// valid at now, and all signatures. It returns the authority's history as the credential
// carries it, verified. It cannot know whether the authority has rotated its key since: that
// takes a memory of histories.
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
		return fmt.Errorf("%w: it begins at %s, and the clock here shows %s", ErrNotYetValid,
			c.NotBefore().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if !now.Before(c.Expires()) {
		return fmt.Errorf("%w at %s, and the clock here shows %s", ErrExpired,
			c.Expires().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// VerifySignature checks that the credential was signed by the authority that it names,
// whoever that is and whatever the time. Do so before you present one. A second call costs nothing
// if the first has passed.
func (c *Credential) VerifySignature() error {
	if c.signed.Load() {
		return nil
	}
	if err := credentialObject.verify(c.raw, c.authority); err != nil {
		return forgedError{err}
	}
	c.signed.Store(true)
	return nil
}

// forgedError is an ErrForged that says what is wrong.
type forgedError struct{ error }

func (forgedError) Is(target error) bool { return target == ErrForged }

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

// Serial returns the serial number, which is random.
func (c *Credential) Serial() [16]byte { return c.serial }

// Bytes returns a copy of the encoding, as [Identity.Prove] takes it.
func (c *Credential) Bytes() []byte { return bytes.Clone(c.raw) }

// String returns the text form: one word, safe in URLs and shells.
func (c *Credential) String() string { return credentialObject.text(c.raw) }

// MarshalJSON returns the contents for people and scripts to read. It is not read back.
func (c *Credential) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Serial     string            `json:"serial"`
		Authority  Identifier        `json:"authority"`
		Subject    Identifier        `json:"subject"`
		Attributes map[string]string `json:"attributes"`
		NotBefore  time.Time         `json:"not_before"`
		Expires    time.Time         `json:"expires"`
	}{
		hex.EncodeToString(c.serial[:]), c.Authority(), c.subject, c.attributes,
		c.NotBefore(), c.Expires(),
	})
}
