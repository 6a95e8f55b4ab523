package cli

import (
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
)

const (
	defaultCredentialLife = "24h"

	// clockSkew is how far back a credential's validity begins unless it is said: clocks differ,
	// and a node whose clock is behind would refuse one that was issued a moment ago.
	clockSkew = time.Minute
)

func credentialCommand() *cli.Command {
	return &cli.Command{
		Name:  "credential",
		Usage: "issue, show and verify credentials",
		Subcommands: []*cli.Command{
			issueCredentialCommand(),
			{
				Name:      "show",
				Usage:     "print what a credential says, whoever issued it",
				ArgsUsage: "CREDENTIAL|FILE|-",
				Flags:     []cli.Flag{jsonFlag()},
				Action:    action(showCredential),
			},
			verifyCredentialCommand(),
			{
				Name:      "revoke",
				Usage:     "have a credential not believed any more, wherever --deny-file names FILE",
				UsageText: "sp credential revoke --deny-file FILE SERIAL|CREDENTIAL|FILE|-",
				ArgsUsage: "SERIAL|CREDENTIAL|FILE|-",
				Description: "It adds a line to FILE, which begins with the serial number, and prints " +
					"that.",
				Flags: []cli.Flag{&cli.StringFlag{
					Name: "deny-file", TakesFile: true,
					Usage: "deny `FILE`; made if it is not there",
				}},
				Action: action(revokeCredential, "deny-file"),
			},
		},
	}
}

func issueCredentialCommand() *cli.Command {
	return &cli.Command{
		Name: "issue",
		Usage: "print a credential in which this identity vouches for another, and its serial " +
			"number on stderr",
		UsageText: "sp credential issue --for IDENTIFIER [--attr KEY=VALUE …] [--expires 24h] " +
			"[--identity FILE]",
		Flags: []cli.Flag{
			keyFlag("key `FILE` of the authority"),
			&cli.StringFlag{Name: "for", Usage: "the `IDENTIFIER` it is about"},
			&listFlag{
				Name: "attr",
				Usage: "attribute that it says, `KEY=VALUE`; repeatable; two say what the bearer may " +
					"be: relay-name=NAME,NAME an outlet of these names, role=relay or role=bridge " +
					"one of those, and otherwise it is an inlet",
			},
			&cli.StringFlag{
				Name: "expires", Value: defaultCredentialLife,
				Usage: "`WHEN` it expires: a duration from its beginning on, like 24h or 30d, or a " +
					"time like 2026-01-31T12:00:00Z",
			},
			&cli.StringFlag{
				Name:        "not-before",
				Usage:       "`WHEN` it begins to be valid: a duration from now on, or a time",
				DefaultText: "a minute ago, since clocks differ",
			},
		},
		Action: action(issueCredential, "for"),
	}
}

func verifyCredentialCommand() *cli.Command {
	return &cli.Command{
		Name:  "verify",
		Usage: "tell whether a credential is to be believed; exit code 4 if not",
		UsageText: "sp credential verify --authority IDENTIFIER [--for IDENTIFIER] " +
			"[--require KEY=VALUE …] CREDENTIAL|FILE|-",
		ArgsUsage: "CREDENTIAL|FILE|-",
		Flags: []cli.Flag{
			&listFlag{
				Name: "authority", Usage: "`IDENTIFIER` whose word counts; repeatable",
			},
			&cli.StringFlag{Name: "for", Usage: "it must be about this `IDENTIFIER`"},
			&listFlag{
				Name:  "require",
				Usage: "it must have this attribute, `KEY=VALUE`; repeatable: all of them",
			},
			&listFlag{
				Name: "deny-file", TakesFile: true,
				Usage: "its authority and its serial number must not be in `FILE`; repeatable",
			},
			&cli.StringFlag{
				Name: "seen", TakesFile: true,
				Usage: "`FILE` that remembers who has rotated keys", DefaultText: seenText,
			},
		},
		Action: action(verifyCredential, "authority"),
	}
}

