package config

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/route/transport"
)

// anybody is an Identifier in the right form.
var anybody = "I" + strings.Repeat("0a", 32)

// another is an Identifier, too.
var another = "I" + strings.Repeat("0b", 32)

// targets gives the outlet services that have names.
func targets(all ...string) func(*Config) {
	return func(c *Config) {
		c.Outlets[0].Target, c.Outlets[0].Targets = "", all
	}
}

// socks makes the outlet one of SOCKS.
func socks(allowed ...string) func(*Config) {
	return func(c *Config) {
		o := &c.Outlets[0]
		o.Target, o.Socks5, o.AllowTargets = "", true, allowed
	}
}

// sni gives the outlet services by the names of servers, and one for the rest.
func sni(rest string, all ...string) func(*Config) {
	return func(c *Config) {
		c.Outlets[0].Target, c.Outlets[0].ServerNames = rest, all
	}
}

// with returns a configuration in which all is well, but for what change does to it.
func with(change func(*Config)) Config {
	c := Config{
		Inlets:  []Inlet{{Listen: "127.0.0.1:0", To: []string{"db@relay.example.com:4000"}}},
		Outlets: []Outlet{{Entrance: Entrance{Listen: ":7000"}, Target: ":22"}},
		Relays:  []Relay{{Entrance: Entrance{Listen: ":4000"}}},
		Bridges: []Bridge{{Entrance: Entrance{Listen: ":5000"}, Next: []string{"10.0.0.0/8:4000"}}},
	}
	change(&c)
	return c
}

