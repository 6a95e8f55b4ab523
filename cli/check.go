package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/cli/keyfile"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/textfile"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "tell all that is wrong with a file for sp up, and what it would change",
		ArgsUsage: "[FILE]",
		Description: "A file with something wrong in it is exit code 2. If an sp up of this user runs " +
			"that file, or the one\nthat --against names, it is asked what the file as it is now would " +
			"change; if it would refuse\nthat, the exit code is 1. Nothing is changed.",
		Flags: []cli.Flag{
			againstFlag("ask this sp up what would change, whatever file it runs"),
		},
		Action: action(runCheck),
	}
}

func againstFlag(usage string) cli.Flag {
	return &cli.StringFlag{
		Name: "against", Usage: usage + ": a `PROCESS` by its number, or the path of its socket",
		DefaultText: "the one that runs the file",
	}
}

func runCheck(c *call) error {
	path := defaultFile
	if len(c.args) > 0 {
		var err error
		if path, err = c.oneArgument("FILE"); err != nil {
			return err
		}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	file, err := loadPortals(path, true)
	if err != nil {
		return err
	}
	say(c.stdout, "%s: nothing is wrong with its %s", path, file.summary())
	p, err := findUp(c.ctx, c.text("against"), path)
	if errors.Is(err, errNoUp) && c.text("against") == "" {
		return nil
	}
	if err != nil {
		return err
	}
	var change upChange
	if err := p.Call(c.ctx, checkCommandName, upCheck{path, file.text}, &change); err != nil {
		return fmt.Errorf("%v: %w", p, err)
	}
	return change.say(c.stdout, p)
}

// say prints what would change in a process, and returns why that would refuse it.
func (a upChange) say(w io.Writer, p upProcess) error {
	for _, part := range []struct {
		what  string
		names []string
	}{{"new", a.New}, {"changed", a.Changed}, {"gone", a.Gone}} {
		for _, name := range part.names {
			say(w, "%-7s  %s", part.what, name)
		}
	}
	if a.Refused != "" {
		err := fmt.Errorf("%v would refuse it, and go on as it is: %s", p, a.Refused)
		if a.Hint != "" {
			return withHint(err, "%s", a.Hint)
		}
		return err
	}
	if len(a.New)+len(a.Changed)+len(a.Gone) == 0 {
		say(w, "%v runs it as it is", p)
	}
	return nil
}

// summary counts a file's portals.
func (f *portalFile) summary() string {
	var all []string
	for _, role := range portalRoles {
		n := 0
		for _, p := range f.portals {
			if p.role == role {
				n++
			}
		}
		switch {
		case n == 1:
			all = append(all, "1 "+role.kind)
		case n > 1:
			all = append(all, fmt.Sprintf("%d %ss", n, role.kind))
		}
	}
	return strings.Join(all, ", ")
}

// checkFiles looks for what is wrong with the files that a file names. It makes none.
func (r *fileReader) checkFiles(f *portalFile) {
	if path := f.metrics().TokenFile; path != "" {
		if err := daemon.CheckTokenFile(path); err != nil {
			k := f.keys["metrics-token-file"]
			r.fault(keyfile.Faultf(k.Line(), "%s: %s", k.Name, asKeys(err)), err)
		}
	}
	for i := range f.portals {
		p := &f.portals[i]
		for name, err := range daemon.CheckFiles(p.config) {
			r.keyFault(p, p.keys[name], p.lineOf(name), fmt.Errorf("%s: %w", name, err))
		}
		for name, check := range map[string]func(path string) error{
			"allow-file": checkList, "deny-file": checkList, "credential": checkCredentialFile,
			"identity": checkKeyFile,
		} {
			k := p.keys[name]
			for _, text := range listOf(k) {
				path, _ := r.value(name, text, true)
				if path == "" {
					continue
				}
				if err := check(path); err != nil {
					r.keyFault(p, k, r.text.LineOf(k, text), fmt.Errorf("%s: %w", name, err))
				}
			}
		}
		for _, path := range friendsOf(p.config) {
			if err := checkList(path); err != nil {
				r.fault(keyfile.Faultf(p.table.Line(), "friends: %s", err), err)
			}
		}
	}
}

// friendsOf returns the file of the friends that a node trusts, if there is one.
func friendsOf(c config.Config) []string {
	if !c.TrustsFriends() {
		return nil
	}
	path, err := identity.FriendsPath()
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return nil
	}
	return []string{path}
}

func checkList(path string) error {
	_, err := trust.NewPolicy(trust.Config{
		AllowFiles: []string{path}, Known: trust.NewKnownHistories(),
	})
	return err
}

func checkCredentialFile(path string) error {
	text, err := textfile.Read(path)
	if err == nil {
		_, err = identity.ParseCredentialText(text)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// checkKeyFile looks at a key file, which may not be there yet; its folder is.
func checkKeyFile(path string) error {
	if _, err := os.Stat(path); err == nil {
		_, err = identity.Load(path)
		return err
	}
	info, err := os.Stat(filepath.Dir(path))
	switch {
	case err != nil:
		return fmt.Errorf("%s: its folder is not there: make it first", path)
	case !info.IsDir():
		return fmt.Errorf("%s: %s is no folder", path, filepath.Dir(path))
	}
	return nil
}

// report prints each fault on a line, and what to do where that is not the same as before.
func (e *fileError) report(w io.Writer) {
	var said []string
	for i, line := range e.lines() {
		fmt.Fprintf(w, "sp: %s\n", line)
		if hint := oneLine(e.faults[i].hint); hint != "" && !slices.Contains(said, hint) {
			fmt.Fprintf(w, "sp: hint: %s\n", hint)
			said = append(said, hint)
		}
	}
}
