package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// otherWords are what other programs call a command.
var otherWords = map[string]string{
	"client": "inlet", "connect": "inlet", "forward": "inlet",
	"server": "outlet", "serve": "outlet", "expose": "outlet",
	"proxy": "relay", "hub": "relay", "gateway": "bridge",
	"keygen": "identity create", "key": "identity", "id": "identity", "whoami": "identity show",
	"traceroute": "trace", "cert": "credential", "invite": "ticket create", "token": "ticket",
}

// meantCommand returns the command that somebody may have meant by a word behind the names of
// group, or "".
func meantCommand(all, group []*cli.Command, word string) string {
	var paths []string
	for _, c := range all {
		if slices.Contains(namesOf(c.Subcommands), word) {
			paths = append(paths, "sp "+c.Name+" "+word)
		}
	}
	if slices.Contains(namesOf(all), word) {
		paths = append(paths, "sp "+word)
	}
	if len(paths) == 0 && otherWords[word] != "" {
		paths = append(paths, "sp "+otherWords[word])
	}
	if near := nearest(word, namesOf(group)); len(paths) == 0 && near != "" {
		return near
	}
	return strings.Join(paths, " or ")
}

func namesOf(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
	}
	return names
}

// meantFlag returns what somebody may have meant by a flag that a command has not got: another one
// of its flags, or whose flag it is. Both may be empty.
func meantFlag(app *cli.App, c *cli.Command, name string) (flag, of string) {
	for _, f := range c.Flags { // the most important come first
		if full := f.Names()[0]; len(name) == 1 && full[:1] == name {
			return "--" + full, ""
		}
	}
	var names []string
	for _, f := range c.Flags {
		names = append(names, f.Names()[0])
	}
	if near := nearest(name, names); near != "" {
		return "--" + near, ""
	}
	var owners []string
	for _, other := range app.Commands {
		for _, leaf := range append([]*cli.Command{other}, other.Subcommands...) {
			if leaf != c && flagOf(leaf, name) != nil {
				path := "sp " + other.Name
				if leaf != other {
					path += " " + leaf.Name
				}
				owners = append(owners, path)
			}
		}
	}
	return "", strings.Join(owners, ", ")
}

// nearest returns the one of some names that a word is a slip of the pen of, or the beginning of,
// or "".
func nearest(word string, names []string) string {
	best, least := "", max(len(word)/3, 1)+1
	for _, name := range names {
		if d := edits(word, name); d < least || d == least && best == "" && d <= 2 && len(word) > 3 {
			best, least = name, d
		}
	}
	if best != "" {
		return best
	}
	for _, name := range names {
		if len(word) > 1 && strings.HasPrefix(name, word) {
			if best != "" {
				return ""
			}
			best = name
		}
	}
	return best
}

// edits counts what it takes to make one word of another: letters put in, left out, replaced, or
// swapped with the next.
func edits(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows[0], rows[1], rows[2] = above, row, before
	}
	return rows[1][len(b)]
}