// TestValidate has one field wrong in each row, and wants to hear of that one.
func TestValidate(t *testing.T) {
	for name, row := range map[string]struct {
		field string // empty: nothing is wrong
		text  string // in the error
		set   func(*Config)
	}{
		"nothing": {"", "", func(*Config) {}},
		"empty":   {"", "", func(c *Config) { *c = Config{} }},

		"allow": {
			"allow", `"me"`, func(c *Config) { c.Node.Trust.Allow = []string{anybody, "me"} },
		},
		"deny": {"deny", `"I1"`, func(c *Config) { c.Node.Trust.Deny = []string{"I1"} }},
		"authority": {
			"authority", `""`, func(c *Config) { c.Node.Trust.Authorities = []string{""} },
		},
		"require": {
			"require", "KEY=VALUE", func(c *Config) { c.Node.Trust.Require = []string{"db"} },
		},
		"alone": {
			"require", "authority", func(c *Config) { c.Node.Trust.Require = []string{"a=b"} },
		},
		"both ways": {
			"require", "twice", func(c *Config) { c.Node.Trust.Require = []string{"a=b", "a=c"} },
		},
		"suite": {
			"suite", "Noise_NN", func(c *Config) { c.Node.Suites = []string{"Noise_NN"} },
		},
		"ticket": {"ticket", "", func(c *Config) { c.Node.Ticket = "sp-ticket-1:AAAA" }},
		"connect": {
			"connect-timeout", "-1s", func(c *Config) { c.Node.ConnectTimeout = -time.Second },
		},
		"keepalive":     {"keepalive", "-1s", func(c *Config) { c.Node.Keepalive = -time.Second }},
		"drain":         {"drain", "-1s", func(c *Config) { c.Node.Drain = -time.Second }},
		"survive":       {"survive", "too short", func(c *Config) { c.Node.Survive = time.Microsecond }},
		"least survive": {"", "", func(c *Config) { c.Node.Survive = time.Millisecond }},
		"no survive":    {"", "", func(c *Config) { c.Node.Survive = NoSurvive }},
		"no drain":      {"", "", func(c *Config) { c.Node.Drain = NoDrain }},
		"limit": {
			"max-connections", "-1", func(c *Config) { c.Node.Limits.Connections = -1 },
		},
		"identity's": {
			"max-per-identity", "-1", func(c *Config) { c.Node.Limits.PerIdentity = -1 },
		},
		"source's": {"max-per-source", "-1", func(c *Config) { c.Node.Limits.PerSource = -1 }},
		"sessions": {"max-sessions", "-1", func(c *Config) { c.Node.Limits.Sessions = -1 }},
		"strangers": {
			"max-unauthenticated", "-1", func(c *Config) { c.Node.Limits.Unauthenticated = -1 },
		},
		"memory":        {"memory", "64X", func(c *Config) { c.Node.Limits.Memory = "64X" }},
		"little memory": {"memory", "16M", func(c *Config) { c.Node.Limits.Memory = "1M" }},
		"enough memory": {"", "", func(c *Config) { c.Node.Limits.Memory = "64M" }},
		"rate":          {"handshake-rate", "-1", func(c *Config) { c.Node.Limits.HandshakeRate = -1 }},

		"inlet listens nowhere": {
			"listen", "missing", func(c *Config) { c.Inlets[0].Listen = "" },
		},
		"inlet without a port": {
			"listen", "host:port", func(c *Config) { c.Inlets[0].Listen = "host" },
		},
		"inlet for datagrams": {"", "", func(c *Config) { c.Inlets[0].Listen = "udp://:0" }},
		"datagrams without a port": {
			"listen", "udp://HOST:PORT", func(c *Config) { c.Inlets[0].Listen = "udp://here" },
		},
		"datagrams when ready": {"listen-when-ready", "datagram", func(c *Config) {
			c.Inlets[0].Listen, c.Inlets[0].ListenWhenReady = "udp://:0", true
		}},
		"no time for datagrams": {
			"udp-idle", "-1s", func(c *Config) { c.Inlets[0].UDPIdle = -time.Second },
		},
		"datagrams over connections": {"to", "udp://", func(c *Config) {
			c.Inlets[0].To = []string{"udp://db@relay.example.com:4000"}
		}},
		"datagrams to a long name": {"to", "70 bytes", func(c *Config) {
			c.Inlets[0].Listen = "udp://:0"
			c.Inlets[0].To = []string{
				"/ip4/1.2.3.4/tcp/1/secure/api/service/" + strings.Repeat("a", 71),
			}
		}},
		"outlet of datagrams": {"", "", func(c *Config) { c.Outlets[0].Target = "udp://:53" }},
		"outlet of both": {"", "", func(c *Config) {
			c.Outlets = append(c.Outlets, Outlet{Target: "udp://:53"})
		}},
		"outlet that listens for datagrams": {
			"listen", "udp://", func(c *Config) { c.Outlets[0].Listen = "udp://:53" },
		},
		"relay for datagrams": {
			"listen", "udp://", func(c *Config) { c.Relays[0].Listen = "udp://:53" },
		},
		"datagrams to many": {
			"target", "many", func(c *Config) { c.Outlets[0].Target = "udp://224.0.0.1:53" },
		},
		"datagrams among several": {"target", "only one", func(c *Config) {
			c.Outlets[0].Target, c.Outlets[0].Targets = "", []string{"db=:5432,dns=udp://:53"}
		}},
		"datagrams twice": {"target", "only one", func(c *Config) {
			c.Outlets[0].Target, c.Outlets[0].Targets = "", []string{"udp://:53", "udp://:54"}
		}},
		"datagrams by server name": {"sni", "only one", func(c *Config) {
			c.Outlets[0].ServerNames = []string{"dns=udp://:53"}
		}},
		"datagrams beside server names": {"sni", "datagrams", func(c *Config) {
			c.Outlets[0].Target, c.Outlets[0].ServerNames = "udp://:53", []string{"web=:443"}
		}},
		"datagrams and SOCKS": {"socks5", "target", func(c *Config) {
			c.Outlets[0].Target, c.Outlets[0].Socks5 = "udp://:53", true
		}},
		"datagrams of SOCKS": {"socks5", "udp://", func(c *Config) {
			c.Inlets[0].Listen, c.Inlets[0].Socks5 = "udp://:0", true
		}},
		"header of datagrams": {"proxy-protocol", "datagrams", func(c *Config) {
			c.Outlets[0].Target, c.Outlets[0].ProxyProtocol = "udp://:53", "v2"
		}},
		"check of datagrams": {"check", "nothing tells", func(c *Config) {
			c.Outlets[0].Target, c.Outlets[0].Check = "udp://:53", "udp"
		}},
		"tcp check of datagrams": {"check", "nothing tells", func(c *Config) {
			c.Outlets[0].Target, c.Outlets[0].Check = "udp://:53", "tcp"
		}},
		"page beside datagrams": {"check", "host", func(c *Config) {
			c.Outlets[0].Target, c.Outlets[0].Check = "udp://:53", "http:///health"
		}},
		"page of a host": {"", "", func(c *Config) {
			c.Outlets[0].Target, c.Outlets[0].Check = "udp://:53", "http://127.0.0.1:80/health"
		}},
		"service of datagrams": {
			"service", "of that name", func(c *Config) { c.Outlets[0].Service = "datagrams_x" },
		},

		"inlet at stdin": {"", "", func(c *Config) { c.Inlets[0].Listen = Stdio }},
		"no route":       {"to", "missing", func(c *Config) { c.Inlets[0].To = nil }},
		"bad route": {
			"to", "not a route", func(c *Config) { c.Inlets[0].To = []string{"x"} },
		},
		"open route": {
			"to", "no /secure/api",
			func(c *Config) { c.Inlets[0].To = []string{"/ip4/1.2.3.4/tcp/1"} },
		},

		"set of strangers": {
			"set", "relay-identity", func(c *Config) { c.Relays[0].Set = []string{"a:1"} },
		},
		"set":             {"", "", inSet(func(r *Relay) { r.Weight = set.MaxWeight })},
		"set by SRV":      {"", "", inSet(func(r *Relay) { r.Set = []string{"relays.example.com"} })},
		"set at a socket": {"set", "HOST:PORT", inSet(func(r *Relay) { r.Set = []string{"unix:x"} })},
		"set at a bad address": {
			"set", "65535", inSet(func(r *Relay) { r.Set = []string{"a:1", "a:99999"} }),
		},
		"set at an address without a port": {
			"set", "port", inSet(func(r *Relay) { r.Set = []string{"192.0.2.1"} }),
		},
		"weight":       {"weight", "16", inSet(func(r *Relay) { r.Weight = set.MaxWeight + 1 })},
		"weight alone": {"weight", "set", func(c *Config) { c.Relays[0].Weight = 2 }},
		"advertise":    {"advertise", "a port", inSet(func(r *Relay) { r.Advertise = []string{"a"} })},
		"advertise alone": {
			"advertise", "set", func(c *Config) { c.Relays[0].Advertise = []string{"a:1"} },
		},

		"outlet without a way": {
			"listen", "neither", func(c *Config) { c.Outlets[0].Listen = "" },
		},
		"outlet at stdin": {
			"listen", "host:port", func(c *Config) { c.Outlets[0].Listen = Stdio },
		},
		"no target": {
			"target", "missing", func(c *Config) { c.Outlets[0].Target = "" },
		},
		"bad target": {
			"target", "65535", func(c *Config) { c.Outlets[0].Target = "a:99999" },
		},
		"targets": {"", "", targets("a=:1,b=unix:x", "c=tls://h:1")},
		"target without a name": {
			"target", "NAME=TARGET", targets("a=:1", ":2"),
		},
		"target twice":     {"target", "twice", targets("a=:1", "a=:2")},
		"target of stdin":  {"target", "stdin", targets("a=-")},
		"targets' bad one": {"target", "65535", targets("a=:99999")},
		"targets' long name": {
			"name", "69", func(c *Config) {
				targets(strings.Repeat("a", 60) + "=:1")(c)
				c.Outlets[0].Name = "0123456789"
			},
		},
		"targets on a relay": {"", "", func(c *Config) {
			targets("a=:1")(c)
			c.Outlets[0].Relays = []string{"r:1"}
		}},
		"allowed targets": {"", "", func(c *Config) {
			targets("a=:1,b=:2")(c)
			c.Outlets[0].AllowTargets = []string{"a if role=dba and team=x y", "a if " + anybody, "b"}
		}},
		"allowed nobody": {"allow-target", "target b", func(c *Config) {
			targets("a=:1,b=:2")(c)
			c.Outlets[0].AllowTargets = []string{"a"}
		}},
		"allowed what is not": {"allow-target", `"c"`, func(c *Config) {
			targets("a=:1")(c)
			c.Outlets[0].AllowTargets = []string{"a", "c if x=y"}
		}},
		"allowed one": {"allow-target", "there is one", func(c *Config) {
			c.Outlets[0].AllowTargets = []string{"x"}
		}},

		"socks":        {"", "", socks("db:1", "10.0.0.0/8:1-9 if role=dba")},
		"socks closed": {"allow-target", "without", socks()},
		"socks badly":  {"allow-target", "a port is missing", socks("db")},
		"socks by URL": {"allow-target", "HOST:PORTS", socks("wss://db/x")},
		"socks if me":  {"allow-target", "neither an Identifier", socks("db:1 if me")},
		"socks if both": {
			"allow-target", "two Identifiers", socks("db:1 if " + anybody + " and " + another),
		},
		"socks if twice": {
			"allow-target", "twice", socks("db:1 if a=b and a=c"),
		},
		"socks if or": {
			"allow-target", "a line for each", socks("db:1 if a=b or a=c"),
		},
		"socks if OR":         {"allow-target", "a line for each", socks("db:1 if a=b OR " + anybody)},
		"socks if comma":      {"allow-target", "a line for each", socks("db:1 if a=b, c=d")},
		"socks if and at end": {"allow-target", "a line for each", socks("db:1 if a=b and")},
		"socks if words":      {"", "", socks("db:1 if a=b or c, d", "db:1 if dn=cn=a,ou=b")},
		"socks and a target": {"socks5", "neither", func(c *Config) {
			socks("db:1")(c)
			c.Outlets[0].Target = ":1"
		}},
		"socks and a check": {"check", "no service", func(c *Config) {
			socks("db:1")(c)
			c.Outlets[0].Check = "tcp"
		}},
		"socks and a header": {"proxy-protocol", "socks5", func(c *Config) {
			socks("db:1")(c)
			c.Outlets[0].ProxyProtocol = "v2"
		}},

		"sni":          {"", "", sni("", "A.example=:1", "b.example=unix:x")},
		"sni and more": {"", "", sni(":2", "a.example=:1")},
		"sni in TLS":   {"sni", "TLS into TLS", sni("", "a.example=tls://h:1")},
		"sni twice":    {"sni", "twice", sni("", "a.example=:1", "A.EXAMPLE=:1")},
		"sni of stdin": {"sni", "stdin", sni(Stdio, "a.example=:1")},
		"sni allowed": {"", "", func(c *Config) {
			sni(":2", "a.example=:1")(c)
			c.Outlets[0].AllowTargets = []string{"A.example if a=b", "*"}
		}},

		"proxy": {
			"proxy-protocol", "v2", func(c *Config) { c.Outlets[0].ProxyProtocol = "v1" },
		},
		"check": {
			"check", "neither tcp nor", func(c *Config) { c.Outlets[0].Check = "ping" },
		},
		"check of a page": {"", "", func(c *Config) { c.Outlets[0].Check = "http:///health" }},
		"check interval": {
			"check-interval", "-1s", func(c *Config) { c.Outlets[0].CheckInterval = -time.Second },
		},
		"shared where it listens": {"relay", "share", func(c *Config) {
			c.Outlets[0].Relays, c.Outlets[0].Name = nil, ""
			c.Outlets[0].Share = true
		}},
		"shared by one of two": {"name", "another portal", func(c *Config) {
			c.Outlets[0].Relays, c.Outlets[0].Name = []string{"a:1"}, "x"
			c.Outlets = append(c.Outlets, c.Outlets[0])
			c.Outlets[1].Service, c.Outlets[1].Share, c.Outlets[1].Listen = "other", true, ""
		}},
		"shared service of a relay": {"service", "nodes have", func(c *Config) {
			c.Outlets[0].Service = "instance_0123456789abcdef"
		}},
		"service": {
			"service", "letters", func(c *Config) { c.Outlets[0].Service = "d b" },
		},
		"service of a relay": {
			"service", "nodes have", func(c *Config) { c.Outlets[0].Service = "forward_to_db" },
		},
		"nameless": {
			"name", "relay stands", func(c *Config) { c.Outlets[0].Relays = []string{"a:1"} },
		},
		"named where it listens": {"", "", func(c *Config) { c.Outlets[0].Name = "db" }},
		"relayless": {"relay", "name stands", func(c *Config) {
			c.Outlets[0].Name, c.Outlets[0].Listen = "db", ""
		}},
		"relayless relay":  {"relay", "name stands", func(c *Config) { c.Relays[0].Name = "db" }},
		"relayless bridge": {"relay", "name stands", func(c *Config) { c.Bridges[0].Name = "db" }},
		"bad name where it listens": {
			"name", `"d b"`, func(c *Config) { c.Outlets[0].Name = "d b" },
		},
		"bad name": {"name", `"d b"`, func(c *Config) {
			c.Outlets[0].Relays, c.Outlets[0].Name = []string{"a:1"}, "d b"
		}},
		"bad relay": {"relay", `"nowhere"`, func(c *Config) {
			c.Outlets[0].Relays, c.Outlets[0].Name = []string{"nowhere"}, "db"
		}},
		"relay's identity": {
			"relay-identity", `"me"`,
			func(c *Config) { c.Relays[0].RelayIdentities = []string{"me"} },
		},

		"relay listens nowhere": {
			"listen", "missing", func(c *Config) { c.Relays[0].Listen = "" },
		},
		"names": {"max-names", "-1", func(c *Config) { c.Relays[0].Names = -1 }},
		"names of one": {
			"max-names-per-identity", "-1", func(c *Config) { c.Relays[0].NamesPerIdentity = -1 },
		},
		"bridge listens nowhere": {
			"listen", "missing", func(c *Config) { c.Bridges[0].Listen = "" },
		},
		"bridge to nowhere": {
			"next", "missing", func(c *Config) { c.Bridges[0].Next = nil },
		},
		"bridge without a port": {
			"next", "port", func(c *Config) { c.Bridges[0].Next = []string{"a"} },
		},

		"one service twice": {"service", "two outlets", func(c *Config) {
			c.Outlets = append(c.Outlets, Outlet{Service: "outlet", Target: ":23"})
		}},
		"two services by one way": {"", "", func(c *Config) {
			c.Outlets = append(c.Outlets, Outlet{Service: "web", Target: ":80"})
		}},
		"one address twice": {
			"listen", "another portal", func(c *Config) { c.Relays[0].Listen = ":7000" },
		},
		"outlets at one address": {"", "", func(c *Config) {
			c.Outlets = append(c.Outlets,
				Outlet{Entrance: Entrance{Listen: ":7000"}, Service: "web", Target: ":80"})
		}},
		"one name twice": {"name", "another portal", func(c *Config) {
			c.Outlets[0].Relays, c.Outlets[0].Name = []string{"a:1"}, "db"
			c.Relays[0].Relays, c.Relays[0].Name = []string{"a:1"}, "db"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			checkField(t, with(row.set).Validate(), row.field, row.text)
		})
	}
}

