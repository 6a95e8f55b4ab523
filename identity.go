package main

import (
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/identity"
)

func identityCommand() *cli.Command {
	asJSON := &cli.BoolFlag{Name: "json", Usage: "print more than the Identifier, as JSON"}
	return &cli.Command{
		Name:  "identity",
		Usage: "make and show identities",
		Subcommands: []*cli.Command{
			{
				Name:      "create",
				Usage:     "make a new identity in FILE, and print its Identifier",
				ArgsUsage: "[FILE]",
				Flags:     []cli.Flag{&cli.BoolFlag{Name: "force", Usage: "replace the identity that is in FILE, for good"}, asJSON},
				Action:    createIdentity,
			},
			{
				Name:      "show",
				Usage:     "print the Identifier of the identity in FILE",
				ArgsUsage: "[FILE]",
				Flags:     []cli.Flag{asJSON},
				Action:    showIdentity,
			},
		},
	}
}

// identityPath returns the file that a command names, or the default one.
func identityPath(c *cli.Context) (string, error) {
	switch c.NArg() {
	case 0:
		return identity.DefaultPath()
	case 1:
		return c.Args().First(), nil
	}
	return "", usage(c, "more than one FILE")
}

func createIdentity(c *cli.Context) error {
	path, err := identityPath(c)
	if err != nil {
		return err
	}
	id, err := identity.New(rand.Reader, time.Now())
	if err != nil {
		return err
	}
	if err := id.Save(path, c.Bool("force")); err != nil {
		return err
	}
	return printIdentity(c, path, id)
}

func showIdentity(c *cli.Context) error {
	path, err := identityPath(c)
	if err != nil {
		return err
	}
	id, err := identity.Load(path)
	if err != nil {
		return err
	}
	return printIdentity(c, path, id)
}

func printIdentity(c *cli.Context, path string, id *identity.Identity) error {
	if !c.Bool("json") {
		say(c, "%s", id.Identifier())
		return nil
	}
	encoder := json.NewEncoder(c.App.Writer)
	encoder.SetIndent("", "  ")
	return encoder.Encode(map[string]any{
		"identifier": id.Identifier(),
		"file":       path,
		"public_key": []byte(id.History().PublicKey()),
		"changes":    id.History().Len(),
	})
}
