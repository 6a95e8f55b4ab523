package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// shells are those for which there is a completion, and what makes it.
var shells = map[string]func(io.Writer, []commandWords){
	"bash": bashCompletion, "fish": fishCompletion, "zsh": zshCompletion,
}

const (
	bashShell = "bash"
	shellsFor = "bash, zsh or fish"
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print what has a shell complete commands, flags and files",
		UsageText: "sp completion bash|zsh|fish",
		ArgsUsage: "SHELL",
		Description: "bash: source <(sp completion bash), or into " +
			"~/.local/share/bash-completion/completions/sp\n" +
			"zsh: into a file _sp in a folder of $fpath\n" +
			"fish: into ~/.config/fish/completions/sp.fish",
		Action: action(func(c *call) error {
			shell, err := c.oneArgument("SHELL")
			if err != nil {
				return err
			}
			write := shells[shell]
			if write == nil {
				return usage("%q is not %s", shell, shellsFor)
			}
			write(c.stdout, wordsOf(c.flags.App.Commands))
			return nil
		}),
	}
}

// commandWords is a command, as a shell completes it.
type commandWords struct {
	path  []string // the words behind sp
	usage string
	subs  []commandWords // of a group
	flags []flagWords
	args  []string // the words that its arguments may be
	files bool     // they may be files
	runs  bool     // they are another program's command line
}

// flagWords is a flag, as a shell completes it.
type flagWords struct {
	names  []string // with their dashes
	usage  string
	value  string   // what it is called; empty if there is none
	file   bool     // it is one
	words  []string // that it may be
	repeat bool
}

// valueWords are the words that the values of some flags may be.
var valueWords = map[string][]string{
	"log-format":      {"people", "text", "json"},
	"log-level":       {"debug", "info", "warn", "error"},
	"log-connections": {"all", "failed", "none"},
	"proxy-protocol":  {"v2"},
	"check":           {"tcp"},
	"proxy":           {"none"},
}

// wordsOf is what a shell completes, by the commands themselves.
func wordsOf(all []*cli.Command) []commandWords { return wordsBelow(nil, all) }

func wordsBelow(path []string, all []*cli.Command) (words []commandWords) {
	for _, c := range all {
		if c.Hidden {
			continue
		}
		w := commandWords{path: append(slices.Clone(path), c.Name), usage: c.Usage}
		w.subs = wordsBelow(w.path, c.Subcommands)
		w.args, w.files = argumentsOf(c)
		w.runs = takesCommand(c)
		if c.Name == helpWord {
			for _, other := range all {
				w.args = append(w.args, other.Name)
			}
		}
		for _, f := range c.Flags {
			w.flags = append(w.flags, flagWordsOf(f))
		}
		words = append(words, w)
	}
	return words
}

// argumentsOf says what the arguments of a command may be.
func argumentsOf(c *cli.Command) (words []string, files bool) {
	switch c.Name {
	case helpWord:
		return topicNames(), false
	case "completion":
		return []string{bashShell, "fish", "zsh"}, false
	}
	return nil, strings.Contains(c.ArgsUsage, "FILE")
}

func flagWordsOf(f cli.Flag) flagWords {
	doc := f.(cli.DocGenerationFlag)
	w := flagWords{usage: strings.ReplaceAll(doc.GetUsage(), "`", "")}
	for _, name := range f.Names() {
		w.names = append(w.names, spellFlag(name))
	}
	w.words = valueWords[f.Names()[0]]
	if takesValue(f) {
		w.value = valueName(doc.GetUsage())
	}
	switch f := f.(type) {
	case *cli.StringFlag:
		w.file = f.TakesFile
	case *listFlag:
		w.file, w.repeat = f.TakesFile, true
	}
	return w
}

// valueName is what a usage calls the value: the word in backticks.
func valueName(usage string) string {
	if parts := strings.Split(usage, "`"); len(parts) > 2 {
		return parts[1]
	}
	return "VALUE"
}

// leaves are the commands that do something.
func leaves(all []commandWords) (some []commandWords) {
	for _, c := range all {
		if len(c.subs) > 0 {
			some = append(some, leaves(c.subs)...)
		} else {
			some = append(some, c)
		}
	}
	return some
}

