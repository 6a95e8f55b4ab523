package transport

import (
	"net"
	"slices"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/wire"
)

func TestLookUp(t *testing.T) {
	names := testkit.NewNames(t)
	names.Set("relays.test", "192.0.2.1", "192.0.2.2")
	names.Set("a.test", "192.0.2.3")
	names.SetService("_sp._tcp.srv.test",
		net.SRV{Port: 4001, Target: "a.test"}, net.SRV{Port: 4002, Target: "relays.test"},
		net.SRV{Port: 4003, Target: "gone.test"})
	names.SetService("_sp._tcp.lost.test", net.SRV{Port: 4001, Target: "gone.test"})
	for text, want := range map[string][]string{
		"192.0.2.9:4000":   {"192.0.2.9:4000"},
		"relays.test:4000": {"192.0.2.1:4000", "192.0.2.2:4000"},
		"srv.test:0":       {"192.0.2.1:4002", "192.0.2.2:4002", "192.0.2.3:4001"},
		"lost.test:0":      nil,
		"gone.test:4000":   nil,
		"gone.test:0":      nil,
	} {
		host, port, err := net.SplitHostPort(text)
		if err != nil {
			t.Fatal(err)
		}
		a := Address{Kind: wire.DNS, Name: host}
		if port != "0" {
			if a, err = Parse(text); err != nil {
				t.Fatal(err)
			}
		}
		found, err := LookUp(t.Context(), a)
		var got []string
		for _, a := range found {
			got = append(got, Format(a))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
