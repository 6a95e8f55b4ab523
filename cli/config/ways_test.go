package config

import (
	"errors"
	"testing"

	"github.com/secureportal/sp/route/transport"
)

// What is wrong with how links come in over TLS, and with how connections go out, is said by field.
func TestWays(t *testing.T) {
	relay := func(listen ...string) []Relay {
		return []Relay{{Entrance: Entrance{Listen: listen[0], AlsoListen: listen[1:]}}}
	}
	for name, test := range map[string]struct {
		c     Config
		field string // that is wrong; empty if none is
	}{
		"TLS without a certificate": {Config{Relays: relay(":4000", "wss://:443/sp")}, "tls-cert"},
		"tls:// without one":        {Config{Relays: relay("tls://:443")}, "tls-cert"},
		"ws:// without one":         {Config{Relays: relay("ws://:80/sp")}, ""},
		"with one": {
			Config{Node: Node{TLSCert: "c", TLSKey: "k"}, Relays: relay("wss://:443/sp")}, "",
		},
		"asking for one": {
			Config{Node: Node{ACME: ACME{Hosts: []string{"h.example"}}}, Relays: relay("wss://:443/sp")}, "",
		},
		"asking, and one": {Config{Node: Node{
			ACME: ACME{Hosts: []string{"h.example"}}, TLSCert: "c", TLSKey: "k",
		}, Relays: relay("wss://:443/sp")}, "acme"},
		"asking for nothing": {
			Config{Node: Node{ACME: ACME{Hosts: []string{"h.example"}}}, Relays: relay(":4000")}, "acme",
		},
		"asking for an address": {
			Config{Node: Node{ACME: ACME{Hosts: []string{"10.0.0.1"}}}, Relays: relay("tls://:443")}, "acme",
		},
		"asking for a word": {
			Config{Node: Node{ACME: ACME{Hosts: []string{"relay"}}}, Relays: relay("tls://:443")}, "acme",
		},
		"asking in the clear": {Config{Node: Node{
			ACME: ACME{Hosts: []string{"h.example"}, Server: "http://ca.example/"},
		}, Relays: relay("tls://:443")}, "acme-server"},
		"an authority alone": {Config{Node: Node{ACME: ACME{Server: "https://ca.example/"}}}, "acme"},
		"half of one":        {Config{Node: Node{TLSCert: "c"}}, "tls-key"},
		"the other half":     {Config{Node: Node{TLSKey: "k"}}, "tls-cert"},
		"no such address":    {Config{Relays: relay(":1", "wss://:x/")}, "listen"},
		"twice": {
			Config{Relays: append(relay("ws://:1/a"), relay(":2", "ws://:1/a")...)}, "listen",
		},
		"an inlet's client": {
			Config{Inlets: []Inlet{{Listen: "ws://:1/", To: []string{"h:1"}}}}, "listen",
		},
		"an inlet's outlet": {Config{Inlets: []Inlet{{Listen: ":1", To: []string{"db@wss://h/sp"}}}}, ""},
		"a proxy":           {Config{Node: Node{Proxy: "http://p:1"}}, ""},
		"another thing":     {Config{Node: Node{Proxy: "ftp://p:1"}}, "proxy"},
		"a password":        {Config{Node: Node{Proxy: "http://u@p:1", ProxyPasswordFile: "f"}}, ""},
		"of nobody":         {Config{Node: Node{Proxy: "http://p:1", ProxyPasswordFile: "f"}}, "proxy"},
		"for no proxy":      {Config{Node: Node{Proxy: NoProxy, ProxyPasswordFile: "f"}}, "proxy"},
		"two passwords": {
			Config{Node: Node{Proxy: "http://u:p@p:1", ProxyPasswordFile: "f"}}, "proxy",
		},
		"what others mean": {Config{Node: Node{Proxies: EnvironmentProxies{All: "gopher://x"}}}, ""},
		"an address":       {Config{Node: Node{Bind: "10.0.0.1"}}, ""},
		"an interface":     {Config{Node: Node{Bind: "eth0"}}, ""},
		"a port":           {Config{Node: Node{Bind: "10.0.0.1:80"}}, "bind"},
	} {
		err := test.c.Validate()
		var field *FieldError
		switch {
		case test.field == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.field != "" && (!errors.As(err, &field) || field.Field != test.field):
			t.Errorf("%s: %v, want it to be --%s", name, err, test.field)
		}
	}
	environment := EnvironmentProxies{HTTPS: "http://a:1", All: "socks5://b", Except: "c.example"}
	n := Node{Proxies: environment}
	all, err := n.ParseProxies()
	if err != nil || all.HTTPS == nil || all.All == nil || all.HTTP != nil || all.HereToo {
		t.Errorf("the environment's: %+v, %v", all, err)
	}
	n.Proxy = NoProxy
	if all, err = n.ParseProxies(); err != nil || all != (transport.Proxies{}) {
		t.Errorf("none: %+v, %v", all, err)
	}
}