// checkField makes sure that err is about a field and says text, or is nil if field is empty.
func checkField(t *testing.T, err error, field, text string) {
	t.Helper()
	if field == "" {
		if err != nil {
			t.Errorf("got %v, want no error", err)
		}
		return
	}
	var f *FieldError
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want an error about %s", err, field)
	}
	if f.Field != field || !strings.Contains(f.Error(), text) {
		t.Errorf("got %s: %v, want %s: %s", f.Field, f, field, text)
	}
	if strings.ContainsAny(f.Error(), "{}%") {
		t.Errorf("the text is not finished: %s", f.Error())
	}
}

// TestFieldErrorSpelling has flags called as flags, and leaves alone what a user wrote.
func TestFieldErrorSpelling(t *testing.T) {
	flag := func(field string) string { return "--" + field }
	for want, c := range map[string]Config{
		"--relay stands without --name": with(func(c *Config) {
			c.Outlets[0].Relays = []string{"a:1"}
		}),
		`--target: "{name}%d" is not host:port or unix:PATH`: with(func(c *Config) {
			c.Outlets[0].Target = "{name}%d"
		}),
	} {
		var f *FieldError
		if !errors.As(c.Validate(), &f) || f.Describe(flag) != want {
			t.Errorf("got %v, want %s", f, want)
		}
		if f != nil && f.Portal != "outlet outlet" {
			t.Errorf("it is in %q", f.Portal)
		}
	}
}

