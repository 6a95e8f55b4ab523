package cli

import (
	"fmt"
	"io"
	"strings"
)

// fishCompletion writes the commands by which fish knows what to complete.
func fishCompletion(w io.Writer, all []commandWords) {
	fmt.Fprint(w, "# fish completion of sp\ncomplete -c sp -f\n")
	for _, c := range all {
		fmt.Fprintf(w, "complete -c sp -n __fish_use_subcommand -a %s -d %s\n", c.path[0],
			fishQuote(c.usage))
		for _, sub := range c.subs {
			fmt.Fprintf(w, "complete -c sp -n %s -a %s -d %s\n",
				fishQuote("__fish_seen_subcommand_from "+c.path[0]+"; and not "+
					"__fish_seen_subcommand_from "+strings.Join(namesIn(c.subs), " ")),
				sub.path[1], fishQuote(sub.usage))
		}
	}
	for _, c := range leaves(all) {
		var seen []string
		for _, word := range c.path {
			seen = append(seen, "__fish_seen_subcommand_from "+word)
		}
		when := fishQuote(strings.Join(seen, "; and "))
		if len(c.args) > 0 {
			fmt.Fprintf(w, "complete -c sp -n %s -a '%s'\n", when, strings.Join(c.args, " "))
		}
		if c.files || c.runs {
			fmt.Fprintf(w, "complete -c sp -n %s -F\n", when)
		}
		for _, f := range c.flags {
			fmt.Fprintf(w, "complete -c sp -n %s%s -d %s\n", when, fishFlag(f), fishQuote(f.usage))
		}
	}
}

// fishFlag is what fish is told of a flag.
func fishFlag(f flagWords) string {
	var b strings.Builder
	for _, name := range f.names {
		if long, ok := strings.CutPrefix(name, "--"); ok {
			b.WriteString(" -l " + long)
		} else {
			b.WriteString(" -s " + name[1:])
		}
	}
	switch {
	case f.file:
		b.WriteString(" -r -F")
	case len(f.words) > 0:
		b.WriteString(" -x -a '" + strings.Join(f.words, " ") + "'")
	case f.value != "":
		b.WriteString(" -x")
	}
	return b.String()
}

func fishQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// zshCompletion writes a function for zsh, for a file of $fpath or to be sourced.
func zshCompletion(w io.Writer, all []commandWords) {
	fmt.Fprint(w, "#compdef sp\n# zsh completion of sp\n_sp() {\n\tlocal -a commands\n")
	zshCommands(w, all, 2, "\t")
	for _, c := range all {
		if len(c.subs) == 0 {
			continue
		}
		fmt.Fprintf(w, "\tif [[ $words[2] == %s ]]; then\n", c.path[0])
		zshCommands(w, c.subs, 3, "\t\t")
		fmt.Fprint(w, "\tfi\n")
	}
	fmt.Fprint(w, "\tlocal path_of=$words[2]\n\tshift words\n\t(( CURRENT-- ))\n\tcase $path_of in\n")
	for _, c := range all {
		if len(c.subs) > 0 {
			fmt.Fprintf(w, "\t%s)\n\t\tpath_of=\"$path_of $words[2]\"\n"+
				"\t\tshift words\n\t\t(( CURRENT-- )) ;;\n", c.path[0])
		}
	}
	fmt.Fprint(w, "\tesac\n\tcase $path_of in\n")
	for _, c := range leaves(all) {
		fmt.Fprintf(w, "\t'%s')\n\t\t_arguments -S", strings.Join(c.path, " "))
		for _, f := range c.flags {
			for _, name := range f.names {
				fmt.Fprintf(w, " \\\n\t\t\t%s", zshQuote(zshFlag(name, f)))
			}
		}
		switch {
		case len(c.args) > 0:
			fmt.Fprintf(w, " \\\n\t\t\t'*:word:(%s)'", strings.Join(c.args, " "))
		case c.files:
			fmt.Fprint(w, " \\\n\t\t\t'*:file:_files'")
		case c.runs:
			fmt.Fprint(w, " \\\n\t\t\t'*::command:_normal'")
		}
		fmt.Fprint(w, " ;;\n")
	}
	fmt.Fprint(w, "\tesac\n}\nif [[ $funcstack[1] == _sp ]]; then\n\t_sp \"$@\"\nelse\n"+
		"\tcompdef _sp sp\nfi\n")
}

// zshCommands completes the word at a place with the names of commands.
func zshCommands(w io.Writer, all []commandWords, place int, indent string) {
	fmt.Fprintf(w, "%sif (( CURRENT == %d )); then\n%s\tcommands=(\n", indent, place, indent)
	for _, c := range all {
		text := c.path[len(c.path)-1] + ":" + strings.ReplaceAll(c.usage, ":", `\:`)
		fmt.Fprintf(w, "%s\t\t%s\n", indent, zshQuote(text))
	}
	fmt.Fprintf(w, "%s\t)\n%s\t_describe command commands\n%s\treturn\n%sfi\n",
		indent, indent, indent, indent)
}

// zshFlag is what _arguments is told of a flag.
func zshFlag(name string, f flagWords) string {
	escape := strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`)
	text := "[" + escape.Replace(f.usage) + "]"
	if f.repeat {
		name = "*" + name
	}
	switch {
	case f.file:
		return name + text + ":" + escape.Replace(f.value) + ":_files"
	case len(f.words) > 0:
		return name + text + ":" + escape.Replace(f.value) + ":(" + strings.Join(f.words, " ") + ")"
	case f.value != "":
		return name + text + ":" + escape.Replace(f.value) + ": "
	}
	return name + text
}

func zshQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
