package cli

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/shellword"
)

func identityCommand() *cli.Command {
	force := &cli.BoolFlag{
		Name: "force", Usage: "replace the identity that is in FILE, for good",
	}
	file := keyFlag("the key `FILE`, like the argument")
	asJSON := &cli.BoolFlag{Name: "json", Usage: "print more than the Identifier, as JSON"}
	full := &cli.BoolFlag{
		Name:  "full",
		Usage: "print the history too: a line for each key that the identity has had",
	}
	return &cli.Command{
		Name:  "identity",
		Usage: "make and show identities",
		Subcommands: []*cli.Command{
			{
				Name:      "create",
				Usage:     "make a new identity in FILE, and print its Identifier",
				ArgsUsage: "[FILE]",
				Flags:     []cli.Flag{file, force, asJSON},
				Action:    action(createIdentity),
			},
			{
				Name: "show",
				Usage: "print the Identifier of the identity in FILE, or of the user's own, which is " +
					"made on first use",
				ArgsUsage: "[FILE]",
				Flags:     []cli.Flag{file, full, asJSON},
				Action:    action(showIdentity),
			},
			{
				Name:      "rotate",
				Usage:     "give the identity in FILE a new key, and print its Identifier, which stays",
				ArgsUsage: "[FILE]",
				Description: "Whoever has met the identity with its new key refuses the old one. " +
					"Nodes that use FILE take up the\n" +
					"new key by themselves; copies of FILE on other machines have to be replaced.",
				Flags: []cli.Flag{file, full, asJSON, &listFlag{
					Name: "credential", TakesFile: true,
					Usage: "a `FILE` with a credential that is presented with this identity: the new key " +
						"has to fit beside all of them; repeatable",
				}},
				Action: action(rotateIdentity),
			},
		},
	}
}

// identityPath returns the file that a command names, as its argument or as other commands do
// with --identity, or the default one.
func identityPath(c *call) (string, error) {
	switch {
	case len(c.args) > 1:
		return "", usage("more than one FILE: %q and %q", c.args[0], c.args[1])
	case len(c.args) == 1 && c.given["identity"] > 0 && c.args[0] != c.text("identity"):
		return "", usage("more than one FILE: --identity %q and %q", c.text("identity"), c.args[0])
	case len(c.args) == 1:
		return c.args[0], nil
	case c.has("identity"):
		return c.text("identity"), nil
	}
	return identity.DefaultPath()
}

func createIdentity(c *call) error {
	path, err := identityPath(c)
	if err != nil {
		return err
	}
	id, err := identity.New(rand.Reader, time.Now())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := id.Save(path, c.yes("force")); errors.Is(err, fs.ErrExist) {
		return withHint(err,
			"--force replaces it, for good: whoever trusts it must be told of the new one")
	} else if err != nil {
		return err
	}
	return printIdentity(c.stdout, path, id, c.yes("full"), c.yes("json"))
}

// showIdentity prints who somebody is. The user's own identity is made if there is none yet, as by
// every other command that needs it: what is shown is what they will use. A file that is named has
// to be there, and so has the one that SP_IDENTITY names.
func showIdentity(c *call) error {
	path, err := identityPath(c)
	if err != nil {
		return err
	}
	var id *identity.Identity
	if len(c.args) == 0 && c.text("identity") == "" && identity.IsOwn(path) {
		var created bool
		if id, created, err = identity.LoadOrCreate(path); created {
			say(c.stderr, "sp: hint: there was none yet: it has been made, in %s", path)
		}
		hintAtRelay(c, path)
	} else {
		id, err = loadKey(path)
	}
	if err != nil {
		return err
	}
	return printIdentity(c.stdout, path, id, c.yes("full"), c.yes("json"))
}

// hintAtRelay says where the key of this user's relays is, if there are any: it is another one.
func hintAtRelay(c *call, own string) {
	relay := filepath.Join(filepath.Dir(own), "relay", filepath.Base(own))
	if _, err := os.Stat(relay); err == nil {
		say(c.stderr, "sp: hint: this user's relay has a key of its own: sp identity show %s",
			shellword.Quote(relay))
	}
}

func rotateIdentity(c *call) error {
	path, err := identityPath(c)
	if err != nil {
		return err
	}
	var credentials [][]byte
	for _, file := range c.list("credential") {
		credential, err := readCredential(file, c.stdin)
		if err != nil {
			return err
		}
		credentials = append(credentials, credential.Bytes())
	}
	id, err := identity.RotateFile(path, rand.Reader, time.Now(), func(id *identity.Identity) error {
		return daemon.CheckProof(id.History(), credentials)
	})
	if err != nil {
		return hintAtCreate(err, path)
	}
	say(c.stderr, "sp: hint: copies of %s on other machines are refused as soon as somebody has seen "+
		"the new key: copy the file there now", path)
	return printIdentity(c.stdout, path, id, c.yes("full"), c.yes("json"))
}

// printIdentity prints an identity's Identifier, and its history if full is set.
func printIdentity(w io.Writer, path string, id *identity.Identity, full, asJSON bool) error {
	if !asJSON {
		say(w, "%s", id.Identifier())
		if full {
			printHistory(w, id.History())
		}
		return nil
	}
	all := map[string]any{
		"identifier": id.Identifier(),
		"file":       path,
		"public_key": []byte(id.History().PublicKey()),
		"changes":    id.History().Len(),
	}
	if full {
		all["history"] = historyJSON(id.History())
	}
	return printJSON(w, all)
}

// printHistory prints a line for each key that an identity has had: when it came, the key, and
// the change's hash.
func printHistory(w io.Writer, h *identity.History) {
	for i, change := range h.Changes() {
		what := "rotated"
		if i == 0 {
			what = "created"
		}
		say(w, "%2d  %s  %s  key %x  change %x", i+1,
			change.Created.Format(time.RFC3339), what, []byte(change.PublicKey), change.Hash)
	}
}

func historyJSON(h *identity.History) []map[string]any {
	var all []map[string]any
	for _, change := range h.Changes() {
		all = append(all, map[string]any{
			"created":    change.Created,
			"public_key": []byte(change.PublicKey),
			"hash":       hex.EncodeToString(change.Hash[:]),
			"previous":   hex.EncodeToString(change.Previous[:]),
		})
	}
	return all
}
