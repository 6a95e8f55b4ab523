package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

const defaultTicketLife = "10m"

func ticketCommand() *cli.Command {
	return &cli.Command{
		Name:  "ticket",
		Usage: "let somebody in whose Identifier is not known yet, once",
		Subcommands: []*cli.Command{
			{
				Name:      "create",
				Usage:     "print a ticket for the outlet that has this identity; whoever redeems it first is let in",
				UsageText: "sp ticket create --to ROUTE [--expires 10m] [--identity FILE]",
				Description: "The inlet redeems it with --ticket. The outlet must have --allow-file: that is where the\n" +
					"inlet's Identifier goes. Until then the ticket is a secret.",
				Flags: []cli.Flag{
					keyFlag("key `FILE` of the outlet"),
					&cli.StringFlag{Name: "to", Usage: "`ROUTE` from the inlet to the outlet"},
					&cli.StringFlag{Name: "expires", Value: defaultTicketLife, Usage: "`WHEN` it is worth nothing any more: a duration, or a time like 2026-01-31T12:00:00Z"},
				},
				Action: need(createTicket, "to"),
			},
			{
				Name:      "show",
				Usage:     "print what a ticket says; nothing of it is secret but the ticket itself",
				ArgsUsage: "TICKET|FILE|-",
				Flags:     []cli.Flag{jsonFlag()},
				Action:    showTicketText,
			},
		},
	}
}

// keyFlag is the flag of commands that sign something with a key that is there already.
func keyFlag(usage string) cli.Flag {
	return &cli.StringFlag{
		Name: "identity", EnvVars: []string{"SP_IDENTITY"}, TakesFile: true, Usage: usage,
		DefaultText: "identity in the user's configuration, under sp",
	}
}

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print it as JSON"} }

// loadSigner loads the key file that --identity names.
func loadSigner(c *cli.Context) (*identity.Identity, error) {
	path, err := keyPath(c)
	if err != nil {
		return nil, err
	}
	return identity.Load(path)
}

func createTicket(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	to, err := readRoute(c, c.String("to"), false)
	if err == nil {
		err = portal.CheckRoute(to)
	}
	if err != nil {
		return err
	}
	now := time.Now()
	expires, err := parseWhen(c.String("expires"), now)
	if err != nil {
		return usage(c, "--expires: %w", err)
	}
	if !expires.After(now) {
		return usage(c, "--expires %s is over already", c.String("expires"))
	}
	signer, err := loadSigner(c)
	if err != nil {
		return err
	}
	ticket, err := signer.Ticket(rand.Reader, route.Format(to), expires)
	if err != nil {
		return err
	}
	say(c, "%s", ticket)
	return nil
}

func showTicketText(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage(c, "one TICKET, not %d", c.NArg())
	}
	t, err := readTicket(c, c.Args().First(), false)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, t)
	}
	say(c, "issuer     %s\nroute      %s\nexpires    %s\nserial     %x\nsignature  %s",
		t.Issuer(), t.Route(), t.Expires().Format(time.RFC3339), t.Serial(), good(t.VerifySignature()))
	return nil
}

// good says in a word or more what a check has found.
func good(err error) string {
	if err != nil {
		return "bad: " + err.Error()
	}
	return "good"
}

// readTicket reads a ticket from what a user has given: the text, a file, or - for stdin.
func readTicket(c *cli.Context, text string, stdinTaken bool) (*identity.Ticket, error) {
	return readSigned(c, text, "ticket", stdinTaken, identity.ParseTicketText)
}

// readSigned is readTicket for a ticket or a credential: kind says which, and parse takes it apart.
func readSigned[T any](
	c *cli.Context, text, kind string, stdinTaken bool, parse func(string) (*T, error),
) (*T, error) {
	word, err := readWord(c, text, "sp-"+kind+"-", stdinTaken)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	signed, err := parse(word)
	if err != nil {
		return nil, invalid(err)
	}
	return signed, nil
}

// readWord reads a word that begins with prefix: text itself, or else what is in the file of that name, or on stdin.
func readWord(c *cli.Context, text, prefix string, stdinTaken bool) (string, error) {
	switch {
	case strings.HasPrefix(text, prefix):
		return text, nil
	case text != stdioText:
		word, err := readText(text)
		if err != nil {
			return "", fmt.Errorf("file %s: %w", text, err)
		}
		return word, nil
	case stdinTaken:
		return "", usage(c, "stdin cannot be two things at once")
	}
	return readAllText(c.App.Reader)
}

// readTicketFlag reads what --ticket gives, or nil. What is worth nothing any more is not shown to anybody.
func readTicketFlag(c *cli.Context, stdinTaken bool) (*identity.Ticket, error) {
	if !c.IsSet("ticket") {
		return nil, nil
	}
	t, err := readTicket(c, c.String("ticket"), stdinTaken)
	if err != nil {
		return nil, err
	}
	if err := t.VerifySignature(); err != nil {
		return nil, invalid(err)
	}
	if !time.Now().Before(t.Expires()) {
		return nil, withHint(invalid(fmt.Errorf("the ticket expired at %s", t.Expires().Format(time.RFC3339))), "ask for a new one")
	}
	return t, nil
}

// showTicket returns what channel.Config needs to show t to the one who issued it.
func showTicket(t *identity.Ticket) func(identity.Identifier) []byte {
	if t == nil {
		return nil
	}
	return func(peer identity.Identifier) []byte {
		if peer != t.Issuer() {
			return nil
		}
		return t.Bytes()
	}
}

// ticketRoute returns what tells whether a ticket's route leads to the outlet that c starts, and not to another one that
// has the same identity: an outlet behind a relay goes by its name, and only one that listens can be reached without.
func ticketRoute(c *cli.Context) func(string) error {
	name, listens := c.String("name"), c.IsSet("listen")
	return func(text string) error {
		to, err := route.Parse(text)
		if err != nil {
			return err
		}
		for _, a := range slices.Backward(to) {
			asked, named := strings.CutPrefix(a.Name, route.ForwardPrefix)
			switch {
			case a.IsTransport() && listens, a.Kind == wire.Service && named && asked == name:
				return nil
			case a.IsTransport():
				return errors.New("it is for an outlet that is reached without a relay")
			case a.Kind == wire.Service && named:
				return fmt.Errorf("it is for the outlet that goes by the name %s", asked)
			}
		}
		return errors.New("its route leads nowhere")
	}
}

// ticketRefused adds to an error of a far end that refuses this side what to do if there is a ticket.
func ticketRefused(err error) error {
	return withHint(err, "the ticket may be late, redeemed by another identity, or not one for this outlet, whose log says why: ask for a new one")
}

// parseWhen reads a time: a duration from base on, in Go's form or in days like 30d, or RFC 3339.
func parseWhen(text string, base time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	unit := time.Nanosecond
	if days, ok := strings.CutSuffix(text, "d"); ok {
		text, unit = days+"h", 24 // an hour a day, times 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d.Abs() > 1<<62/24 {
		return time.Time{}, fmt.Errorf("%q is not a duration like 24h or 30d, or a time like 2026-01-31T12:00:00Z", text)
	}
	return base.Add(d * unit), nil
}