// TestFieldErrorKeepsItsCause has callers tell errors apart as before.
func TestFieldErrorKeepsItsCause(t *testing.T) {
	err := with(func(c *Config) { c.Inlets[0].To = []string{"x"} }).Validate()
	if !errors.Is(err, route.ErrSyntax) {
		t.Errorf("%v is no %v", err, route.ErrSyntax)
	}
	err = with(func(c *Config) { c.Inlets[0].To = []string{"/ip4/1.2.3.4/tcp/1"} }).Validate()
	if !errors.Is(err, portal.ErrNoChannel) {
		t.Errorf("%v is no %v", err, portal.ErrNoChannel)
	}
}

// TestTicketIsVerified keeps a ticket that somebody has changed from being used.
func TestTicketIsVerified(t *testing.T) {
	ticket, err := testkit.NewIdentity(t).Ticket(nil, "host:1", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	text := ticket.String()
	good, err := Node{Ticket: text}.ParseTicket()
	if err != nil || good.Issuer() != ticket.Issuer() {
		t.Errorf("got %v, %v", good, err)
	}
	checkField(t, Node{Ticket: text[:len(text)-3]}.Validate(), "ticket", "")
}

// TestDefaults has zero mean the default, and NoDrain no time at all.
func TestDefaults(t *testing.T) {
	var n Node
	if n.DrainTime() != DefaultDrain || n.DialTime() != DefaultConnectTimeout {
		t.Errorf("got %v and %v", n.DrainTime(), n.DialTime())
	}
	if d := (Node{Drain: NoDrain}).DrainTime(); d != 0 {
		t.Errorf("NoDrain is %v", d)
	}
	if name := (Outlet{}).ServiceName(); name != route.OutletName {
		t.Errorf("the service is %q", name)
	}
}

// TestNextHops compares host names as names, and addresses as networks.
func TestNextHops(t *testing.T) {
	hops, err := Bridge{Next: []string{
		"Relay.example.com:4000", "10.0.0.0/8:20-30", "[2001:db8::]:1", "192.0.2.1:7000",
	}}.NextHops()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"relay.example.com:4000": true, "relay.example.com:4001": false,
		"other.example.com:4000": false,
		"10.1.2.3:20":            true, "10.1.2.3:31": false, "11.1.2.3:20": false,
		"[2001:db8::]:1": true, "[2001:db8::1]:1": false, "192.0.2.1:7000": true,
	} {
		a, err := transport.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if hops.Allow(a) != want {
			t.Errorf("%s: allowed is %v, want %v", text, !want, want)
		}
	}
}

