package daemon

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route/transport"
)

// A proxy of the environment that is none is told of where it would have been taken, and once.
func TestUnusableProxies(t *testing.T) {
	const bad = "https://proxy.example:1"
	for name, test := range map[string]struct {
		node config.Node
		to   string
		want string
	}{
		"over TLS": {
			config.Node{Proxies: config.EnvironmentProxies{HTTPS: bad}}, "wss://h.example/sp", "HTTPS_PROXY",
		},
		"not over TLS": {
			config.Node{Proxies: config.EnvironmentProxies{HTTPS: bad}}, "h.example:1", "",
		},
		"everything": {
			config.Node{Proxies: config.EnvironmentProxies{All: bad}}, "h.example:1", "ALL_PROXY",
		},
		"another one leads there": {
			config.Node{Proxies: config.EnvironmentProxies{HTTPS: bad, All: "http://p.example:1"}},
			"wss://h.example/sp", "",
		},
		"an exception": {
			config.Node{Proxies: config.EnvironmentProxies{HTTP: bad, Except: "h.example"}},
			"ws://h.example/sp", "",
		},
		"this machine": {
			config.Node{Proxies: config.EnvironmentProxies{All: bad}}, "127.0.0.1:1", "",
		},
		"none is wanted": {
			config.Node{Proxy: config.NoProxy, Proxies: config.EnvironmentProxies{All: bad}},
			"h.example:1", "",
		},
	} {
		var said bytes.Buffer
		p, err := newProxies(test.node, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		to, err := transport.Parse(test.to)
		if err != nil {
			t.Fatal(err)
		}
		p.leadTo(to)
		p.leadTo(to)
		if n := strings.Count(said.String(), "variable="); (n == 1) != (test.want != "") ||
			!strings.Contains(said.String(), test.want) || strings.Contains(said.String(), "proxy.example") {
			t.Errorf("%s: %s, want %q", name, said.String(), test.want)
		}
	}
}
