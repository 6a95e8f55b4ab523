package identity

import (
	"bytes"
	"maps"
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

func FuzzParseHistory(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHistory(b)
		if err != nil {
			return
		}
		if !bytes.Equal(h.Bytes(), b) || h.Len() < 1 || h.Len() > MaxChanges {
			t.Errorf("%x is read as %x", b, h.Bytes())
		}
		if NewSeen().Observe(h) != nil {
			t.Error("a first history is refused")
		}
	})
}

func FuzzParseCredential(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseCredentialText(string(b)); err == nil && c.String() != string(bytes.TrimSpace(b)) {
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
		_, _ = c.AuthorityHistory()
	})
}

func FuzzParseTicket(f *testing.F) {
	own := newIdentity(f, "vector: authority").History()
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParseTicketText(string(b)); err == nil && k.String() != string(bytes.TrimSpace(b)) {
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
		_ = k.verify(own, t0)
	})
}

func FuzzVerifyProof(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, role := range []Role{Initiator, Responder} {
			peer, err := VerifyProof(role, testHash, b)
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

func FuzzAllowFile(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		ids, err := parseList(s)
		if err != nil {
			return
		}
		// Adding one more keeps all that was there.
		added := Identifier{1, 2, 3}
		want := maps.Clone(ids)
		line := listLine([]byte(s), added, "a comment")
		got, err := parseList(s + string(line))
		if err != nil {
			t.Fatalf("after adding one: %v", err)
		}
		if _, ok := want[added]; !ok {
			want[added] = got[added]
		}
		if !maps.Equal(got, want) {
			t.Errorf("after adding one to %q: %v, want %v", s, got, want)
		}
	})
}

func FuzzSeenFile(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		seen := NewSeen()
		if seen.parse(s) != nil {
			return
		}
		again := NewSeen()
		text := seenHeader + "\n"
		for e := seen.named.Back(); e != nil; e = e.Prev() {
			text += formatSeenLine(e.Value.(*seenEntry).hashes)
		}
		if err := again.parse(text); err != nil || again.Len() != seen.Len() {
			t.Errorf("%q is written as %q, which is read as %d entries, %v", s, text, again.Len(), err)
		}
	})
}
