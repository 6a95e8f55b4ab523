package cli

import (
	"cmp"
	"os"
	"strings"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/cli/page"
	"github.com/secureportal/sp/internal/confine"
	"github.com/secureportal/sp/portal"
)

// This file has flags fill a configuration. It decides nothing: what is wrong with a value, and
// what is meant where there is none, the configuration knows.

// nodeConfig is what nodeFlags say, and portalFlags where a command has them.
func nodeConfig(c *call) config.Node {
	n := config.Node{
		Identity:       c.text("identity"),
		Trust:          trustConfig(c),
		Credentials:    c.list("credential"),
		Suites:         c.list("suite"),
		ConnectTimeout: c.duration("connect-timeout"),
		Keepalive:      c.duration("keepalive"),
		Drain:          c.duration("drain"),
		Survive:        c.duration("survive"),
		SurviveMemory:  c.text("survive-memory"),
		NoDirect:       !c.yes("direct"),
		SocketMode:     c.text("socket-mode"),
		Proxy:          c.text("proxy"),
		Bind:           c.text("bind"),
		TLSCert:        c.text("tls-cert"),
		TLSKey:         c.text("tls-key"),
		TLSCA:          c.text("tls-ca"),
		BrokersFile:    c.text("brokers"),
		ACME: config.ACME{
			Hosts:  c.list("acme"),
			Server: c.text("acme-server"),
			Email:  c.text("acme-email"),
			Folder: c.text("acme-folder"),
		},
		Limits: config.Limits{
			Connections:     c.number("max-connections"),
			PerIdentity:     c.number("max-per-identity"),
			PerSource:       c.number("max-per-source"),
			Sessions:        c.number("max-sessions"),
			Unauthenticated: c.number("max-unauthenticated"),
			HandshakeRate:   c.number("handshake-rate"),
			Memory:          c.text("memory"),
		},
	}
	n.ProxyPasswordFile = c.text("proxy-password-file")
	n.Proxies = config.EnvironmentProxies{
		HTTPS: variableOf("HTTPS_PROXY"), HTTP: variableOf("HTTP_PROXY"),
		All: variableOf("ALL_PROXY"), Except: variableOf("NO_PROXY"),
	}
	if n.Drain == 0 {
		n.Drain = config.NoDrain
	}
	if n.Survive == 0 {
		n.Survive = config.NoSurvive
	}
	return n
}

// trustConfig is what trustFlags say.
func trustConfig(c *call) config.Trust {
	return config.Trust{
		Allow:       c.list("allow"),
		AllowFiles:  c.list("allow-file"),
		AllowAnyone: c.yes("allow-anyone"),
		Authorities: c.list("authority"),
		Require:     c.list("require"),
		Deny:        c.list("deny"),
		DenyFiles:   c.list("deny-file"),
		Seen:        c.text("seen"),
	}
}

// metricsConfig is what watchFlags say.
func metricsConfig(c *call) config.Metrics {
	return config.Metrics{
		Listen: c.text("metrics"), TokenFile: c.text("metrics-token-file"),
		Pprof: c.yes("metrics-pprof"),
	}
}

// entranceConfig is what --listen and relayedFlags say.
func entranceConfig(c *call) config.Entrance {
	return config.Entrance{
		Listen:          first(c.list("listen")),
		AlsoListen:      others(c.list("listen")),
		Relays:          c.list("relay"),
		Name:            c.text("name"),
		RelayIdentities: c.list("relay-identity"),
		Mux:             c.yes("mux"),
		Replace:         c.yes("replace"),
		Share:           c.yes("share"),
		NoWait:          c.yes("no-wait"),
	}
}

// variableOf is the value of a variable that other programs know too. Many know it in lower case.
func variableOf(name string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return os.Getenv(strings.ToLower(name))
}

func first(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

func others(all []string) []string {
	if len(all) < 2 {
		return nil
	}
	return all[1:]
}

// parseLogPolicy reads what --log-connections says, or nothing.
func parseLogPolicy(text string) (portal.LogPolicy, error) {
	policy, ok := portal.ParseLogPolicy(cmp.Or(text, "failed"))
	if !ok {
		return policy, usage("--log-connections %q is not all, failed or none", text)
	}
	return policy, nil
}

// daemonOptions have a daemon log as the flags say.
func daemonOptions(c *call) (daemon.Options, error) {
	policy, err := parseLogPolicy(c.text("log-connections"))
	if err != nil {
		return daemon.Options{}, err
	}
	logger, err := loggerOf(c)
	o := daemon.Options{
		Logger: logger, Hint: hintFor, Confine: !c.yes("no-sandbox"), Version: c.flags.App.Version,
		Metrics: metricsConfig(c), LogConnections: policy,
		Page: page.New,
	}
	if c.has("log-file") {
		o.WriteIn = confine.Folders(c.text("log-file"))
	}
	if c.process.terminal {
		o.Waiting = sayWaiting(c.stderr)
	}
	return o, err
}
