package cli

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
)

func bridgeCommand() *cli.Command {
	return &cli.Command{
		Name:      "bridge",
		Usage:     "join two networks: forward links to the next hops it is given, and nowhere else",
		UsageText: "sp bridge --listen [HOST]:PORT --next HOST:PORT",
		Description: "A route enters the bridge through a secure channel, as BRIDGE:8000/HOST:7000 " +
			"does. When it\nlistens, the bridge prints its address, and nothing else.",
		Flags: slices.Concat([]cli.Flag{
			&listFlag{
				Name: "listen",
				Usage: "`WHERE` links come in: [host]:port, unix:PATH, tls://[host]:port, " +
					"wss://[host]:port/path, ws:// behind a proxy, or " +
					"quic://[host]:port, which is UDP, or ble://:PSM; nats://broker/subject or " +
					"kafka://broker/topic, a queue; fd:N or systemd:NAME, handed over; " +
					"no host is every interface; repeatable",
			},
			&listFlag{
				Name: "next",
				Usage: "allowed next `HOP`: host:port, host:first-last, or CIDR:port(s); " +
					"repeatable; a network is without loopback, link-local, multicast and metadata " +
					"addresses, unless it lies within them, and without those of this machine",
			},
			&cli.BoolFlag{
				Name: "open", Category: whoCategory,
				Usage: "forward for whoever comes; without it, only for those who are trusted, " +
					"through a secure channel with the bridge",
			},
		}, relayedFlags(claimedName), lifeFlags(), certificateFlags(), portalFlags(ownKeyText)),
		Action: action(runBridge, "listen", "next"),
	}
}

// bridgeOf is what the flags say of a bridge itself.
func bridgeOf(c *call) config.Bridge {
	return config.Bridge{Entrance: entranceConfig(c), Next: c.list("next"), Open: c.yes("open")}
}

func runBridge(c *call) error {
	options, err := daemonOptions(c)
	if err != nil {
		return err
	}
	options.Notify = sayAddress(c, options)
	all := config.Config{Node: nodeConfig(c), Bridges: []config.Bridge{bridgeOf(c)}}
	return runPortals(c, all, options)
}
