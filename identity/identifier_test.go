package identity

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestIdentifierText(t *testing.T) {
	id := newIdentity(t, "a").Identifier()
	s := id.String()
	if len(s) != 65 || s[0] != 'I' || s != strings.ToLower(s[:1])[:0]+"I"+strings.ToLower(s[1:]) {
		t.Fatalf("%q is not I and 64 lower-case digits", s)
	}
	got, err := ParseIdentifier(s)
	if err != nil || got != id {
		t.Fatalf("got %v, %v, want %v", got, err, id)
	}
	b, err := json.Marshal(map[Identifier]Identifier{id: id})
	if err != nil {
		t.Fatal(err)
	}
	var back map[Identifier]Identifier
	if err := json.Unmarshal(b, &back); err != nil || back[id] != id {
		t.Fatalf("JSON there and back: %v, %v", back, err)
	}
	if id.IsZero() || !(Identifier{}).IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestIdentifierRefused(t *testing.T) {
	digits := strings.Repeat("0a", 32)
	for text, want := range map[string]string{
		"":                     "0 characters",
		"I":                    "1 characters",
		"I" + digits[1:]:       "64 characters",
		"I" + digits + "0":     "66 characters",
		"I" + digits + "\n":    "66 characters",
		" I" + digits[1:]:      "begin with an upper-case I",
		"i" + digits:           "begin with an upper-case I",
		"0" + digits:           "begin with an upper-case I",
		"IA" + digits[1:]:      "character 2",
		"I" + digits[1:] + "g": "character 65",
		"I" + digits[2:] + "é": "character 64",
	} {
		if _, err := ParseIdentifier(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseIdentifier(%q): error %v, want one that says %q", text, err, want)
		}
		if err := new(Identifier).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("UnmarshalText(%q) is accepted", text)
		}
	}
}
