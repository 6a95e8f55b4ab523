package identity

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// signedObject is what credentials and tickets have in common. As bytes, both begin with a
// version and a serial number, and end with the signer's history and signature. As text,
// both are one word that holds the bytes. The signature is by the history's current key,
// over context and everything before the signature.
type signedObject struct {
	name    string // in errors
	signer  string // in errors: what it is to those who read it
	version int
	max     int    // bytes
	context string // see sign
	prefix  string // begins the text form; unpadded base64url of the bytes follows
}

// begin returns the beginning of an encoding, with a new serial number.
func (o *signedObject) begin(random io.Reader) ([]byte, error) {
	b := make([]byte, 1+serialSize)
	b[0] = byte(o.version)
	if _, err := io.ReadFull(orRandom(random), b[1:]); err != nil {
		return nil, fmt.Errorf("%s: no random bytes: %w", o.name, err)
	}
	return b, nil
}

// end appends the history and the signature of id.
func (o *signedObject) end(b []byte, id *Identity) []byte {
	b = append(b, id.history.raw...)
	return append(b, sign(id.key(), o.context, b)...)
}

// decode copies b, has read decode all of the copy, and returns it.
func (o *signedObject) decode(b []byte, read func(*decoder)) ([]byte, error) {
	if len(b) > o.max {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are allowed", o.name, len(b), o.max)
	}
	raw := bytes.Clone(b)
	d := &decoder{b: raw}
	read(d)
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("%s: %w", o.name, err)
	}
	return raw, nil
}

// readBegin reads what begin has written.
func (o *signedObject) readBegin(d *decoder) (serial [serialSize]byte) {
	d.expect(o.version, "version")
	copy(serial[:], d.take(serialSize))
	return serial
}

// readEnd reads what end has written. The history has not been verified.
func (o *signedObject) readEnd(d *decoder) *History {
	if d.err != nil {
		return nil
	}
	h := decodeHistory(d)
	if d.err != nil {
		d.err = fmt.Errorf("%s's history: %w", o.signer, d.err)
	}
	d.take(signatureSize)
	return h
}

// signed reports whether raw, which has been decoded, ends with a signature by the current
// key of h.
func (o *signedObject) signed(raw []byte, h *History) bool {
	said, signature := raw[:len(raw)-signatureSize], raw[len(raw)-signatureSize:]
	return verify(h.current(), signature, o.context, said)
}

// verify checks the signature of raw, which has been decoded, and the signer's history inside.
func (o *signedObject) verify(raw []byte, h *History) error {
	if !o.signed(raw, h) {
		return o.notSigned()
	}
	if err := h.verify(); err != nil {
		return fmt.Errorf("%s's history: %w", o.signer, err)
	}
	return nil
}

func (o *signedObject) notSigned() error { return errors.New("not signed by its " + o.signer) }

// text returns the text form.
func (o *signedObject) text(raw []byte) string {
	return o.prefix + base64.RawURLEncoding.EncodeToString(raw)
}

// parseText returns the bytes that a text form holds. White space around it is ignored. Its
// errors quote nothing from the text, which may be a secret.
func (o *signedObject) parseText(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	if len(s) > len(o.prefix)+base64.RawURLEncoding.EncodedLen(o.max) {
		return nil, fmt.Errorf("%s has %d characters, more than the longest can have",
			o.name, len(s))
	}
	body, ok := strings.CutPrefix(s, o.prefix)
	if !ok {
		return nil, fmt.Errorf("%s does not begin with %q", o.name, o.prefix)
	}
	if strings.ContainsAny(body, "\r\n") {
		return nil, fmt.Errorf("%s is broken into several lines: it is one word", o.name)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged, or not all of it is there", o.name)
	}
	return b, nil
}
