package trust

import (
	"maps"
	"testing"

	"github.com/secureportal/sp/identity"
)

// The seeds of these are kept in testdata/fuzz; go test runs them. They are written with
// those of package identity: go test ./identity -run TestVectors -update.

func FuzzAllowFile(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		ids, err := parseList(s)
		if err != nil {
			return
		}
		// Adding one more keeps all that was there.
		added := identity.Identifier{1, 2, 3}
		want := maps.Clone(ids)
		line := listLine([]byte(s), added.String(), "a comment")
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
	load := func(text string) (*KnownHistories, error) {
		all, err := parseSeen(text)
		k := NewKnownHistories()
		k.takeLocked(all)
		return k, err
	}
	f.Fuzz(func(t *testing.T, s string) {
		known, err := load(s)
		if err != nil {
			return
		}
		text := formatSeen(known.allNamedLocked())
		again, err := load(text)
		if err != nil || again.len() != known.len() {
			t.Errorf("%q is written as %q, which is read as %d entries, %v",
				s, text, again.len(), err)
		}
	})
}
