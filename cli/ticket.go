package cli

import (
	"crypto/rand"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
)

const defaultTicketLife = "10m"

func ticketCommand() *cli.Command {
	return &cli.Command{
		Name:  "ticket",
		Usage: "let somebody in whose Identifier is not known yet, once",
		Subcommands: []*cli.Command{
			{
				Name: "create",
				Usage: "print a ticket for the outlet that has this identity; " +
					"whoever redeems it first is let in",
				UsageText: "sp ticket create --to ROUTE [--expires 10m] [--identity FILE]",
				Description: "The inlet redeems it with --ticket. The outlet must have --allow-file: " +
					"that is where the\n" +
					"inlet's Identifier goes. Until then the ticket is a secret.",
				Flags: []cli.Flag{
					keyFlag("key `FILE` of the outlet"),
					&cli.StringFlag{Name: "to", Usage: "`ROUTE` from the inlet to the outlet"},
					&cli.StringFlag{
						Name: "expires", Value: defaultTicketLife,
						Usage: "`WHEN` it expires: a duration, or a time like 2026-01-31T12:00:00Z",
					},
				},
				Action: action(createTicket, "to"),
			},
			{
				Name:      "show",
				Usage:     "print what a ticket says; nothing of it is secret but the ticket itself",
				ArgsUsage: "TICKET|FILE|-",
				Flags:     []cli.Flag{jsonFlag()},
				Action:    action(showTicket),
			},
			{
				Name:        "revoke",
				Usage:       "have a ticket that was not redeemed let nobody in",
				UsageText:   "sp ticket revoke --allow-file FILE TICKET|FILE|-",
				ArgsUsage:   "TICKET|FILE|-",
				Description: "Whom it has let in already stays in the allow file: take the line out.",
				Flags: []cli.Flag{&cli.StringFlag{
					Name: "allow-file", TakesFile: true,
					Usage: "the outlet's allow `FILE`, the first if it has several",
				}},
				Action: action(revokeTicket, "allow-file"),
			},
		},
	}
}

func createTicket(c *call) error {
	to, _, err := readRoute(c.text("to"), c.stdin)
	if err == nil {
		err = portal.CheckRoute(to)
	}
	if err != nil {
		return err
	}
	now := time.Now()
	expires, err := parseWhen(c.text("expires"), now)
	if err != nil {
		return usage("--expires: %w", err)
	}
	if !expires.After(now) {
		return usage("--expires %s is over already", c.text("expires"))
	}
	signer, err := loadSigner(c.text("identity"))
	if err != nil {
		return err
	}
	ticket, err := signer.Ticket(rand.Reader, route.Format(to), expires)
	if err != nil {
		return err
	}
	say(c.stdout, "%s", ticket)
	say(c.stderr, "sp: hint: the outlet redeems it if it has been started with this identity and "+
		"with --allow-file FILE, which may be empty")
	return nil
}

// ticketArgument reads the ticket that the command is about.
func ticketArgument(c *call) (*identity.Ticket, error) {
	text, err := c.oneArgument("TICKET")
	if err != nil {
		return nil, err
	}
	return readTicket(text, c.stdin)
}

func showTicket(c *call) error {
	t, err := ticketArgument(c)
	if err != nil {
		return err
	}
	if c.yes("json") {
		return printJSON(c.stdout, t)
	}
	say(c.stdout, "issuer     %s\nroute      %s\nexpires    %s\nserial     %x\nsignature  %s",
		t.Issuer(), t.Route(), t.Expires().Format(time.RFC3339), t.Serial(),
		good(t.VerifySignature()))
	return nil
}

func revokeTicket(c *call) error {
	t, err := ticketArgument(c)
	if err != nil {
		return err
	}
	if err := t.VerifySignature(); err != nil {
		return invalid(err)
	}
	if err := trust.RevokeTicket(c.text("allow-file"), t, time.Now()); err != nil {
		return err
	}
	say(c.stdout, "%x", t.Serial())
	return nil
}
