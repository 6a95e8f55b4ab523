package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
)

// trustFlags say whom a node trusts, and what it shows to be trusted.
func trustFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{
			Name: "allow", Category: whoCategory,
			Usage: "trust the far end with this `IDENTIFIER`; repeatable; if nobody is named, only this side's own",
		},
		&cli.StringSliceFlag{
			Name: "allow-file", Category: whoCategory, TakesFile: true,
			Usage: "trust the identities in `FILE`, one a line; repeatable; read again when it changes or on SIGHUP",
		},
		&cli.BoolFlag{Name: "allow-anyone", Category: whoCategory, Usage: "trust whoever is at the far end"},
		&cli.StringSliceFlag{
			Name: "authority", Category: whoCategory,
			Usage: "trust whoever shows a credential that this `IDENTIFIER` has issued; repeatable",
		},
		&cli.StringSliceFlag{
			Name: "require", Category: whoCategory,
			Usage: "the credential must have this attribute, `KEY=VALUE`; repeatable: all of them",
		},
		&cli.StringSliceFlag{
			Name: "deny", Category: whoCategory,
			Usage: "do not trust this `IDENTIFIER`, whatever else is said; repeatable",
		},
		&cli.StringSliceFlag{
			Name: "deny-file", Category: whoCategory, TakesFile: true,
			Usage: "do not trust the identities in `FILE`; repeatable; read again like --allow-file",
		},
		&cli.StringSliceFlag{
			Name: "credential", Category: whoCategory, TakesFile: true,
			Usage: "show the credential in `FILE`; repeatable; read again when it changes or on SIGHUP",
		},
		&cli.StringFlag{
			Name: "seen", Category: whoCategory, TakesFile: true,
			Usage: "`FILE` that remembers who has rotated keys", DefaultText: "seen in the user's state, under sp",
		},
	}
}

// trustConfig returns the policy that the flags ask for, except for Self.
func trustConfig(c *cli.Context, logger *slog.Logger) (config trust.Config, err error) {
	config = trust.Config{
		AllowAnyone: c.Bool("allow-anyone"),
		AllowFiles:  c.StringSlice("allow-file"), DenyFiles: c.StringSlice("deny-file"),
	}
	for flag, ids := range map[string]*[]identity.Identifier{
		"allow": &config.Allow, "deny": &config.Deny, "authority": &config.Authorities,
	} {
		if *ids, err = parseIdentifiers(c, flag); err != nil {
			return config, err
		}
	}
	if config.Require, err = parseAttributes(c, "require"); err != nil {
		return config, err
	}
	if len(config.Require) > 0 && len(config.Authorities) == 0 {
		return config, usage(c, "--require stands without --authority: nobody is named whose word counts")
	}
	config.Known, err = openSeen(c.String("seen"), logger)
	return config, err
}

// newPolicy makes a policy, and says what to do if a file of it is not there.
func newPolicy(config trust.Config) (*trust.Policy, error) {
	p, err := trust.NewPolicy(config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(err, "create the file first; it may be empty")
	}
	return p, err
}

// openSeen opens the file at path, or the default one. Where there is no place for that the memory is the process's own.
func openSeen(path string, logger *slog.Logger) (*trust.KnownHistories, error) {
	if path == "" {
		var err error
		if path, err = trust.DefaultKnownHistoriesPath(); err != nil {
			logger.Warn("who has rotated keys is forgotten when this process ends: name a file with --seen", "error", err)
			return trust.NewKnownHistories(), nil
		}
	}
	return trust.OpenKnownHistories(path)
}

// seeSelf remembers one's own rotations, so that a key that was given up does not open one's own doors. If it is this
// side that has such a key, others decide what that is worth.
func seeSelf(seen *trust.KnownHistories, self *identity.Identity, logger *slog.Logger) error {
	err := seen.Observe(self.History())
	switch {
	case err == nil:
	case errors.Is(err, trust.ErrOlderHistory), errors.Is(err, trust.ErrForkedHistory):
		logger.Warn("this side's key was given up: take the identity file from where it was rotated")
	default:
		return withHint(fmt.Errorf("this side's own rotation: %w", err), "name another file with --seen")
	}
	return nil
}

func parseIdentifiers(c *cli.Context, flag string) ([]identity.Identifier, error) {
	var all []identity.Identifier
	for _, text := range c.StringSlice(flag) {
		id, err := identity.ParseIdentifier(text)
		if err != nil {
			return nil, usage(c, "--%s %q: %w", flag, text, err)
		}
		all = append(all, id)
	}
	return all, nil
}

// parseAttributes reads a repeatable flag of key=value.
func parseAttributes(c *cli.Context, flag string) (map[string]string, error) {
	all := make(map[string]string)
	for _, text := range c.StringSlice(flag) {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usage(c, "--%s %q is not KEY=VALUE", flag, text)
		}
		if before, twice := all[key]; twice && before != value {
			return nil, usage(c, "--%s %s is given twice, as %q and %q", flag, key, before, value)
		}
		all[key] = value
		if err := identity.CheckAttribute(key, value); err != nil {
			return nil, usage(c, "--%s %q: %w", flag, text, err)
		}
	}
	return all, nil
}

// relayNameAttribute bounds the names that the bearer of a credential may claim on a relay.
const relayNameAttribute = "relay-name"

// mayClaim tells whether whoever is trusted by d may claim a name on this relay.
func mayClaim(d trust.Decision, name string) error {
	if bound, ok := d.Attributes[relayNameAttribute]; ok && bound != name {
		return fmt.Errorf("its credential is for the name %q", bound)
	}
	return nil
}
