package sets

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/wire"
)

// heldBy is an answer of somebody whose relay is at a port.
func heldBy(who *identity.Identity, port uint16, first, held time.Duration) Answer {
	a := at("192.0.2.1:1")
	a.Port = port
	return Answer{Held: true, First: first, Claim: Claim{
		Relay: identity.Identifier{byte(port), 1}, Addresses: []wire.Address{a},
		Held: held, Lifetime: MaxLifetime, Owner: who.History(),
	}}
}

func ports(claims []Claim) (all []uint16) {
	for _, c := range claims {
		all = append(all, c.Addresses[0].Port)
	}
	return all
}

func expect(t *testing.T, k *Known, now time.Time, want ...uint16) {
	t.Helper()
	if got := ports(k.Holders(now, "db")); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("holders at %v, want %v", got, want)
	}
}

func TestKnown(t *testing.T) {
	me, other := testkit.NewIdentity(t), testkit.NewIdentity(t)
	k, now := NewKnown(0), time.Unix(1000, 0)
	k.Learn(now, now, "db", heldBy(me, 1, time.Hour, time.Minute))
	k.Learn(now, now, "db", heldBy(me, 2, time.Hour, time.Second))
	expect(t, k, now, 2, 1) // the later claim first
	if k.Learn(now, now, "db", heldBy(other, 3, time.Minute, 0)) {
		t.Error("who came later has the name")
	}
	expect(t, k, now, 2, 1)
	k.Failed(now, "db", k.Holders(now, "db")[0].Addresses[0], false)
	expect(t, k, now, 1, 2)
	expect(t, k, now.Add(shunFor), 2, 1)
	k.Failed(now, "db", k.Holders(now.Add(shunFor), "db")[0].Addresses[0], true)
	expect(t, k, now, 1)
	expect(t, k, now.Add(MaxLifetime-1), 1)
	expect(t, k, now.Add(MaxLifetime)) // nothing counts for longer
	k.Nobody(now, "db")
	expect(t, k, now)
	if !k.IsNobody(now, "db") || k.IsNobody(now.Add(nobodyFor), "db") || !k.Ought(now, "db") {
		t.Error("it is not known that nobody has it, or for too long")
	}
	if !k.Learn(now, now, "db", heldBy(other, 3, time.Minute, 0)) {
		t.Error("nobody has the name, and yet it is not somebody's")
	}
	// What was asked for long ago is over, whatever it says of itself.
	if k.Learn(now, now.Add(-MaxLifetime), "dc", heldBy(me, 1, 0, 0)) {
		t.Error("an answer that is over counts")
	}
}

// Whatever answers come, in whatever order, and however often: there is one owner, he is the one
// who has claimed the name first, and there is no more than there may be.
func TestKnownInAnyOrder(t *testing.T) {
	var all []*identity.Identity
	for range 3 {
		all = append(all, testkit.NewIdentity(t))
	}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		k, now := NewKnown(3), time.Unix(1000, 0)
		first := r.Perm(3) // who has claimed it when
		oldest := -1
		for range 30 {
			i := r.IntN(3)
			a := heldBy(all[i], uint16(1+r.IntN(9)), time.Duration(1+first[i])*time.Hour, 0)
			k.Learn(now, now, "db", a)
			k.Learn(now, now, fmt.Sprint("x", r.IntN(9)), a)
			// What happens to "db" is looked at while it is known.
			if oldest < 0 || first[i] > first[oldest] || len(k.Holders(now, "db")) == 0 {
				oldest = i
			}
			k.Learn(now, now, "db", a)
			if k.find("db").owner != all[oldest].Identifier() {
				t.Fatalf("seed %d: another owner than the first", seed)
			}
			if n := len(k.Holders(now, "db")); n == 0 || n > MaxHolders || k.Len() > 3 {
				t.Fatalf("seed %d: %d holders, %d names", seed, n, k.Len())
			}
		}
	}
}
