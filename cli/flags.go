package cli

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
)

// Categories of flags in the help.
const (
	whoCategory   = "Who"
	timeCategory  = "Times"
	logCategory   = "Logs"
	limitCategory = "Limits"
	setCategory   = "Sets of relays"
	watchCategory = "Watching"
	outCategory   = "Ways out"
	tlsCategory   = "TLS"
)

// nodeFlags are those of every command that is a node, whose key is in the file that key tells of
// unless another one is named.
func nodeFlags(key string) []cli.Flag {
	return append(trustFlags(), []cli.Flag{
		&cli.StringFlag{
			Name: "identity", Category: whoCategory, TakesFile: true,
			Usage:       "this side's key `FILE`; made on first use",
			DefaultText: key,
		},
		&listFlag{
			Name: "suite", Category: whoCategory,
			Usage: "accept this Noise `SUITE` and no other; repeatable; this side proposes the first",
		},
		&cli.DurationFlag{
			Name: "connect-timeout", Value: config.DefaultConnectTimeout, Category: timeCategory,
			Usage: "how long to wait for a connection to be made",
		},
		&cli.DurationFlag{
			Name: "keepalive", Value: config.DefaultKeepalive, Category: timeCategory,
			Usage: "time between two pings of the whole way to the far end; " +
				"three without an answer end a session, and without connections there are fewer",
		},
		&cli.StringFlag{
			Name: "proxy", Category: outCategory,
			Usage: "make TCP connections to far ends, and none of quic://, through the proxy at `URL`: " +
				"http://[USER@]HOST:PORT or socks5://[USER@]HOST:PORT; or none",
			DefaultText: "what ALL_PROXY says, and for wss:// and tls:// HTTPS_PROXY, for ws:// " +
				"HTTP_PROXY, but for NO_PROXY",
		},
		&cli.StringFlag{
			Name: "proxy-password-file", Category: outCategory, TakesFile: true,
			Usage: "`FILE` with the password for that proxy's USER; read again when it changes",
		},
		&cli.StringFlag{
			Name: "bind", Category: outCategory,
			Usage: "connect to far ends from this `ADDRESS` of this machine, or from an interface's; to " +
				"those at ble:// from this adapter, like hci1",
		},
		&cli.StringFlag{
			Name: "tls-ca", Category: tlsCategory, TakesFile: true,
			Usage: "refuse tls:// and wss:// far ends whose certificates are not signed by those in " +
				"`FILE` (PEM)",
			DefaultText: "what the system, or SSL_CERT_FILE, does not believe is logged, and goes on: " +
				"the channel inside does not depend on it",
		},
		&cli.StringFlag{
			Name: "brokers", Category: outCategory, TakesFile: true,
			Usage: "log in at brokers of nats:// and kafka://, and at a directory, as `FILE` says, whose " +
				"lines are HOST[:PORT] WHAT VALUE, where WHAT is user, password, token, creds, sasl, tls, " +
				"ca, cert or key; tried with nats-server 2.9 and, for Kafka, franz-go's kfake",
			DefaultText: "without a user, over TLS where the broker asks for it",
		},
		&cli.StringFlag{
			Name: "log-format", Category: logCategory,
			Usage:       "`FORMAT` of the log: people, text (logfmt) or json",
			DefaultText: "people where stderr is a terminal, else text",
		},
		&cli.StringFlag{
			Name: "log-level", Value: "info", Category: logCategory,
			Usage: "lowest `LEVEL` to log: debug, info, warn or error",
		},
	}...)
}

const (
	ownKeyText   = "identity in the user's configuration, under sp"
	relayKeyText = "relay/identity in the user's configuration, under sp"
	seenText     = "seen in the user's state, under sp"
)

// trustFlags say whom a node trusts, and what it presents to be trusted.
func trustFlags() []cli.Flag {
	return []cli.Flag{
		&listFlag{
			Name: "allow", Category: whoCategory,
			Usage: "trust the far end with this `IDENTIFIER`; repeatable; " +
				"if nobody is named, only this side's own and the friends of sp pair",
		},
		&listFlag{
			Name: "allow-file", Category: whoCategory, TakesFile: true,
			Usage: "trust the identities in `FILE`, one a line; repeatable; " +
				"read again when it changes or on SIGHUP",
		},
		&cli.BoolFlag{
			Name: "allow-anyone", Category: whoCategory,
			Usage: "trust whoever is at the far end",
		},
		&listFlag{
			Name: "authority", Category: whoCategory,
			Usage: "trust whoever presents a credential that this `IDENTIFIER` has issued, as what " +
				"it says; repeatable",
		},
		&listFlag{
			Name: "require", Category: whoCategory,
			Usage: "the credential of an inlet or an outlet must have this attribute, `KEY=VALUE`; " +
				"repeatable: all of them",
		},
		&listFlag{
			Name: "deny", Category: whoCategory,
			Usage: "do not trust this `IDENTIFIER`, whatever else is said; repeatable",
		},
		&listFlag{
			Name: "deny-file", Category: whoCategory, TakesFile: true,
			Usage: "do not trust the identities in `FILE`; repeatable; read again like --allow-file",
		},
		&listFlag{
			Name: "credential", Category: whoCategory, TakesFile: true,
			Usage: "present the credential in `FILE`; repeatable; " +
				"read again when it changes or on SIGHUP",
		},
		&cli.StringFlag{
			Name: "seen", Category: whoCategory, TakesFile: true,
			Usage: "`FILE` that remembers who has rotated keys", DefaultText: seenText,
		},
	}
}

