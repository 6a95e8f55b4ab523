package daemon

import (
	"testing"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/confine"
)

// The certificates that the system believes are read by whoever may have to verify one, and by
// nobody else.
func TestRootsAreNeeded(t *testing.T) {
	inlet := func(to string) config.Config {
		return config.Config{Inlets: []config.Inlet{{To: []string{to}}}}
	}
	for what, test := range map[string]struct {
		config config.Config
		want   bool
	}{
		"an inlet, by TCP":     {inlet("192.0.2.1:7000"), false},
		"an inlet, by ws":      {inlet("ws://192.0.2.1:80/sp"), false},
		"an inlet, by QUIC":    {inlet("quic://192.0.2.1:4433"), false},
		"an inlet, by TLS":     {inlet("tls://192.0.2.1:443"), true},
		"an inlet, by wss":     {inlet("wss://192.0.2.1:443/sp"), true},
		"an inlet, by a relay": {inlet("db@192.0.2.1:4000"), true}, // of a set, perhaps
		"an inlet, by NATS":    {inlet("nats://192.0.2.1/sp"), true},
		"an inlet, by Kafka":   {inlet("kafka://192.0.2.1/sp"), true},
		"an outlet at NATS": {config.Config{Outlets: []config.Outlet{{
			Target: "192.0.2.1:80", Entrance: config.Entrance{Listen: "nats://192.0.2.1/sp"},
		}}}, true},
		"an outlet of a service": {config.Config{Outlets: []config.Outlet{{
			Target: "192.0.2.1:80",
		}}}, false},
		"an outlet on a relay": {config.Config{Outlets: []config.Outlet{{
			Target: "192.0.2.1:80", Entrance: config.Entrance{Relays: []string{"192.0.2.1:4000"}},
		}}}, true},
		"a bridge": {config.Config{Bridges: []config.Bridge{{Next: []string{"192.0.2.1:443"}}}}, true},
		"a relay":  {config.Config{Relays: []config.Relay{{}}}, false},
		"ACME": {config.Config{Node: config.Node{
			ACME: config.ACME{Hosts: []string{"relay.example.com"}},
		}}, true},
	} {
		var needs confine.Needs
		addNeeds(&needs, test.config, nil)
		if got := needs.Roots || needs.ConnectAnywhere; got != test.want {
			t.Errorf("%s: %v, want %v: %+v", what, got, test.want, needs)
		}
	}
}
