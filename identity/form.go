package identity

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// form is what credentials and tickets have in common: bytes that begin with a version and a serial number and end with
// the signer's history and signature, and one word of text that holds them. The signature is by the history's current
// key, over context and everything before the signature.
type form struct {
	name    string // in errors
	signer  string // in errors: what it is to those who read it
	version int
	max     int    // bytes
	context string // see sign
	prefix  string // begins the text form; unpadded base64url of the bytes follows
}

// begin returns the beginning of an encoding, with a new serial number.
func (f *form) begin(random io.Reader) ([]byte, error) {
	b := make([]byte, 1+serialSize)
	b[0] = byte(f.version)
	if _, err := io.ReadFull(orRandom(random), b[1:]); err != nil {
		return nil, fmt.Errorf("%s: no random bytes: %w", f.name, err)
	}
	return b, nil
}

// end appends the history and the signature of id.
func (f *form) end(b []byte, id *Identity) []byte {
	b = append(b, id.history.raw...)
	return append(b, sign(id.key(), f.context, b)...)
}

// decode has read take a copy of b apart, all of it, and returns the copy.
func (f *form) decode(b []byte, read func(*reader)) ([]byte, error) {
	if len(b) > f.max {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are allowed", f.name, len(b), f.max)
	}
	raw := bytes.Clone(b)
	r := &reader{b: raw}
	read(r)
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return raw, nil
}

// readBegin reads what begin has written.
func (f *form) readBegin(r *reader) (serial [serialSize]byte) {
	r.expect(f.version, "version")
	copy(serial[:], r.take(serialSize))
	return serial
}

// readEnd reads what end has written. The history has not been verified.
func (f *form) readEnd(r *reader) *History {
	if r.err != nil {
		return nil
	}
	h := decodeHistory(r)
	if r.err != nil {
		r.err = fmt.Errorf("%s's history: %w", f.signer, r.err)
	}
	r.take(signatureSize)
	return h
}

// signed reports whether raw, which has been decoded, ends with a signature by h's current key.
func (f *form) signed(raw []byte, h *History) bool {
	said, signature := raw[:len(raw)-signatureSize], raw[len(raw)-signatureSize:]
	return verify(h.current(), signature, f.context, said)
}

// verify checks the signature of raw, which has been decoded, and the signer's history inside.
func (f *form) verify(raw []byte, h *History) error {
	if !f.signed(raw, h) {
		return f.notSigned()
	}
	if err := h.verify(); err != nil {
		return fmt.Errorf("%s's history: %w", f.signer, err)
	}
	return nil
}

func (f *form) notSigned() error { return errors.New("not signed by its " + f.signer) }

// text returns the text form.
func (f *form) text(raw []byte) string { return f.prefix + base64.RawURLEncoding.EncodeToString(raw) }

// parseText returns the bytes that a text form holds. White space around it is ignored. Its errors quote nothing from
// the text, which may be a secret.
func (f *form) parseText(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	if len(s) > len(f.prefix)+base64.RawURLEncoding.EncodedLen(f.max) {
		return nil, fmt.Errorf("%s has %d characters, more than the longest can have", f.name, len(s))
	}
	body, ok := strings.CutPrefix(s, f.prefix)
	if !ok {
		return nil, fmt.Errorf("%s does not begin with %q", f.name, f.prefix)
	}
	if strings.ContainsAny(body, "\r\n") {
		return nil, fmt.Errorf("%s is broken into several lines: it is one word", f.name)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged, or not all of it is there", f.name)
	}
	return b, nil
}
