package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The flag parser takes flags only where they stand before all arguments. Nobody knows that who
// types sp send hello --to X: so the command line is put in that order first. Words that stand for
// a flag are read here too: sp help, sp help inlet, sp inlet help, sp version.

const (
	helpWord    = "help"
	versionWord = "version"
)

// arrange returns a command line with the flags of its command before the arguments. An error is
// of wrong usage.
func arrange(app *cli.App, args []string) ([]string, error) {
	if len(args) < 2 {
		return args, nil
	}
	words := args[1:]
	switch {
	case words[0] == helpWord && !isTopic(words[1:]):
		return helpOf(args[0], words[1:]), nil
	case words[0] == versionWord && len(words) == 1:
		return []string{args[0], "--version"}, nil
	}
	path, command := find(app.Commands, words)
	rest := words[len(path):]
	switch {
	case command == nil:
		return args, flagsFirst(app, words)
	case len(rest) > 0 && rest[0] == helpWord && !takesArguments(command):
		return helpOf(args[0], append(slices.Clone(path), rest[1:]...)), nil
	case asksForHelp(rest):
		return helpOf(args[0], path), nil
	case len(command.Subcommands) > 0:
		return args, nil
	}
	rest, err := flagsBeforeArguments(command, rest)
	if u, ok := errors.AsType[*usageError](err); ok {
		u.command = commandName(path)
	}
	return append(append(args[:1:1], path...), rest...), err
}

// helpOf is the command line that asks for the help of a command.
func helpOf(program string, path []string) []string {
	path = slices.DeleteFunc(slices.Clone(path), func(word string) bool {
		return word == helpWord || strings.HasPrefix(word, "-")
	})
	return append(append([]string{program}, path...), "--help")
}

// asksForHelp tells whether the first of some words, or the last before a --, is the flag for help.
// Elsewhere it may be a value.
func asksForHelp(words []string) bool {
	if i := slices.Index(words, "--"); i >= 0 {
		words = words[:i]
	}
	if len(words) == 0 {
		return false
	}
	help := []string{"-h", "-help", "--help"}
	return slices.Contains(help, words[0]) || slices.Contains(help, words[len(words)-1])
}

// find returns the command that words begin with, and the words that name it.
func find(commands []*cli.Command, words []string) (path []string, command *cli.Command) {
	for _, word := range words {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(word) })
		if i < 0 {
			break
		}
		command = commands[i]
		path, commands = append(path, word), command.Subcommands
	}
	return path, command
}

func commandName(path []string) string { return strings.Join(append([]string{"sp"}, path...), " ") }

// takesArguments tells whether a command takes arguments that are no flags.
func takesArguments(c *cli.Command) bool { return c.ArgsUsage != "" }

// takesCommand tells whether the arguments of a command are another program's command line.
func takesCommand(c *cli.Command) bool { return strings.HasPrefix(c.ArgsUsage, "-- ") }

// flagsFirst tells who has begun with a flag of a command that it goes behind that.
func flagsFirst(app *cli.App, words []string) error {
	name, isFlag := flagName(words[0])
	if !isFlag || slices.Contains([]string{"h", "help", "v", "version"}, name) {
		return nil
	}
	for i := range words[1:] {
		if path, command := find(app.Commands, words[1+i:]); command != nil {
			flag := spellFlag(name)
			err := fmt.Errorf("%s stands before the command: %s %s …", flag, commandName(path), flag)
			return &usageError{err: err, command: commandName(nil)}
		}
	}
	return nil
}

// flagName returns the name of a flag in a word that is one.
func flagName(word string) (name string, isFlag bool) {
	name, isFlag = strings.CutPrefix(word, "-")
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
	return name, isFlag && name != ""
}

// flagsBeforeArguments sorts what stands behind a command's name. A value stays behind its flag.
func flagsBeforeArguments(c *cli.Command, words []string) ([]string, error) {
	var flags, arguments []string
	strange := false // there is a flag that is none: the parser says so
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if word == "--" {
			arguments = append(arguments, words...)
			break
		}
		name, isFlag := flagName(word)
		strange = strange || isFlag && flagOf(c, name) == nil
		if !isFlag && isRunPortal(c, word, words) {
			flags = append(flags, "--to", word)
			continue
		}
		if !isFlag && takesCommand(c) && !strange {
			return nil, usageWithHint(firstUsage(c),
				"-- is missing before %q: where does the command begin?", word)
		}
		if !isFlag {
			arguments = append(arguments, word)
			continue
		}
		if letter, value, ok := attached(c, word); ok {
			flags = append(flags, letter, value)
			continue
		}
		flags = append(flags, word)
		if err := refuseWordOfBool(c, word, words); err != nil {
			return nil, err
		}
		if strings.Contains(word, "=") || !takesValue(flagOf(c, name)) || len(words) == 0 {
			continue
		}
		if next, isFlag := flagName(words[0]); isFlag && flagOf(c, next) != nil {
			return nil, usage("--%s stands without a value: behind it comes %s", name, words[0])
		}
		flags = append(flags, words[0])
		words = words[1:]
	}
	if !strange {
		var more []string
		more, arguments = asFlags(c, flags, arguments)
		flags = append(flags, more...)
	}
	if slices.ContainsFunc(arguments, func(a string) bool { return strings.HasPrefix(a, "-") }) {
		flags = append(flags, "--")
	}
	return append(flags, arguments...), nil
}

// isRunPortal tells whether a word is NAME=ROUTE, as sp run takes it in front of a command as well:
// sp run db=ROUTE -- COMMAND.
func isRunPortal(c *cli.Command, word string, behind []string) bool {
	return c.Name == runWord && strings.Contains(word, "=") && slices.Contains(behind, "--")
}

// attached takes -c1 apart, where -c is a flag that takes a value and -c1 none.
func attached(c *cli.Command, word string) (letter, value string, ok bool) {
	const least = len("-c1")
	if len(word) < least || word[1] == '-' || strings.Contains(word, "=") {
		return "", "", false
	}
	letter, value = word[:2], word[2:]
	return letter, value, flagOf(c, word[1:]) == nil && takesValue(flagOf(c, letter[1:]))
}

// refuseWordOfBool tells who writes --mux true that such a flag has no value.
func refuseWordOfBool(c *cli.Command, word string, rest []string) error {
	name, _ := flagName(word)
	_, isBool := flagOf(c, name).(*cli.BoolFlag)
	if !isBool || strings.Contains(word, "=") || len(rest) == 0 {
		return nil
	}
	if rest[0] != "true" && rest[0] != "false" {
		return nil
	}
	return usage("--%s has no value of its own: --%s=%s, or leave out the %[3]s", name, name, rest[0])
}

// flagOf returns a command's flag of a name, or nil.
func flagOf(c *cli.Command, name string) cli.Flag {
	for _, f := range c.Flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	_, isBool := f.(*cli.BoolFlag)
	return f != nil && !isBool
}
