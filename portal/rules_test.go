package portal

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route/transport"
)

// TestTowards has rows of rules, of what is asked for, and of addresses that it may stand for.
func TestTowards(t *testing.T) {
	for _, test := range []struct {
		rules, ask string
		yes, no    string // of the addresses
		denied     bool   // before any is known
		named      bool
	}{
		{rules: "10.0.0.0/8:443", ask: "10.1.2.3:443", yes: "10.1.2.3"},
		{rules: "10.0.0.0/8:443", ask: "10.1.2.3:80", denied: true},
		{rules: "10.0.0.0/8:443", ask: "11.0.0.1:443", denied: true},
		{rules: "10.0.0.0/8:443", ask: "db:443", yes: "10.1.2.3", no: "11.0.0.1 127.0.0.1 ::1"},
		{rules: "10.0.0.0/8:443", ask: "db:80", denied: true},
		{
			rules: "db:443", ask: "db:443", yes: "10.1.2.3 8.8.8.8", no: "127.0.0.1 169.254.169.254",
			named: true,
		},
		{rules: "DB:443", ask: "db:443", yes: "10.1.2.3", named: true},
		{rules: "db:443", ask: "other:443", denied: true},
		{rules: "db:443", ask: "10.1.2.3:443", denied: true},
		{rules: "db:443 127.0.0.1:443", ask: "db:443", yes: "127.0.0.1", no: "127.0.0.2", named: true},
		{rules: "db:443 127.0.0.1:80", ask: "db:443", no: "127.0.0.1", named: true},
		{
			rules: "localhost:80", ask: "localhost:80", yes: "127.0.0.1 ::1", no: "169.254.169.254",
			named: true,
		},
		{rules: "0.0.0.0/0:1-9", ask: "169.254.169.254:1", denied: true},
		{rules: "0.0.0.0/0:1-9", ask: "127.0.0.1:1", denied: true},
		{
			rules: "0.0.0.0/0:1-9", ask: "rebound:1", yes: "8.8.8.8",
			no: "127.0.0.1 169.254.169.254 100.100.100.200 ::1 ::ffff:127.0.0.1",
		},
		{rules: "169.254.169.254:80", ask: "169.254.169.254:80", yes: "169.254.169.254"},
		{rules: "::/0:1", ask: "[fe80::1]:1", denied: true},
		{rules: "::/0:1", ask: "[64:ff9b::7f00:1]:1", denied: true},
	} {
		var rules Rules
		for _, text := range strings.Fields(test.rules) {
			rules = append(rules, Rule{Where: pattern(t, text)})
		}
		a, err := transport.Parse(test.ask)
		if err != nil {
			t.Fatal(err)
		}
		check, named, err := rules.towards(a, peer{})
		if (err != nil) != test.denied || err == nil && named != test.named {
			t.Errorf("%s by %s: named %v, %v", test.ask, test.rules, named, err)
		}
		for want, addresses := range map[bool]string{true: test.yes, false: test.no} {
			for _, address := range strings.Fields(addresses) {
				at := netip.AddrPortFrom(netip.MustParseAddr(address), a.Port)
				if err := check(at); (err == nil) != want {
					t.Errorf("%s by %s, at %s: %v", test.ask, test.rules, address, err)
				}
			}
		}
	}
}

// TestWho has rules count for those whom they name.
func TestWho(t *testing.T) {
	one, other := identity.Identifier{1}, identity.Identifier{2}
	dba := peer{identifier: one, attributes: map[string]string{"role": "dba", "team": "x"}}
	plain := peer{identifier: other}
	for _, test := range []struct {
		who        Who
		dba, plain bool
	}{
		{Who{}, true, true},
		{Who{Identifier: one}, true, false},
		{Who{Identifier: other}, false, true},
		{Who{Attributes: map[string]string{"role": "dba"}}, true, false},
		{Who{Attributes: map[string]string{"role": "dba", "team": "y"}}, false, false},
		{Who{Attributes: map[string]string{"role": ""}}, false, false}, // none is not an empty one
		{Who{Identifier: other, Attributes: map[string]string{"role": "dba"}}, false, false},
	} {
		rules := Rules{{Service: "db", Who: test.who}}
		if rules.allowService("db", dba) != test.dba || rules.allowService("db", plain) != test.plain {
			t.Errorf("%+v: %v, %v", test.who, rules.allowService("db", dba),
				rules.allowService("db", plain))
		}
		if rules.allowService("web", dba) || rules.depend() == test.who.IsAnybody() {
			t.Errorf("%+v: too much, or it depends on nobody", test.who)
		}
	}
	if !(Rules{}).allowService("db", plain) {
		t.Error("without a rule nobody reaches a service")
	}
	where := Rules{{Where: pattern(t, "10.0.0.0/8:1"), Who: Who{Identifier: one}}}
	a, _ := transport.Parse("10.0.0.1:1")
	if _, _, err := where.towards(a, dba); err != nil {
		t.Errorf("who is named: %v", err)
	}
	if _, _, err := where.towards(a, plain); !errors.Is(err, errNotAllowed) {
		t.Errorf("who is not: %v", err)
	}
}
