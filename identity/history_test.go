package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestHistory(t *testing.T) {
	first := newIdentity(t, "a")
	second := rotated(t, first, "b")
	third := rotated(t, second, "c")
	if first.History().Len() != 1 || third.History().Len() != 3 {
		t.Fatalf("lengths are %d and %d, want 1 and 3",
			first.History().Len(), third.History().Len())
	}
	if first.Identifier() != third.Identifier() {
		t.Error("the Identifier changed with the key")
	}
	if first.History().PublicKey().Equal(third.History().PublicKey()) {
		t.Error("the key did not change")
	}
	again, err := ParseHistory(third.History().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Bytes(), third.History().Bytes()) {
		t.Error("encoding again gives other bytes")
	}
	changes := again.Changes()
	if len(changes) != 3 || changes[0].Hash != first.Identifier() ||
		changes[1].Previous != changes[0].Hash {
		t.Errorf("changes do not form a chain: %v", changes)
	}
	if !changes[0].Created.Equal(t0) || !changes[1].Created.Equal(t0.Add(time.Hour)) {
		t.Errorf("created at %v and %v", changes[0].Created, changes[1].Created)
	}
	body := third.History().Bytes()[1 : 1+changeBodySize]
	if sha256.Sum256(body) != first.Identifier() {
		t.Error("the Identifier is not the hash of the first change's body")
	}
}

// Nobody who holds what the methods return can change the history.
func TestHistoryIsImmutable(t *testing.T) {
	h := newIdentity(t, "a").History()
	before := h.Bytes()
	input := h.Bytes()
	parsed, err := ParseHistory(input)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{
		input, h.Bytes(), h.PublicKey(), h.Changes()[0].PublicKey, parsed.Bytes(),
	} {
		for i := range b {
			b[i] ^= 0xff
		}
	}
	if !bytes.Equal(h.Bytes(), before) || !bytes.Equal(parsed.Bytes(), before) ||
		parsed.verify() != nil || h.verify() != nil {
		t.Error("the history changed")
	}
}

func TestHistoryMangled(t *testing.T) {
	t.Parallel()
	mangle(t, rotated(t, newIdentity(t, "a"), "b").History().Bytes(), func(b []byte) error {
		_, err := ParseHistory(b)
		return err
	})
}

func TestHistoryLimit(t *testing.T) {
	t.Parallel()
	id := newIdentity(t, "a")
	for _, name := range names("key", MaxChanges-1) {
		id = rotated(t, id, name)
	}
	if got := len(id.History().Bytes()); got != maxHistory || got > 8<<10 {
		t.Errorf("the longest history has %d bytes, want %d, under 8 KiB", got, maxHistory)
	}
	_, err := id.Rotate(seeded("last"), t0)
	wantErr(t, err, nil, "has 32 changes already")

	b := id.History().Bytes()
	b[0]++
	_, err = ParseHistory(append(b, make([]byte, laterChangeSize)...))
	wantErr(t, err, nil, "at most 6401")
	_, err = ParseHistory(b)
	wantErr(t, err, nil, "33 changes")
}

// TestHistoryForged builds histories that are right but for one thing.
func TestHistoryForged(t *testing.T) {
	k1, k2, k3, thief := testKey("1"), testKey("2"), testKey("3"), testKey("thief")
	public := func(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }
	c1 := testChange{version: 1, kind: 1, key: public(k1), created: 7, byNew: k1}
	c2 := testChange{
		version: 1, kind: 1, key: public(k2), created: 8, byNew: k2, byOld: k1,
		previous: sha256.Sum256(c1.body()),
	}
	c3 := testChange{
		version: 1, kind: 1, key: public(k3), created: 9, byNew: k3, byOld: k2,
		previous: sha256.Sum256(c2.body()),
	}
	if _, err := ParseHistory(encodeChanges(c1, c2, c3)); err != nil {
		t.Fatalf("a true history is refused: %v", err)
	}
	with := func(c testChange, f func(*testChange)) testChange { f(&c); return c }
	for _, test := range []struct {
		name    string
		changes []testChange
		want    string
	}{
		{"no changes", nil, "0 changes"},
		{
			"first not signed",
			[]testChange{with(c1, func(c *testChange) { c.byNew = nil })},
			"change 1: not signed by its own key",
		},
		{
			"first signed by another",
			[]testChange{with(c1, func(c *testChange) { c.byNew = thief })},
			"change 1: not signed by its own key",
		},
		{
			"first has a previous",
			[]testChange{with(c1, func(c *testChange) { c.previous[0] = 1 })},
			"change 1: does not follow",
		},
		{
			"second not signed by the old key",
			[]testChange{c1, with(c2, func(c *testChange) { c.byOld = nil })},
			"change 2: not signed by the key before",
		},
		{
			"second signed by the new key twice",
			[]testChange{c1, with(c2, func(c *testChange) { c.byOld = k2 })},
			"change 2: not signed by the key before",
		},
		{
			"second signed by the old key twice",
			[]testChange{c1, with(c2, func(c *testChange) { c.byNew = k1 })},
			"change 2: not signed by its own key",
		},
		{
			"second not signed by the new key",
			[]testChange{c1, with(c2, func(c *testChange) { c.byNew = nil })},
			"change 2: not signed by its own key",
		},
		{
			"third signed by the first key",
			[]testChange{c1, c2, with(c3, func(c *testChange) { c.byOld = k1 })},
			"change 3: not signed by the key before",
		},
		{
			"thief's key",
			[]testChange{
				c1,
				with(c2, func(c *testChange) {
					c.key, c.byNew, c.byOld = public(thief), thief, thief
				}),
			},
			"change 2: not signed by the key before",
		},
		{
			"previous is wrong",
			[]testChange{c1, with(c2, func(c *testChange) { c.previous[31] ^= 1 })},
			"change 2: does not follow",
		},
		{
			"previous is zero",
			[]testChange{c1, with(c2, func(c *testChange) { c.previous = [32]byte{} })},
			"change 2: does not follow",
		},
		{"one left out", []testChange{c1, c3}, "change 2: does not follow"},
		{"first left out", []testChange{c2, c3}, "change 1: does not follow"},
		{"reordered", []testChange{c1, c3, c2}, "change 2: does not follow"},
		{"twice", []testChange{c1, c2, c2}, "change 3: does not follow"},
		{
			"old key again",
			[]testChange{c1, c2, with(c3, func(c *testChange) { c.key, c.byNew = public(k1), k1 })},
			"used before, in change 1",
		},
		{"version", []testChange{with(c1, func(c *testChange) { c.version = 2 })}, "version is 2"},
		{"kind", []testChange{with(c1, func(c *testChange) { c.kind = 0 })}, "kind is 0"},
		{
			"created",
			[]testChange{with(c1, func(c *testChange) { c.created = maxTime + 1 })},
			"after the year 9999",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseHistory(encodeChanges(test.changes...))
			wantErr(t, err, nil, test.want)
		})
	}
}

