package admission

import (
	"net/netip"
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	r := newRates(10, 3)
	now := time.Unix(1000, 0)
	a, other := linkSource(1), linkSource(2)
	for i := range 5 {
		if got, want := r.take(a, now), i < 3; got != want {
			t.Errorf("token %d: %v", i, got)
		}
	}
	if !r.take(other, now) {
		t.Error("one source used up another's tokens")
	}
	if now = now.Add(100 * time.Millisecond); !r.take(a, now) || r.take(a, now) {
		t.Error("a tenth of a second at 10 a second is not one token")
	}
	for i := range 3 * sourcesKept {
		r.take(FromIP(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})), now)
	}
	if len(r.by) > sourcesKept+1 {
		t.Errorf("%d sources are kept", len(r.by))
	}
}
