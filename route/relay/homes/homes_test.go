package homes

import (
	"slices"
	"testing"
	"time"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/route/transport"
)

func parsed(t *testing.T, text string) route.Address {
	t.Helper()
	a, err := transport.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// What a relay says of addresses is believed only where it can be meant.
func TestIsMeant(t *testing.T) {
	for _, test := range []struct {
		address, entrance string
		want              bool
	}{
		{"192.0.2.1:4000", "relays.example.com:4000", true},
		{"10.0.0.1:4000", "relays.example.com:4000", true},
		{"[2001:db8::1]:4000", "192.0.2.1:4000", true},
		{"b.example.com:4000", "192.0.2.1:4000", true},
		{"127.0.0.1:4000", "relays.example.com:4000", false},
		{"localhost:22", "relays.example.com:4000", false},
		{"a.localhost.:22", "relays.example.com:4000", false},
		{"[::1]:4000", "192.0.2.1:4000", false},
		{"127.0.0.1:4001", "127.0.0.1:4000", true},
		{"127.0.0.1:4001", "localhost:4000", true},
		{"169.254.169.254:80", "192.0.2.1:4000", false},
		{"169.254.169.254:80", "127.0.0.1:4000", false},
		{"[fe80::1]:4000", "192.0.2.1:4000", false},
		{"0.0.0.0:4000", "127.0.0.1:4000", false},
		{"[ff02::1]:4000", "192.0.2.1:4000", false},
	} {
		got := isMeant(parsed(t, test.address), parsed(t, test.entrance))
		if got != test.want {
			t.Errorf("%s, said by %s: %v", test.address, test.entrance, got)
		}
	}
}

// Another relay of a set stands where the one that was named did, and the rest of the route stays.
func TestRelayed(t *testing.T) {
	node := set.Node{Addresses: []route.Address{
		parsed(t, "127.0.0.1:1"), parsed(t, "192.0.2.7:4007"),
	}}
	for text, want := range map[string]string{
		"db@192.0.2.1:4000":                 "db@192.0.2.7:4007",
		"192.0.2.9:4000/192.0.2.1:4000/db@": "192.0.2.9:4000/192.0.2.7:4007/db@",
		"/ip4/192.0.2.1/tcp/4/service/forward_to_x/secure/api/service/echo": "" +
			"/ip4/192.0.2.7/tcp/4007/service/forward_to_x/secure/api/service/echo",
		"192.0.2.1:4000": "",
	} {
		r, err := route.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		by, ok := relayed(r)
		if ok != (want != "") || ok != IsRelayed(r) {
			t.Errorf("%s: %v", text, ok)
		}
		if !ok {
			continue
		}
		wanted, err := route.Parse(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := by.at(node); !ok || !slices.Equal(got, wanted) {
			t.Errorf("%s: %s", text, route.Format(got))
		}
		if last := by.relay(r); len(last) == 0 || len(last) >= len(r) {
			t.Errorf("%s: the relay is %v", text, last)
		}
	}
}

// A relay that could not say who is in its set is asked again in its time, and not when anything
// else happens.
func TestAskedAgain(t *testing.T) {
	now := time.Now()
	three := &claim{up: true} // has nothing new
	o := &Outlet{claims: map[*claim]struct{}{
		{up: true, told: now.Add(askFailed)}: {},
		{told: now}:                          {}, // has not got the name
		three:                                {},
	}}
	if got := o.askedNextLocked(now); got != askFailed {
		t.Errorf("in %v", got)
	}
	three.told = now.Add(-askFailed)
	if got := o.askedNextLocked(now); got != 0 {
		t.Errorf("in %v", got)
	}
	o.claims = nil
	if got := o.askedNextLocked(now); got != askAgain {
		t.Errorf("in %v", got)
	}
}