// A signature made for another purpose is not good for a change.
func TestContextsAreSeparate(t *testing.T) {
	contexts := []string{contextChange, contextCredential, contextProof}
	key := testKey("1")
	for _, made := range contexts {
		sig := sign(key, made, []byte("message"))
		for _, checked := range contexts {
			got := verify(key.Public().(ed25519.PublicKey), sig, checked, []byte("message"))
			if got != (made == checked) {
				t.Errorf("made for %q, checked as %q: %v", made, checked, got)
			}
		}
	}
}

// forgeable looks for a signature by a key of small order: one of the points, and zero,
// is one with a chance of at least 1 in 8, so a few words after the message do it.
func forgeable(key []byte, message string, points [][]byte) bool {
	for _, suffix := range names(" ", 100) {
		if slices.ContainsFunc(points, func(r []byte) bool {
			return ed25519.Verify(key, []byte(message+suffix),
				append(bytes.Clone(r), make([]byte, 32)...))
		}) {
			return true
		}
	}
	return false
}

// TestWeakKeys shows that crypto/ed25519 takes keys for which anybody can sign, and that
// we do not.
func TestWeakKeys(t *testing.T) {
	var points [][]byte
	for _, s := range smallOrder {
		p, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		negative := bytes.Clone(p)
		negative[31] |= 0x80
		points = append(points, p, negative)
	}
	for _, key := range points {
		for _, message := range names("message ", 8) {
			if !forgeable(key, message, points) {
				t.Errorf("no signature without a key found for %x: it is not of small order", key)
			}
		}
		if err := checkPublicKey(key); err == nil {
			t.Errorf("weak key %x is accepted", key)
		}
	}
	// A whole history of such a key, which nobody needed a secret for.
	neutral := append(ed25519.PublicKey{1}, make([]byte, 31)...)
	weak := encodeChanges(testChange{version: 1, kind: 1, key: neutral, created: 7})
	weak[1+changeBodySize] = 1 // R is the neutral point, S is zero
	if !verify(neutral, weak[1+changeBodySize:], contextChange, weak[1:1+changeBodySize]) {
		t.Fatal("the signature nobody made is wrong, so this tests nothing")
	}
	_, err := ParseHistory(weak)
	wantErr(t, err, errKeyWeak, "change 1")
	// y = p and above is y = 0 and above in another encoding.
	for low := 0xed; low <= 0xff; low++ {
		key := bytes.Repeat([]byte{0xff}, 32)
		key[0], key[31] = byte(low), 0x7f
		if err := checkPublicKey(key); err != errKeyEncoding {
			t.Errorf("key %x: %v, want %v", key, err, errKeyEncoding)
		}
	}
	for _, name := range names("key", 200) {
		if err := checkPublicKey(testKey(name).Public().(ed25519.PublicKey)); err != nil {
			t.Errorf("a good key is refused: %v", err)
		}
	}
}

// A forger's changes meet the true ones where a signature is wrong. It is found after few others,
// whether few are true or nearly all.
func TestForgedHistoryIsFoundSoon(t *testing.T) {
	id := newIdentity(t, "alice")
	for len(id.History().Changes()) < MaxChanges {
		id = rotated(t, id, fmt.Sprint(len(id.History().Changes())))
	}
	raw := id.History().Bytes()
	spoil := func(change int) { // its signature by the key before
		end := 1 + firstChangeSize + (change-1)*laterChangeSize
		raw[end-1] ^= 1
	}
	for _, few := range []int{2, MaxChanges - 1} {
		spoil(MaxChanges / 2)
		spoil(few)
		_, err := ParseHistory(raw)
		wantErr(t, err, nil, fmt.Sprintf("change %d: not signed by the key before it", few))
		spoil(MaxChanges / 2)
		spoil(few)
	}
}
