package identity_test

import (
	"bytes"
	"testing"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
)

// Its seeds are with those of the other targets. It stands in a package of its own to ask
// what is built on this one, too.

func FuzzParseHistory(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := identity.ParseHistory(b)
		if err != nil {
			return
		}
		if !bytes.Equal(h.Bytes(), b) || h.Len() < 1 || h.Len() > identity.MaxChanges {
			t.Errorf("%x is read as %x", b, h.Bytes())
		}
		if trust.NewKnownHistories().Observe(h) != nil {
			t.Error("a first history is refused")
		}
	})
}
