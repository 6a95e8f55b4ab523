package identity

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/vectors.json and the seed corpora anew")

// vectors are examples of every encoding, made from fixed secrets: for other
// implementations, and so that this one goes on reading what it has once written.
type vectors struct {
	Comment             string            `json:"comment"`
	Secrets             map[string]string `json:"secrets"`
	Identifier          Identifier        `json:"identifier"`
	History             string            `json:"history"`
	HistoryRotated      string            `json:"history_rotated"`
	AuthorityIdentifier Identifier        `json:"authority_identifier"`
	AuthorityHistory    string            `json:"authority_history"`
	Credential          string            `json:"credential"`
	CredentialText      string            `json:"credential_text"`
	Ticket              string            `json:"ticket"`
	TicketText          string            `json:"ticket_text"`
	HandshakeHash       string            `json:"handshake_hash"`
	ProofInitiator      string            `json:"proof_initiator"`
	ProofTicket         string            `json:"proof_initiator_with_credential_and_ticket"`
	ProofResponder      string            `json:"proof_responder_rotated_with_credential"`
	KeyFile             string            `json:"key_file_rotated"`
}

func makeVectors(t testing.TB) vectors {
	t.Helper()
	id := newIdentity(t, "vector: identity")
	next := rotated(t, id, "vector: identity, second key")
	authority := newIdentity(t, "vector: authority")
	c, err := authority.Issue(seeded("vector: serial"), Claims{
		Subject:    id.Identifier(),
		Attributes: map[string]string{"role": "db", "zone": "eu-1"},
		NotBefore:  t0,
		Expires:    t0.Add(24 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := authority.Ticket(seeded("vector: ticket"),
		"/dnsaddr/relay.example.com/tcp/4000/service/forward_to_db/secure/api/service/outlet",
		t0.Add(10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	p3, err := id.Prove(Initiator, testHash, [][]byte{c.Bytes()}, ticket.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	p1, err := id.Prove(Initiator, testHash, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p2, err := next.Prove(Responder, testHash, [][]byte{c.Bytes()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	seed := func(i *Identity) string { return hex.EncodeToString(i.key().Seed()) }
	return vectors{
		Comment: "Made by go test ./identity -run TestVectors -update. Bytes are in hexadecimal. " +
			"Secrets are Ed25519 seeds; the identity was created at 2026-02-03T04:05:06Z " +
			"and rotated an hour later.",
		Secrets: map[string]string{
			"identity, first key": seed(id), "identity, second key": seed(next),
			"authority": seed(authority),
		},
		Identifier:          id.Identifier(),
		History:             hex.EncodeToString(id.History().Bytes()),
		HistoryRotated:      hex.EncodeToString(next.History().Bytes()),
		AuthorityIdentifier: authority.Identifier(),
		AuthorityHistory:    hex.EncodeToString(authority.History().Bytes()),
		Credential:          hex.EncodeToString(c.Bytes()),
		CredentialText:      c.String(),
		Ticket:              hex.EncodeToString(ticket.Bytes()),
		TicketText:          ticket.String(),
		HandshakeHash:       hex.EncodeToString(testHash),
		ProofInitiator:      hex.EncodeToString(p1),
		ProofTicket:         hex.EncodeToString(p3),
		ProofResponder:      hex.EncodeToString(p2),
		KeyFile:             string(next.keyFile()),
	}
}

func TestVectors(t *testing.T) {
	path := filepath.Join("testdata", "vectors.json")
	made := makeVectors(t)
	text, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		writeCorpora(t, ".", corpora(made))
		writeCorpora(t, "trust", trustCorpora(made.Identifier.String()))
	}
	if got := string(read(t, path)); got != string(text)+"\n" {
		t.Errorf(
			"%s is not what is made now: an encoding has changed, "+
				"and what was written before cannot be read",
			path,
		)
	}
}

// corpora returns the kept seeds of each fuzz target: what is right, and near misses.
func corpora(v vectors) map[string]map[string]any {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			panic(err)
		}
		return b
	}
	cut := func(b []byte) []byte { return b[:len(b)-1] }
	flip := func(b []byte) []byte { b = slices.Clone(b); b[len(b)-1] ^= 1; return b }
	history, longer, credential := unhex(v.History), unhex(v.HistoryRotated), unhex(v.Credential)
	p1, p2, p3 := unhex(v.ProofInitiator), unhex(v.ProofResponder), unhex(v.ProofTicket)
	file := []byte(v.KeyFile)
	ticket := unhex(v.Ticket)
	id := v.Identifier.String()
	return map[string]map[string]any{
		"FuzzParseHistory": {
			"one": history, "two": longer, "cut": cut(longer), "flipped": flip(longer),
			"none": []byte{
				0,
			}, "too_many": []byte{MaxChanges + 1}, "trailing": append(slices.Clone(history), 0),
		},
		"FuzzParseCredential": {
			"good": credential, "cut": cut(credential), "flipped": flip(credential),
			"text":     []byte(v.CredentialText),
			"trailing": append(slices.Clone(credential), 0),
		},
		"FuzzParseTicket": {
			"good": ticket, "cut": cut(ticket), "flipped": flip(ticket),
			"text":     []byte(v.TicketText),
			"trailing": append(slices.Clone(ticket), 0),
		},
		"FuzzVerifyProof": {
			"initiator": p1, "responder": p2, "ticket": p3, "cut": cut(p2), "flipped": flip(p2),
			"trailing": append(slices.Clone(p1), 0),
		},
		"FuzzParseIdentifier": {
			"good": id, "upper": "I" + id[1:60] + "ABCDE", "short": id[:64], "long": id + "0",
			"bare": id[1:] + "0",
		},
		"FuzzKeyFile": {
			"good": file, "cut": cut(file), "flipped": flip(file),
			"header": []byte(keyFileHeader + "\n"), "empty": []byte{},
		},
	}
}

// trustCorpora returns those of package trust.
func trustCorpora(id string) map[string]map[string]any {
	const header = "sp-seen-1\n"
	return map[string]map[string]any{
		"FuzzAllowFile": {
			"one": id + "\n", "no_line_feed": id,
			"comments": "# a\n\n" + id + " b # c\r\n  \t" + id + "\n",
			"bad":      "x\n", "empty": "", "nul": "#\x00",
		},
		"FuzzSeenFile": {
			"good": header + id + " " + id[1:] + "\n", "empty": header, "torn": header + id,
			"words": header + id + "  " + id[1:] + "\n",
		},
	}
}

// writeCorpora writes what go test reads for the fuzz targets of the package at pkg.
func writeCorpora(t *testing.T, pkg string, corpora map[string]map[string]any) {
	t.Helper()
	for target, seeds := range corpora {
		dir := filepath.Join(pkg, "testdata", "fuzz", target)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(seeds)) {
			line := fmt.Sprintf("string(%q)", seeds[name])
			if _, ok := seeds[name].([]byte); ok {
				line = fmt.Sprintf("[]byte(%q)", seeds[name])
			}
			text := []byte("go test fuzz v1\n" + line + "\n")
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