// TestRelaysAlone has relays that share no key with anybody be for their user, unless others are
// named.
func TestRelaysAlone(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("SP_IDENTITY", "")
	const own, user = "relay/identity", "sp/identity"
	alone := func(change func(*Config)) Config {
		return with(func(c *Config) {
			*c = Config{Relays: c.Relays}
			change(c)
		})
	}
	for name, row := range map[string]struct {
		config Config
		key    string // the end of its path
		owner  bool   // is trusted
	}{
		"nobody":  {alone(func(*Config) {}), own, true},
		"denied":  {alone(func(c *Config) { c.Node.Trust.Deny = []string{anybody} }), own, true},
		"private": {alone(func(c *Config) { c.Relays[0].Private = true }), own, true},
		"allow":   {alone(func(c *Config) { c.Node.Trust.Allow = []string{anybody} }), own, false},
		"list":    {alone(func(c *Config) { c.Node.Trust.AllowFiles = []string{"f"} }), own, false},
		"anyone":  {alone(func(c *Config) { c.Node.Trust.AllowAnyone = true }), own, false},
		"authority": {
			alone(func(c *Config) { c.Node.Trust.Authorities = []string{anybody} }), own, false,
		},
		"with a key":    {alone(func(c *Config) { c.Node.Identity = "own.key" }), "own.key", false},
		"with a friend": {with(func(*Config) {}), user, false},
		"with a bridge": {
			with(func(c *Config) { c.Inlets, c.Outlets = nil, nil }), user, false,
		},
		"nothing": {Config{}, user, false},
	} {
		if err := row.config.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if row.config.TrustsOwner() != row.owner {
			t.Errorf("%s: whether its user is trusted is %v", name, !row.owner)
		}
		path, err := row.config.KeyFile()
		if err != nil || !strings.HasSuffix(filepath.ToSlash(path), row.key) {
			t.Errorf("%s: the key is in %s, %v", name, path, err)
		}
	}
}

