package identity

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

const testRoute = "/dnsaddr/relay.example.com/tcp/4000/service/forward_to_db" +
	"/secure/api/service/outlet"

func ticketOf(t testing.TB, issuer *Identity) *Ticket {
	t.Helper()
	k, err := issuer.Ticket(nil, testRoute, t0.Add(10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestTicketBits(t *testing.T) {
	host := newIdentity(t, "host")
	k := ticketOf(t, host)
	mangle(t, k.Bytes(), func(b []byte) error {
		got, err := ParseTicket(b)
		if err != nil {
			return err
		}
		if got.Verify(host.History(), t0) == nil {
			return got.VerifySignature()
		}
		return errors.New("refused")
	})
	mangle(t, []byte(k.String()), func(b []byte) error {
		got, err := ParseTicketText(string(b))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(b)) == k.String() { // a line feed at the end is no other ticket
			if len(b) != len(k.String()) {
				return errors.New("the same")
			}
			return nil
		}
		return got.Verify(host.History(), t0)
	})
	// It holds no key, and what it says of the issuer is no secret.
	if strings.Contains(string(k.Bytes()), string(host.key().Seed())) {
		t.Error("the ticket contains the issuer's secret key")
	}
	if k.Route() != testRoute || k.Issuer() != host.Identifier() ||
		!k.Expires().Equal(t0.Add(10*time.Minute)) {
		t.Errorf("%+v", k)
	}
	text, err := json.Marshal(k)
	if err != nil || !strings.Contains(string(text), testRoute) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestTicketRefusesToBe(t *testing.T) {
	host := newIdentity(t, "host")
	for _, bad := range []string{
		"", " ", "a b", "a\n", "é", strings.Repeat("a", MaxTicketRoute+1),
	} {
		if _, err := host.Ticket(nil, bad, t0); err == nil {
			t.Errorf("a ticket to %q was made", bad)
		}
	}
	if _, err := host.Ticket(nil, strings.Repeat("a", MaxTicketRoute), t0); err != nil {
		t.Error(err)
	}
	if _, err := host.Ticket(strings.NewReader("short"), testRoute, t0); err == nil {
		t.Error("a ticket was made without random bytes")
	}
	if _, err := host.Ticket(nil, testRoute, time.Unix(-1, 0)); err == nil {
		t.Error("a ticket was made that expires before 1970")
	}
	long := host
	for i := range MaxChanges - 1 {
		long = rotated(t, long, string(rune('a'+i)))
	}
	if k, err := long.Ticket(nil, strings.Repeat("a", MaxTicketRoute), t0); err != nil ||
		len(k.Bytes()) != MaxTicket {
		t.Errorf("the longest ticket: %d bytes, %v; the limit is %d",
			len(k.Bytes()), err, MaxTicket)
	}
	prefix := ticketObject.prefix
	for _, bad := range []string{
		"", prefix, prefix + "A", "sp-ticket-2:AAAA", prefix + "AA\nAA",
		prefix + strings.Repeat("A", 20000),
	} {
		if _, err := ParseTicketText(bad); err == nil {
			t.Errorf("%q is a ticket", bad)
		}
	}
}

// A proof carries a ticket from an initiator, last, and once.
func TestProofWithTicket(t *testing.T) {
	guest, host := newIdentity(t, "guest"), newIdentity(t, "host")
	k, c := ticketOf(t, host), issued(t, host, guest.Identifier())
	proof, err := guest.Prove(Initiator, testHash, [][]byte{c.Bytes()}, k.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	mangle(t, proof, func(b []byte) error {
		peer, err := verifyProof(Initiator, testHash, b)
		if err == nil && (peer.Ticket.String() != k.String() || len(peer.Credentials) != 1) {
			t.Error("what was shown is not what was seen")
		}
		return err
	})
	if _, err := guest.Prove(Responder, testHash, nil, k.Bytes()); err == nil {
		t.Error("a responder shows a ticket")
	}
	if _, err := guest.Prove(Initiator, testHash, nil, []byte{1}); err == nil {
		t.Error("what does not decode was shown")
	}
	prove := func(role Role, count byte, entries ...[]byte) error {
		b := append([]byte{proofVersion}, guest.History().Bytes()...)
		b = append(b, count)
		for _, e := range entries {
			b = append(b, e...)
		}
		b = append(b, sign(guest.key(), contextProof, proofMessage(role, b, testHash))...)
		_, err := verifyProof(role, testHash, b)
		return err
	}
	shown := appendEntry(nil, entryTicket, k.Bytes())
	vouched := appendEntry(nil, entryCredential, c.Bytes())
	if err := prove(Initiator, 2, vouched, shown); err != nil {
		t.Error(err)
	}
	wantErr(t, prove(Responder, 1, shown), nil, "a ticket from a responder")
	wantErr(t, prove(Initiator, 2, shown, shown), nil, "nothing comes behind a ticket")
	wantErr(t, prove(Initiator, 2, shown, vouched), nil, "nothing comes behind a ticket")
	wantErr(t, prove(Initiator, 1, appendEntry(nil, 3, nil)), nil, "unknown kind 3")
	wantErr(t, prove(Initiator, 1, appendEntry(nil, entryTicket, nil)), nil, "ticket: cut short")
	wantErr(t, prove(Initiator, MaxCredentials+2), nil, "at most 9 are allowed")
	nine := make([][]byte, MaxCredentials+1)
	for i := range nine {
		nine[i] = vouched
	}
	wantErr(t, prove(Initiator, MaxCredentials+1, nine...), nil, "more than 8 credentials")
}
