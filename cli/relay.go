package cli

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
)

func relayCommand() *cli.Command {
	return &cli.Command{
		Name:      "relay",
		Usage:     "join inlets with outlets that dialed out to it; it sees only ciphertext",
		UsageText: "sp relay [--listen] [[HOST]:PORT] [--allow I…]",
		Description: "Those who are trusted may claim names: if nobody is named, the identity that " +
			"this user has or gets on\nthis machine. The relay has a key of its own, unless --identity " +
			"says that it has theirs. When it\nlistens, it prints its address, and nothing else.",
		Flags: slices.Concat([]cli.Flag{
			&listFlag{
				Name: "listen",
				Usage: "`WHERE` inlets and outlets connect: [host]:port, unix:PATH, tls://[host]:port, " +
					"wss://[host]:port/path, ws:// behind a proxy, or " +
					"quic://[host]:port, which is UDP, or ble://:PSM; nats://broker/subject or " +
					"kafka://broker/topic, a queue; fd:N or systemd:NAME, handed over; " +
					"no host is every interface; repeatable",
				DefaultText: relayAnywhere,
			},
			&cli.BoolFlag{
				Name: "private", Category: whoCategory,
				Usage: "lead to names only those who are trusted, through a secure channel with the " +
					"relay, as RELAY:4000/NAME@ does",
			},
			limitFlag("max-names", config.DefaultMaxNames, "names at once that outlets claim"),
			limitFlag("max-names-per-identity", config.DefaultMaxNamesPerOwner,
				"names at once of one identity"),
			&listFlag{
				Name: "set", Category: setCategory,
				Usage: "be one of a set of relays, some of which are at `HOST[:PORT]`, a name that may " +
					"stand for several; repeatable. Without a port, SRV records of _sp._tcp.HOST say it. " +
					"--relay-identity, or --authority, says who they are",
			},
			&listFlag{
				Name: "advertise", Category: setCategory,
				Usage: "be for others at `HOST:PORT`; repeatable; without it, where it answers itself, " +
					"of --set",
			},
			&listFlag{
				Name: "directory", Category: setCategory,
				Usage: "find names that are held on relays of other sets, and be found, by the servers of " +
					"NATS at `nats://HOST[:PORT]`, of which one is used; repeatable; --brokers says how to " +
					"log in. No connection goes over them",
			},
			&cli.IntFlag{
				Name: "weight", Category: setCategory, Value: 1,
				Usage: "count as `N` relays of the set, 1 to 16",
			},
		}, relayedFlags(claimedName), lifeFlags(), certificateFlags(), portalFlags(relayKeyText)),
		Action: action(runRelay),
	}
}

// relayAnywhere is where a relay listens if nobody says otherwise: wherever the machine is.
const relayAnywhere = ":4000"

// relayOf is what the flags say of a relay itself.
func relayOf(c *call) config.Relay {
	e := entranceConfig(c)
	if e.Listen == "" && len(e.Relays) == 0 {
		e.Listen = relayAnywhere
	}
	return config.Relay{
		Entrance: e, Private: c.yes("private"),
		Names: c.number("max-names"), NamesPerIdentity: c.number("max-names-per-identity"),
		Directory: c.list("directory"),
		Set:       c.list("set"), Advertise: c.list("advertise"), Weight: c.number("weight"),
	}
}

func runRelay(c *call) error {
	options, err := daemonOptions(c)
	if err != nil {
		return err
	}
	options.Notify = sayAddress(c, options)
	all := config.Config{Node: nodeConfig(c), Relays: []config.Relay{relayOf(c)}}
	return runPortals(c, all, options)
}