// inSet changes a relay that is one of a set.
func inSet(change func(*Relay)) func(*Config) {
	return func(c *Config) {
		r := &c.Relays[0]
		r.Set, r.RelayIdentities = []string{"relays.example.com:4000"}, []string{anybody}
		change(r)
	}
}

func TestMetrics(t *testing.T) {
	for m, wrong := range map[Metrics]string{
		{}:                                     "",
		{Listen: ":0"}:                         "",
		{Listen: "unix:x", Pprof: true}:        "",
		{Listen: "[::1]:0"}:                    "",
		{Listen: "127.1.2.3:0"}:                "",
		{Listen: "[::]:0", TokenFile: "x"}:     "",
		{Listen: "host"}:                       "metrics",
		{Listen: "0.0.0.0:0"}:                  "metrics-token-file",
		{Listen: "example.com:1"}:              "metrics-token-file",
		{Listen: "[::]:0", Pprof: true}:        "metrics-token-file",
		{Listen: "192.0.2.1:1", TokenFile: ""}: "metrics-token-file",
		{Pprof: true}:                          "metrics",
		{TokenFile: "x"}:                       "metrics",
	} {
		err := m.Validate()
		var field *FieldError
		switch {
		case wrong == "" && err != nil:
			t.Errorf("%+v: %v", m, err)
		case wrong != "" && (!errors.As(err, &field) || field.Field != wrong):
			t.Errorf("%+v: %v, and %s is wrong", m, err, wrong)
		}
	}
}

