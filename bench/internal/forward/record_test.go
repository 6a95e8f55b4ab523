//go:build linux

package forward

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"testing"
)

// TestYardstickCipher: the yardstick seals with AES-256-GCM, as sp's suite does, and
// with no shorter key.
func TestYardstickCipher(t *testing.T) {
	plain := []byte("what a tunnel carries")
	c := newRecordCipher()
	record := make([]byte, lengthSize+len(plain)+tagSize)
	copy(record[lengthSize:], plain)
	c.seal(record, len(plain))

	block, err := aes.NewCipher(make([]byte, 256/8))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	got, err := aead.Open(nil, make([]byte, aead.NonceSize()), record[lengthSize:], nil)
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("AES-256-GCM opens it to %q, %v", got, err)
	}
}
