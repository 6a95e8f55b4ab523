package cli

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
)

const (
	defaultCredentialLife = "24h"

	// clockSkew is how far back a credential's validity begins unless it is said: clocks differ, and a node whose clock
	// is behind would refuse one that was issued a moment ago.
	clockSkew = time.Minute
)

func credentialCommand() *cli.Command {
	requireFlag := &cli.StringSliceFlag{Name: "require", Usage: "it must have this attribute, `KEY=VALUE`; repeatable: all of them"}
	return &cli.Command{
		Name:  "credential",
		Usage: "issue, show and verify credentials",
		Subcommands: []*cli.Command{
			{
				Name:      "issue",
				Usage:     "print a credential in which this identity vouches for another",
				UsageText: "sp credential issue --for IDENTIFIER [--attr KEY=VALUE …] [--expires 24h] [--identity FILE]",
				Flags: []cli.Flag{
					keyFlag("key `FILE` of the authority"),
					&cli.StringFlag{Name: "for", Usage: "the `IDENTIFIER` it is about"},
					&cli.StringSliceFlag{Name: "attr", Usage: "`KEY=VALUE` that it says; repeatable; relay-name bounds the name that may be claimed on a relay"},
					&cli.StringFlag{Name: "expires", Value: defaultCredentialLife, Usage: "`WHEN` it stops being valid: a duration from its beginning on, like 24h or 30d, or a time like 2026-01-31T12:00:00Z"},
					&cli.StringFlag{Name: "not-before", Usage: "`WHEN` it begins to be valid: a duration from now on, or a time", DefaultText: "a minute ago, since clocks differ"},
				},
				Action: need(issueCredential, "for"),
			},
			{
				Name:      "show",
				Usage:     "print what a credential says, whoever issued it",
				ArgsUsage: "CREDENTIAL|FILE|-",
				Flags:     []cli.Flag{jsonFlag()},
				Action:    showCredential,
			},
			{
				Name:      "verify",
				Usage:     "tell whether a credential is to be believed; exit code 4 if not",
				UsageText: "sp credential verify --authority IDENTIFIER [--for IDENTIFIER] [--require KEY=VALUE …] CREDENTIAL|FILE|-",
				ArgsUsage: "CREDENTIAL|FILE|-",
				Flags: []cli.Flag{
					&cli.StringSliceFlag{Name: "authority", Usage: "`IDENTIFIER` whose word counts; repeatable"},
					&cli.StringFlag{Name: "for", Usage: "it must be about this `IDENTIFIER`"},
					requireFlag,
					&cli.StringFlag{Name: "seen", TakesFile: true, Usage: "`FILE` that remembers who has rotated keys", DefaultText: "seen in the user's state, under sp"},
				},
				Action: need(verifyCredential, "authority"),
			},
		},
	}
}

func issueCredential(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	subject, err := identity.ParseIdentifier(c.String("for"))
	if err != nil {
		return usage(c, "--for %q: %w", c.String("for"), err)
	}
	attributes, err := parseAttributes(c, "attr")
	if err != nil {
		return err
	}
	notBefore, expires, err := parseValidity(c, time.Now())
	if err != nil {
		return err
	}
	authority, err := loadSigner(c)
	if err != nil {
		return err
	}
	credential, err := authority.Issue(rand.Reader, identity.Claims{
		Subject: subject, Attributes: attributes, NotBefore: notBefore, Expires: expires,
	})
	if err != nil {
		return err
	}
	say(c, "%s", credential)
	return nil
}

// parseValidity reads --not-before and --expires.
func parseValidity(c *cli.Context, now time.Time) (notBefore, expires time.Time, err error) {
	begin := now
	notBefore = now.Add(-clockSkew)
	if text := c.String("not-before"); text != "" {
		if begin, err = parseWhen(text, now); err != nil {
			return notBefore, expires, usage(c, "--not-before: %w", err)
		}
		notBefore = begin
	}
	if expires, err = parseWhen(c.String("expires"), begin); err != nil {
		return notBefore, expires, usage(c, "--expires: %w", err)
	}
	if !expires.After(begin) {
		return notBefore, expires, usage(c, "--expires %s is before it begins to be valid", c.String("expires"))
	}
	return notBefore, expires, nil
}

// argCredential reads the credential that a command's argument gives.
func argCredential(c *cli.Context) (*identity.Credential, error) {
	if c.NArg() != 1 {
		return nil, usage(c, "one CREDENTIAL, not %d", c.NArg())
	}
	return readSigned(c, c.Args().First(), "credential", false, identity.ParseCredentialText)
}

func showCredential(c *cli.Context) error {
	credential, err := argCredential(c)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, credential)
	}
	say(c, "authority   %s\nsubject     %s", credential.Authority(), credential.Subject())
	attributes := credential.Attributes()
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		say(c, "attribute   %s=%s", key, attributes[key])
	}
	say(c, "not before  %s\nexpires     %s\nserial      %x\nsignature   %s", credential.NotBefore().Format(time.RFC3339),
		credential.Expires().Format(time.RFC3339), credential.Serial(), good(credential.VerifySignature()))
	return nil
}

func verifyCredential(c *cli.Context) error {
	authorities, err := parseIdentifiers(c, "authority")
	if err != nil {
		return err
	}
	required, err := parseAttributes(c, "require")
	if err != nil {
		return err
	}
	subject, err := identity.ParseIdentifier(c.String("for"))
	if c.IsSet("for") && err != nil {
		return usage(c, "--for %q: %w", c.String("for"), err)
	}
	credential, err := argCredential(c)
	if err != nil {
		return err
	}
	if !c.IsSet("for") {
		subject = credential.Subject()
	}
	seen, err := openSeen(c.String("seen"), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	policy, err := trust.NewPolicy(trust.Config{Authorities: authorities, Require: required, Known: seen})
	if err != nil {
		return usage(c, "%w", err)
	}
	if err := policy.CheckCredential(credential, subject, time.Now()); err != nil {
		return invalid(err)
	}
	say(c, "valid until %s", credential.Expires().Format(time.RFC3339))
	return nil
}

// errInvalid marks an error about a credential or a ticket that is not to be believed.
var errInvalid = errors.New("not valid")

func invalid(err error) error { return fmt.Errorf("%w: %w", errInvalid, err) }

func printJSON(c *cli.Context, v any) error {
	encoder := json.NewEncoder(c.App.Writer)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