// portalFlags are those of the commands that run until a signal. Of key see nodeFlags.
func portalFlags(key string) []cli.Flag {
	drain := &cli.DurationFlag{
		Name: "drain", Value: config.DefaultDrain, Category: timeCategory,
		Usage: "how long open connections may take to finish after SIGTERM or SIGINT",
	}
	mode := &cli.StringFlag{
		Name: "socket-mode", Category: whoCategory,
		Usage: "octal `MODE` of the files of Unix sockets that this side listens at: " +
			"who may connect",
		DefaultText: "0600, its owner only",
	}
	which := &cli.StringFlag{
		Name: "log-connections", Category: logCategory, DefaultText: "failed",
		Usage: "log a line for `WHICH` connections when they end: all, failed or none",
	}
	file := &cli.StringFlag{
		Name: "log-file", Category: logCategory, TakesFile: true,
		Usage: "log to `FILE` and not to stderr; opened anew on SIGUSR1",
	}
	open := &cli.BoolFlag{
		Name: "no-sandbox", Category: whoCategory,
		Usage: "do not give up, once all is set up, the right to open other files and ports " +
			"(on Linux)",
	}
	own := []cli.Flag{drain, mode, open, which, file}
	return slices.Concat(own, watchFlags(), limitFlags(), nodeFlags(key))
}

// watchFlags say who is told how the process does.
func watchFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "metrics", Category: watchCategory,
			Usage: "tell metrics at `WHERE`, over HTTP: [host]:port or unix:PATH, with a page for a " +
				"browser at /, /metrics for Prometheus, /healthz, and /readyz, which says 200 when " +
				"the portal can be used; no host is localhost",
		},
		&cli.StringFlag{
			Name: "metrics-token-file", Category: watchCategory, TakesFile: true,
			Usage: "tell metrics to those only who show the token in `FILE`, as HTTP's bearer or as " +
				"the password that a browser asks for; needed where others than this machine can ask",
		},
		&cli.BoolFlag{
			Name: "metrics-pprof", Category: watchCategory,
			Usage: "tell profiles of the process as well, under /debug/pprof/",
		},
		&cli.StringFlag{
			Name: "status-socket", Category: watchCategory, TakesFile: true,
			Usage:       "answer sp status at this `PATH`, for whoever names it",
			DefaultText: "in sp in the user's folder for what runs, where sp status looks",
		},
		&cli.BoolFlag{
			Name: "no-status", Category: watchCategory, Usage: "do not answer sp status",
		},
	}
}

// certificateFlags are those of commands that links come in to.
func certificateFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "tls-cert", Category: tlsCategory, TakesFile: true,
			Usage: "show the certificate in `FILE` (PEM, with what it is signed by) where this side " +
				"listens at tls:// or wss://; read again when it changes or on SIGHUP",
		},
		&cli.StringFlag{
			Name: "tls-key", Category: tlsCategory, TakesFile: true,
			Usage: "`FILE` with the key of that certificate (PEM)",
		},
		&listFlag{
			Name: "acme", Category: tlsCategory,
			Usage: "get the certificate for `HOST`, and renew it, by ACME, in place of --tls-cert " +
				"(repeatable): the authority comes to port 443 of HOST, which has to lead to a tls:// or " +
				"wss:// listener here; you agree to its terms",
		},
		&cli.StringFlag{
			Name: "acme-server", Category: tlsCategory, DefaultText: "Let's Encrypt",
			Usage: "ask the authority whose directory is at `URL`",
		},
		&cli.StringFlag{
			Name: "acme-email", Category: tlsCategory,
			Usage: "`ADDRESS` that the authority may write to",
		},
		&cli.StringFlag{
			Name: "acme-folder", Category: tlsCategory, TakesFile: true,
			DefaultText: "~/.local/state/sp/acme",
			Usage:       "keep certificates and keys of --acme in `FOLDER`",
		},
	}
}

func directFlag() cli.Flag {
	return &cli.BoolFlag{
		Name: "direct", Value: true, Category: outCategory,
		Usage: "have connections that a relay has joined go directly, past NATs, where that can be: " +
			"the other end learns this side's address; --direct=false leaves them on the relay",
	}
}

