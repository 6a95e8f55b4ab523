package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route/transport"
)

// serviceLine is the command line by which a service is started that has been given as words: a
// service begins in another folder, and in another environment, so each flag that is set is in it,
// with the paths as they are seen from folder. Whatever is wrong with it is said here, where
// somebody reads it.
func serviceLine(ctx context.Context, words []string, folder string) ([]string, error) {
	if len(words) == 0 || roleOf(words[0]) == nil && words[0] != upWord {
		return nil, usage("what is the service to be? -- and %s or %s, with its flags",
			strings.Join(roleKinds(), ", "), upWord)
	}
	c, err := parseCall(ctx, words)
	if err != nil {
		return nil, err
	}
	line, err := setFlags(c, folder)
	if err != nil {
		return nil, err
	}
	if role := roleOf(words[0]); role != nil {
		all := config.Config{Node: nodeConfig(c)}
		err := role.fill(c, &all)
		if err == nil && len(all.Inlets) > 0 {
			all.Inlets, _, err = severalInlets(all.Inlets[0])
		}
		if err != nil {
			return nil, inCommand(c.flags, err)
		}
		if err := all.Validate(); err != nil {
			return nil, inCommand(c.flags, err)
		}
		return append(words[:1:1], line...), checkSockets(all)
	}
	reader := &fileReader{folder: folder}
	path := reader.absolute(c.text("config"))
	if _, err := loadPortals(path, true); err != nil {
		return nil, err
	}
	if !c.flags.IsSet("config") {
		line = append(line, "--config", path)
	}
	return append(words[:1:1], line...), nil
}

// parseCall reads the words of a role's command line, and does nothing of what they say.
func parseCall(ctx context.Context, words []string) (parsed *call, err error) {
	app := newApp(Build{}, strings.NewReader(""), io.Discard, io.Discard)
	_, command := find(app.Commands, words[:1])
	command.Action = func(c *cli.Context) error {
		parsed = newCall(c)
		return inCommand(c, refuseStray(parsed, nil))
	}
	if err = runApp(ctx, app, append([]string{"sp"}, words...)); err == nil && parsed == nil {
		err = usage("help is no service") // and --version
	}
	return parsed, err
}

// setFlags are the flags of a call that are set, wherever that is said.
func setFlags(c *call, folder string) (line []string, err error) {
	reader := &fileReader{folder: folder}
	for _, f := range c.flags.Command.Flags {
		name := f.Names()[0]
		if !c.flags.IsSet(name) {
			continue
		}
		flag := spellFlag(name)
		switch f := f.(type) {
		case *cli.BoolFlag:
			if name == "background" && c.yes(name) {
				return nil, inCommand(c.flags, usage("%s: a service is in the background", flag))
			}
			line = append(line, fmt.Sprintf("%s=%v", flag, c.yes(name)))
		case *cli.StringFlag, *listFlag:
			isFile := name == "ticket"
			values := []string{c.text(name)}
			if list, ok := f.(*listFlag); ok {
				isFile, values = list.TakesFile, c.list(name)
			} else if one, ok := f.(*cli.StringFlag); ok {
				isFile = isFile || one.TakesFile
			}
			for _, text := range values {
				if err := forService(name, text); err != nil {
					return nil, inCommand(c.flags, err)
				}
				value, fault := reader.value(name, text, isFile)
				if fault != "" {
					return nil, inCommand(c.flags, usage("%s %s", flag, fault))
				}
				line = append(line, flag, value)
			}
		default:
			line = append(line, flag, fmt.Sprint(c.flags.Value(name)))
		}
	}
	return slices.Clip(line), nil
}

// forService tells why a flag's value means nothing to a service.
func forService(name, text string) error {
	if text == fromStdin || name == "to" && strings.HasPrefix(text, fromStdin) {
		return usage("--%s is -, and a service has no stdin and stdout", name)
	}
	if a, err := config.ParseListen(text); name == "listen" && err == nil && transport.IsHanded(a) {
		return usage("--%s %s: nobody hands sockets to a service of Windows", name, text)
	}
	return nil
}