// TestNamesOfTargets are those that inlets ask for.
func TestNamesOfTargets(t *testing.T) {
	target, all := SplitTargets([]string{"unix:/a=b"})
	if target != "unix:/a=b" || all != nil {
		t.Errorf("a path is split: %q, %q", target, all)
	}
	target, all = SplitTargets([]string{"a=:1,b=unix:x,y", "c=:3"})
	if target != "" || len(all) != 2 {
		t.Errorf("got %q, %q", target, all)
	}
	for name, want := range map[string][]string{
		"": {"a", "b", "c"}, "db": {"a.db", "b.db", "c.db"},
	} {
		o := Outlet{Entrance: Entrance{Name: name, Listen: ":1"}, Targets: all}
		if got := o.Names(); !slices.Equal(got, want) || len(o.Entrances()) != 3 || o.Validate() != nil {
			t.Errorf("got %q, want %q, %v", got, want, o.Validate())
		}
		if targets, _ := o.AllTargets(); targets[1].Address.Name != "x,y" {
			t.Errorf("a comma in a path: %v", targets)
		}
	}
	plain := Outlet{Entrance: Entrance{Listen: ":1"}, Target: ":1"}
	if len(plain.Names()) != 0 || len(plain.Entrances()) != 1 {
		t.Error("an outlet without a name has one")
	}
}

// TestSocksRoute asks for another service where a short form stands for that of an outlet.
func TestSocksRoute(t *testing.T) {
	for text, want := range map[string]string{
		"db@h:1": route.ConnectName, "/dnsaddr/h/tcp/1/secure/api/service/mine": "mine",
	} {
		to, err := Inlet{To: []string{text}, Socks5: true}.Routes()
		if err != nil || to[0][len(to[0])-1].Name != want {
			t.Errorf("%s: got %v, %v", text, to, err)
		}
	}
}