// surviveFlags are those of the commands at the two ends of a connection.
func surviveFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{
			Name: "survive", Value: config.DefaultSurvive, Category: timeCategory,
			Usage: "how long a connection whose link is lost waits for another way, at most as long " +
				"as the other end says; 0 has it end with its link",
		},
		directFlag(),
		&cli.StringFlag{
			Name: "survive-memory", Category: limitCategory,
			Usage: "keep no more than this `SIZE` of what far ends have not acknowledged: a " +
				"connection that keeps too much ends with its link",
			DefaultText: "256M, or a sixteenth of the memory",
		},
	}
}

// limitFlags say how much a node takes on. What is over a limit is refused; what is there
// already does not suffer.
func limitFlags() []cli.Flag {
	return []cli.Flag{
		limitFlag("max-connections", config.DefaultMaxConnections,
			"connections at once; by default, a relay or bridge takes no more than "+
				"the files it may open allow"),
		limitFlag("max-per-identity", config.DefaultMaxPerIdentity,
			"connections at once of one identity, of those through a secure channel, and of "+
				"links that its sessions keep; by default, less where files are few"),
		limitFlag("max-per-source", config.DefaultMaxPerSource,
			"connections at once from one IPv4 address or IPv6 /64, of those through none"),
		limitFlag("max-sessions", config.DefaultMaxSessions,
			"sessions at once of one identity; by default, no more than an eighth of the files it "+
				"may open"),
		limitFlag("max-unauthenticated", config.DefaultMaxUnauthenticated,
			"links at once that have not proved an identity yet, and as many again from known "+
				"addresses; by default, no more than a quarter of the files it may open"),
		limitFlag("handshake-rate", config.DefaultHandshakeRate,
			"handshakes a second from one IPv4 address or IPv6 /64, and 16 times as many from "+
				"known ones"),
		&cli.StringFlag{
			Name: "memory", Category: limitCategory,
			Usage: "use no more than this `SIZE` of memory, like 64M or 1G: connections whose " +
				"readers are slow get less of it",
			DefaultText: "what the control group allows",
		},
	}
}

func limitFlag(name string, value int, what string) cli.Flag {
	return &cli.IntFlag{
		Name: name, Value: value, Category: limitCategory, Usage: "at most this `NUMBER` of " + what,
	}
}

// claimedName is the usage of --name where it is for relays only.
const claimedName = "`NAME` to claim on the relay"

// relayedFlags are those of a command that can be reached through a relay.
func relayedFlags(nameUsage string) []cli.Flag {
	return []cli.Flag{
		&listFlag{
			Name:  "relay",
			Usage: "be reached through this relay: host:port or a `ROUTE` to it; repeatable",
		},
		&cli.StringFlag{Name: "name", Usage: nameUsage},
		&listFlag{
			Name: "relay-identity", Category: whoCategory,
			Usage: "the relay must have this `IDENTIFIER`; repeatable; without it any will do, or with " +
				"--authority this side's own, or one that is called a relay",
		},
		&cli.BoolFlag{
			Name:  "mux",
			Usage: "keep no standby links to the relays, at the cost of speed",
		},
		&cli.BoolFlag{
			Name: "replace",
			Usage: "take the name from another process with this identity that has it; " +
				"without it, that one keeps it as long as it answers",
		},
		&cli.BoolFlag{
			Name:  "no-wait",
			Usage: "fail at once if a relay does not answer or refuses the name",
		},
	}
}

func onceFlag() cli.Flag {
	return &cli.BoolFlag{
		Name:  "once",
		Usage: "carry one connection, the first, and exit with how it has ended",
	}
}

// keyFlag is the flag of commands that sign something with a key that is there already.
func keyFlag(usage string) cli.Flag {
	return &cli.StringFlag{
		Name: "identity", TakesFile: true, Usage: usage, DefaultText: ownKeyText,
	}
}

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print it as JSON"} }

// checkNumbers refuses flags that would make something wait for ever, or let nothing through.
func checkNumbers(c *cli.Context) error {
	for _, f := range c.Command.Flags {
		switch f := f.(type) {
		case *cli.DurationFlag:
			d := c.Duration(f.Name)
			if d < 0 || d == 0 && !slices.Contains(mayBeZero, f.Name) {
				return usage("--%s %v is not a time to wait", f.Name, d)
			}
		case *cli.IntFlag:
			n := c.Int(f.Name)
			if n < 1 && c.IsSet(f.Name) && f.Category == limitCategory {
				return config.LimitError(f.Name, n)
			}
			if n < 1 && f.Category != limitCategory {
				return usage("--%s %d is not a number of times", f.Name, n)
			}
		}
	}
	return nil
}

// mayBeZero are the flags for times that need not be waited.
var mayBeZero = []string{"drain", "idle-exit", "interval", "survive"}