func issueCredential(c *call) error {
	subject, err := identity.ParseIdentifier(c.text("for"))
	if err != nil {
		return usage("--for %q: %w", c.text("for"), err)
	}
	attributes, err := config.ParseAttributes("attr", c.list("attr"))
	if err != nil {
		return err
	}
	notBefore, expires, err := parseValidity(c, time.Now())
	if err != nil {
		return err
	}
	authority, err := loadSigner(c.text("identity"))
	if err != nil {
		return err
	}
	credential, err := authority.Issue(rand.Reader, identity.Claims{
		Subject: subject, Attributes: attributes, NotBefore: notBefore, Expires: expires,
	})
	if err != nil {
		return err
	}
	say(c.stdout, "%s", credential)
	say(c.stderr, "serial %x", credential.Serial())
	if hint := daemon.CredentialHint(credential); hint != "" {
		say(c.stderr, "sp: hint: %s", hint)
	}
	return nil
}

// revokeCredential takes a serial number, or the credential that has it.
func revokeCredential(c *call) error {
	text, err := c.oneArgument("SERIAL")
	if err != nil {
		return err
	}
	comment := "# revoked " + time.Now().UTC().Format(time.RFC3339)
	serial, err := trust.ParseSerial(text)
	if err != nil {
		credential, err := readCredential(text, c.stdin)
		if err != nil {
			return err
		}
		serial = credential.Serial()
		comment += ", about " + credential.Subject().String()
	}
	if err := trust.RevokeCredential(c.text("deny-file"), serial, comment); err != nil {
		return err
	}
	say(c.stdout, "%x", serial)
	return nil
}

// parseValidity reads --not-before and --expires.
func parseValidity(c *call, now time.Time) (notBefore, expires time.Time, err error) {
	begin := now
	notBefore = now.Add(-clockSkew)
	if text := c.text("not-before"); text != "" {
		if begin, err = parseWhen(text, now); err != nil {
			return notBefore, expires, usage("--not-before: %w", err)
		}
		notBefore = begin
	}
	if expires, err = parseWhen(c.text("expires"), begin); err != nil {
		return notBefore, expires, usage("--expires: %w", err)
	}
	if !expires.After(begin) {
		return notBefore, expires, usage(
			"--expires %s is before it begins to be valid", c.text("expires"))
	}
	return notBefore, expires, nil
}

// argCredential reads the credential that a command's argument gives.
func argCredential(c *call) (*identity.Credential, error) {
	text, err := c.oneArgument("CREDENTIAL")
	if err != nil {
		return nil, err
	}
	return readCredential(text, c.stdin)
}

func showCredential(c *call) error {
	credential, err := argCredential(c)
	if err != nil {
		return err
	}
	if c.yes("json") {
		return printJSON(c.stdout, credential)
	}
	say(c.stdout, "authority   %s\nsubject     %s", credential.Authority(), credential.Subject())
	attributes := credential.Attributes()
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		say(c.stdout, "attribute   %s=%s", key, attributes[key])
	}
	say(c.stdout, "not before  %s\nexpires     %s\nserial      %x\nsignature   %s",
		credential.NotBefore().Format(time.RFC3339), credential.Expires().Format(time.RFC3339),
		credential.Serial(), good(credential.VerifySignature()))
	return nil
}

func verifyCredential(c *call) error {
	believe := config.Trust{
		Authorities: c.list("authority"), Require: c.list("require"), Seen: c.text("seen"),
		DenyFiles: c.list("deny-file"),
	}
	if err := believe.Validate(); err != nil {
		return err
	}
	subject, err := identity.ParseIdentifier(c.text("for"))
	if c.text("for") != "" && err != nil {
		return usage("--for %q: %w", c.text("for"), err)
	}
	credential, err := argCredential(c)
	if err != nil {
		return err
	}
	if c.text("for") == "" {
		subject = credential.Subject()
	}
	err = daemon.CheckCredential(believe, credential, subject)
	var problem *daemon.Error
	if errors.As(err, &problem) && problem.Problem == daemon.NotBelieved {
		return invalid(err)
	}
	if err != nil {
		return err
	}
	say(c.stdout, "valid until %s", credential.Expires().Format(time.RFC3339))
	return nil
}
