package identity

import (
	"bytes"
	"testing"
)

// The seeds of these are kept in testdata/fuzz; go test runs them. Each target asserts
// that nothing panics, and that encoding what was accepted gives the same bytes.

func FuzzParseIdentifier(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseIdentifier(s); err == nil && id.String() != s {
			t.Errorf("%q is read as %q", s, id)
		}
	})
}

func FuzzParseCredential(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseCredentialText(string(b)); err == nil &&
			c.String() != string(bytes.TrimSpace(b)) {
			t.Errorf("%q is read as %q", b, c)
		}
		c, err := ParseCredential(b)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Bytes(), b) {
			t.Errorf("%x is read as %x", b, c.Bytes())
		}
		again, err := ParseCredentialText(c.String())
		if err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("%x does not survive its text form: %v", b, err)
		}
		if _, err := c.MarshalJSON(); err != nil {
			t.Error(err)
		}
		_ = c.VerifySignature()
		_, _ = c.Verify(c.Authority(), c.Subject(), c.NotBefore())
	})
}

func FuzzParseTicket(f *testing.F) {
	own := newIdentity(f, "vector: authority").History()
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParseTicketText(string(b)); err == nil &&
			k.String() != string(bytes.TrimSpace(b)) {
			t.Errorf("%q is read as %q", b, k)
		}
		k, err := ParseTicket(b)
		if err != nil {
			return
		}
		if !bytes.Equal(k.Bytes(), b) {
			t.Errorf("%x is read as %x", b, k.Bytes())
		}
		again, err := ParseTicketText(k.String())
		if err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("%x does not survive its text form: %v", b, err)
		}
		if _, err := k.MarshalJSON(); err != nil {
			t.Error(err)
		}
		_ = k.VerifySignature()
		_ = k.Verify(own, t0)
	})
}

func FuzzVerifyProof(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, role := range []Role{Initiator, Responder} {
			peer, err := verifyProof(role, testHash, b)
			if err != nil {
				continue
			}
			again := append([]byte{proofVersion}, peer.History.Bytes()...)
			entries := len(peer.Credentials)
			if peer.Ticket != nil {
				entries++
			}
			again = append(again, byte(entries))
			for _, c := range peer.Credentials {
				again = appendEntry(again, entryCredential, c.Bytes())
			}
			if peer.Ticket != nil {
				again = appendEntry(again, entryTicket, peer.Ticket.Bytes())
			}
			if !bytes.Equal(again, b[:len(b)-signatureSize]) {
				t.Errorf("%x is read as %x", b, again)
			}
		}
	})
}

func FuzzKeyFile(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := parseKeyFile(b)
		if err == nil && !bytes.Equal(id.keyFile(), b) {
			t.Errorf("%q is read as %q", b, id.keyFile())
		}
	})
}
