package relay

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A standby link that was under way when its lease ended is refused as any other, but is no
// trouble; what proves nothing is, and so is what comes long after.
func TestStandbyLinkOfEndedLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, err := newStandbyKey()
		if err != nil {
			t.Fatal(err)
		}
		other, err := newStandbyKey()
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{leases: make(map[keyID]*Lease)}
		l := &Lease{key: key}
		s.addKey(l)
		good, stranger := key.appendProof(nil, 1), other.appendProof(nil, 1)
		forged := append([]byte(nil), good...)
		forged[len(forged)-1] ^= 1
		expect := func(when string, payload []byte, want error) {
			t.Helper()
			if _, _, err := s.verify(payload); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", when, err, want)
			}
		}
		expect("while the lease lives", good, nil)
		expect("forged, while the lease lives", forged, errNoLease)
		s.removeKey(l)
		expect("when it has ended", good, errLeaseOver)
		expect("forged", forged, errNoLease)
		expect("of nobody", stranger, errNoLease)
		time.Sleep(standbyUnderWay + time.Second)
		expect("long after", good, errNoLease)
		if len(s.ended.keys) > 0 {
			t.Error("keys are remembered for ever")
		}
	})
}