// namesIn are the last words of commands.
func namesIn(all []commandWords) (names []string) {
	for _, c := range all {
		names = append(names, c.path[len(c.path)-1])
	}
	return names
}

// bashCompletion writes a function for bash, as old as 3.2.
func bashCompletion(w io.Writer, all []commandWords) {
	fmt.Fprint(w, `# bash completion of sp: source it, or put it where bash looks for that of sp.
_sp() {
	local IFS=$'\n' path flags= files= values= words= runs= i
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	COMPREPLY=()
	if [ "$cur" = = ]; then
		cur=
	elif [ "$prev" = = ]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	if [ "$COMP_CWORD" -eq 1 ]; then
`)
	fmt.Fprintf(w, "\t\tCOMPREPLY=($(IFS=' ' compgen -W '%s' -- \"$cur\"))\n\t\treturn\n\tfi\n",
		strings.Join(append(namesIn(all), "--help", "--version"), " "))
	fmt.Fprint(w, "\tpath=${COMP_WORDS[1]}\n\tcase $path in\n")
	for _, c := range all {
		if len(c.subs) > 0 {
			fmt.Fprintf(w, "\t%s)\n\t\tif [ \"$COMP_CWORD\" -eq 2 ]; then\n"+
				"\t\t\tCOMPREPLY=($(IFS=' ' compgen -W '%s' -- \"$cur\"))\n\t\t\treturn\n\t\tfi\n"+
				"\t\tpath=\"$path ${COMP_WORDS[2]}\" ;;\n",
				c.path[0], strings.Join(namesIn(c.subs), " "))
		}
	}
	fmt.Fprint(w, "\tesac\n\tcase $path in\n")
	for _, c := range leaves(all) {
		bashCase(w, c)
	}
	fmt.Fprint(w, bashRest)
}

// bashCase says what a command takes.
func bashCase(w io.Writer, c commandWords) {
	var flags, files, values []string
	for _, f := range c.flags {
		flags = append(flags, f.names...)
		switch {
		case f.file:
			files = append(files, f.names...)
		case f.value != "":
			values = append(values, f.names...)
		}
	}
	fmt.Fprintf(w, "\t'%s')\n\t\tflags=' %s --help '\n\t\tfiles=' %s '\n\t\tvalues=' %s '\n",
		strings.Join(c.path, " "), strings.Join(flags, " "), strings.Join(files, " "),
		strings.Join(values, " "))
	if len(c.args) > 0 {
		fmt.Fprintf(w, "\t\twords='%s'\n", strings.Join(c.args, " "))
	}
	if c.files {
		fmt.Fprint(w, "\t\truns=file\n")
	}
	if c.runs {
		fmt.Fprint(w, "\t\truns=command\n")
	}
	fmt.Fprint(w, "\t\tcase $prev in\n")
	for _, f := range c.flags {
		if len(f.words) > 0 {
			fmt.Fprintf(w, "\t\t%s) words='%s' ;;\n", strings.Join(f.names, "|"),
				strings.Join(f.words, " "))
		}
	}
	fmt.Fprint(w, "\t\tesac ;;\n")
}

// bashRest is how what is known of a command is used.
const bashRest = `	esac
	if [ "$runs" = command ]; then
		for ((i = 2; i < COMP_CWORD; i++)); do
			if [ "${COMP_WORDS[i]}" = -- ]; then
				compopt -o filenames 2>/dev/null
				COMPREPLY=($(compgen -c -f -- "$cur"))
				return
			fi
		done
	fi
	case $files in *" $prev "*)
		compopt -o filenames 2>/dev/null
		COMPREPLY=($(compgen -f -- "$cur"))
		return ;;
	esac
	case $values in *" $prev "*)
		COMPREPLY=($(IFS=' ' compgen -W "$words" -- "$cur"))
		return ;;
	esac
	case $cur in
	-*)
		COMPREPLY=($(IFS=' ' compgen -W "$flags" -- "$cur")) ;;
	*)
		if [ "$runs" = file ]; then
			compopt -o filenames 2>/dev/null
			COMPREPLY=($(compgen -f -- "$cur"))
		else
			COMPREPLY=($(IFS=' ' compgen -W "$words" -- "$cur"))
		fi ;;
	esac
}
complete -F _sp sp
`
