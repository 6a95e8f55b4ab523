package sets

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

func at(text string) wire.Address {
	ap := netip.MustParseAddrPort(text)
	return wire.Address{Kind: wire.IP4, IP: ap.Addr(), Port: ap.Port()}
}

// sample is a claim of somebody's, and who he is.
func sample(t testing.TB) (*identity.Identity, Claim) {
	t.Helper()
	return testkit.NewIdentity(t), Claim{
		Relay:     testkit.NewIdentity(t).Identifier(),
		Addresses: []wire.Address{at("192.0.2.1:4000"), {Kind: wire.DNS, Name: "r.example", Port: 4000}},
		Instance:  [8]byte{1, 2}, Held: 3 * time.Second, Lifetime: MaxLifetime,
	}
}

func sign(t testing.TB, c Claim, id *identity.Identity, n Nonce, name string) []byte {
	t.Helper()
	b, err := c.Sign(id, n, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestClaim(t *testing.T) {
	id, c := sample(t)
	n := Nonce{7}
	b := sign(t, c, id, n, "db")
	got, err := ParseClaim(b, n, "db")
	if err != nil {
		t.Fatal(err)
	}
	if got.Relay != c.Relay || got.Instance != c.Instance || got.Held != c.Held ||
		got.Lifetime != c.Lifetime || got.Owner.Identifier() != id.Identifier() ||
		len(got.Addresses) != 2 || got.Addresses[1] != c.Addresses[1] {
		t.Errorf("got %+v", got)
	}
	// It is the answer to that question about that name and to no other one.
	for what, err := range map[string]error{
		"another nonce": second(ParseClaim(b, Nonce{8}, "db")),
		"another name":  second(ParseClaim(b, n, "dc")),
	} {
		if !errors.Is(err, identity.ErrForged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range b { // not one bit of it can be changed
		bad := append([]byte(nil), b...)
		bad[i] ^= 1
		if _, err := ParseClaim(bad, n, "db"); err == nil {
			t.Errorf("byte %d does not count", i)
		}
		if _, err := ParseClaim(b[:i], n, "db"); err == nil {
			t.Errorf("%d bytes are enough", i)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A claim of an identity that has changed its key is by the key that it has now.
func TestClaimAfterRotation(t *testing.T) {
	old, c := sample(t)
	id, err := old.Rotate(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseClaim(sign(t, c, id, Nonce{}, "db"), Nonce{}, "db")
	if err != nil || got.Owner.Identifier() != old.Identifier() || got.Owner.Len() != 2 {
		t.Errorf("%v, %v", got.Owner, err)
	}
}

func TestClaimOutOfLimits(t *testing.T) {
	id, good := sample(t)
	for what, change := range map[string]func(*Claim){
		"nobody's relay": func(c *Claim) { c.Relay = identity.Identifier{} },
		"too long":       func(c *Claim) { c.Lifetime = MaxLifetime + time.Millisecond },
		"no address":     func(c *Claim) { c.Addresses = nil },
		"a socket":       func(c *Claim) { c.Addresses = []wire.Address{{Kind: wire.Unix, Name: "/s"}} },
		"a service": func(c *Claim) {
			c.Addresses = []wire.Address{{Kind: wire.Service, Name: "s"}}
		},
		"many":       func(c *Claim) { c.Addresses = make([]wire.Address, MaxAddresses+1) },
		"the future": func(c *Claim) { c.Held = -1 },
	} {
		c := good
		change(&c)
		if _, err := c.Sign(id, Nonce{}, "db"); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := good.Sign(id, Nonce{}, ""); err == nil {
		t.Error("a claim of no name")
	}
}

func TestQuestion(t *testing.T) {
	q := Question{Nonce{3}, []wire.Address{at("192.0.2.1:4000")}}
	b, err := q.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseQuestion(b)
	if err != nil || got.Nonce != q.Nonce || got.Addresses[0] != q.Addresses[0] {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range b {
		if _, err := ParseQuestion(b[:i]); err == nil {
			t.Errorf("%d bytes are enough", i)
		}
	}
	if _, err := ParseQuestion(append(b, 0)); err == nil {
		t.Error("bytes behind the end")
	}
}

func TestMessages(t *testing.T) {
	id, c := sample(t)
	n := Nonce{9}
	if got, err := ParseAsk(AppendAsk(nil, n)); err != nil || got != n {
		t.Error(got, err)
	}
	if a, err := ParseAnswer(AppendNone(nil), n, "db"); err != nil || a.Held {
		t.Error(a, err)
	}
	b := AppendAnswer(nil, time.Hour, sign(t, c, id, n, "db"))
	if a, err := ParseAnswer(b, n, "db"); err != nil || !a.Held || a.First != time.Hour {
		t.Error(a, err)
	}
	told := Told{From: set.NodeID{1}, What: set.Record{
		Name: "db", Who: id.Identifier(), First: time.Hour, Last: time.Minute,
	}}
	if got, err := ParseTold(told.AppendTo(nil), "db"); err != nil || got != told {
		t.Error(got, err)
	}
	asks := Told{From: set.NodeID{2}, Asks: true}
	if got, err := ParseTold(asks.AppendTo(nil), "db"); err != nil || got != asks {
		t.Error(got, err)
	}
	told.What.Last = 2 * time.Hour // after the first claim
	if _, err := ParseTold(told.AppendTo(nil), "db"); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

// A subject does not show the name, and is always the same.
func TestSubject(t *testing.T) {
	const want = "sp.1.h.pkr6c6lh6w3qj5x3v2yfbj4k6e"
	if got := SubjectOf("db").Held(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Nothing that somebody says makes a decoder panic, or passes that has not been signed.
func FuzzMessages(f *testing.F) {
	id, c := sample(f)
	b := sign(f, c, id, Nonce{}, "db")
	q := Question{Nonce{}, c.Addresses}
	question, _ := q.AppendTo(nil)
	told := Told{From: set.NodeID{1}, What: set.Record{Name: "db", Who: id.Identifier()}}
	for _, seed := range [][]byte{
		b, AppendAnswer(nil, 0, b), AppendNone(nil), AppendAsk(nil, Nonce{}), question,
		told.AppendTo(nil),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		_, _ = ParseAsk(said)
		if q, err := ParseQuestion(said); err == nil {
			again, err := q.AppendTo(nil)
			if err != nil || string(again) != string(said) {
				t.Errorf("%x becomes %x, %v", said, again, err)
			}
		}
		if got, err := ParseTold(said, "db"); err == nil && string(got.AppendTo(nil)) != string(said) {
			t.Errorf("%x becomes %x", said, got.AppendTo(nil))
		}
		if a, err := ParseAnswer(said, Nonce{5}, "db"); err == nil && a.Held {
			t.Errorf("%x is signed by nobody and passes", said)
		}
	})
}
