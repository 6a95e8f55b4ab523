package config

import (
	"path/filepath"
	"testing"
)

// TestTrustsFriends has friends count where the default does, for the user's own key and for the
// relays of that user, and nowhere else.
func TestTrustsFriends(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("SP_IDENTITY", "")
	outlet, relay := Config{Outlets: make([]Outlet, 1)}, Config{Relays: make([]Relay, 1)}
	for what, with := range map[string]func(*Config){
		"an identity":                 func(c *Config) { c.Node.Identity = "key" },
		"a ticket":                    func(c *Config) { c.Node.Ticket = "ticket" },
		"a list":                      func(c *Config) { c.Node.Trust.AllowFiles = []string{"list"} },
		"an identity that is allowed": func(c *Config) { c.Node.Trust.Allow = []string{"I"} },
		"anyone":                      func(c *Config) { c.Node.Trust.AllowAnyone = true },
		"an authority":                func(c *Config) { c.Node.Trust.Authorities = []string{"I"} },
		"no friends":                  func(c *Config) { c.Node.Trust.NoFriends = true },
	} {
		for _, c := range []Config{outlet, relay, {}} {
			if !c.TrustsFriends() {
				t.Errorf("%+v: none", c)
			}
			if with(&c); c.TrustsFriends() {
				t.Errorf("%s: friends count", what)
			}
		}
	}
	t.Setenv("SP_IDENTITY", filepath.Join(home, "other"))
	if outlet.TrustsFriends() || !relay.TrustsFriends() {
		t.Error("another key, and those of its user's friends go together")
	}
}
