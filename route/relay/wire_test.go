package relay

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// longestName is as long as the name of a service leaves room for.
var longestName = strings.Repeat("n", wire.MaxName-len(route.ForwardPrefix))

func TestClaim(t *testing.T) {
	for _, kind := range []claim{
		{},
		{muxOnly: true},
		{replace: true},
		{outlives: true},
		{shares: true},
		{muxOnly: true, replace: true, outlives: true, shares: true},
	} {
		for _, name := range []string{"d", "db-1.example_com", longestName} {
			want := kind
			want.name, want.instance = name, Instance([]byte("instance"))
			if got, err := parseClaim(want.appendTo(nil)); got != want || err != nil {
				t.Errorf("%+v: %+v, %v", want, got, err)
			}
		}
	}
	of := func(name string) []byte { return (&claim{name: name}).appendTo(nil) }
	for what, b := range map[string][]byte{
		"nothing":         {},
		"no instance":     {0},
		"no name":         of(""),
		"another kind":    append([]byte{16}, of("db")[1:]...),
		"a long name":     of(longestName + "n"),
		"a slash in it":   of("a/b"),
		"a space in it":   of("a b"),
		"a zero in it":    of("a\x00"),
		"letters of more": of("ä"),
	} {
		_, err := parseClaim(b)
		var status *route.StatusError
		if !errors.As(err, &status) || status.Code != wire.BadMessage {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestStandbyKey(t *testing.T) {
	k, err := newStandbyKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := newStandbyKey()
	if err != nil {
		t.Fatal(err)
	}
	b := k.appendTo([]byte("before"))[len("before"):]
	if got, err := parseStandbyKey(b); got != k || err != nil || k == other {
		t.Errorf("%v, %v; two keys are alike: %v", got, err, k == other)
	}
	for _, n := range []int{0, 1, keySize - 1, keySize + 1} {
		if _, err := parseStandbyKey(make([]byte, n)); err == nil {
			t.Errorf("%d bytes are a key", n)
		}
	}
}

// A proof holds for its key, its number and its own bytes, and for nothing else.
func TestProof(t *testing.T) {
	k, err := newStandbyKey()
	if err != nil {
		t.Fatal(err)
	}
	other := k
	other.secret[0]++
	for _, number := range []uint64{0, 1, 1 << 40, 1<<64 - 1} {
		proof := k.appendProof([]byte("before"), number)[len("before"):]
		id, got, ok := parseProof(proof)
		if id != k.id || got != number || !ok || !k.verifies(proof, got) {
			t.Errorf("%d: %x, %d, %v", number, id, got, ok)
		}
		if other.verifies(proof, number) || k.verifies(proof, number+1) {
			t.Errorf("%d: it holds for another key or number", number)
		}
		for i := range proof {
			forged := bytes.Clone(proof)
			forged[i] ^= 1
			if k.verifies(forged, number) {
				t.Errorf("%d: it holds with byte %d changed", number, i)
			}
		}
	}
	for _, n := range []int{0, proofSize - 1, proofSize + 1, 4096} {
		if _, _, ok := parseProof(make([]byte, n)); ok {
			t.Errorf("%d bytes are a proof", n)
		}
	}
}

// The proof of docs/PROTOCOL.md: number 1, the key 00 … 0f, 40 … 5f.
func TestProofVector(t *testing.T) {
	var k standbyKey
	for i := range k.id {
		k.id[i] = byte(i)
	}
	for i := range k.secret {
		k.secret[i] = byte(0x40 + i)
	}
	const want = "000102030405060708090a0b0c0d0e0f" + "0000000000000001" +
		"b068ea43d3d53fc5b3dc1ac4adae6401"
	if got := hex.EncodeToString(k.appendProof(nil, 1)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestDemands(t *testing.T) {
	for text, want := range map[string]demands{
		"":                         {},
		"\x00":                     {missing: 1},
		"\x00\x00\x00":             {missing: 3},
		"\x01":                     {superseded: true},
		"\x00\x01":                 {missing: 1, superseded: true},
		"\x02\xff":                 {nodes: true},
		"\x00\x02\x00":             {missing: 2, nodes: true},
		"\x03":                     {none: true},
		"\x00\x03":                 {missing: 1, none: true},
		"\x03\x00":                 {missing: 1},
		"\x03\x00\x03\x01":         {missing: 1, none: true, superseded: true},
		strings.Repeat("\x00", 64): {missing: 64},
	} {
		if got := parseDemands([]byte(text)); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
