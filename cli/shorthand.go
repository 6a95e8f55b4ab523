package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The arguments of a role stand for the flags that it cannot do without, in the order of a
// connection's way:
//
//	sp inlet [WHERE] ROUTE                --listen WHERE --to ROUTE
//	sp outlet WHERE TARGET                --listen WHERE --target TARGET
//	sp outlet NAME@RELAY TARGET           --relay RELAY --name NAME --target TARGET
//	sp relay WHERE                        --listen WHERE
//	sp bridge WHERE HOP                   --listen WHERE --next HOP
//	sp up FILE                            --config FILE
//
// A flag that is given has no argument.

// roleArguments are the flags that arguments of a role stand for.
var roleArguments = map[string][]string{
	"inlet":  {"listen", "to"},
	"outlet": {"listen", "target"},
	"relay":  {"listen"},
	"bridge": {"listen", "next"},
	upWord:   {"config"},
}

// asFlags are the flags that the arguments of a command stand for, in place of these. flags are
// those that are given. What there is too much of stays, and is refused as a stray word.
func asFlags(c *cli.Command, flags, arguments []string) (more, rest []string) {
	stands := slices.DeleteFunc(slices.Clone(roleArguments[c.Name]), func(name string) bool {
		return isGiven(c, flags, name) || name == "listen" && isGiven(c, flags, "relay") ||
			name == "target" && (isGiven(c, flags, "sni") || isGiven(c, flags, "socks5"))
	})
	if c.Name == "inlet" && len(stands) == 2 && len(arguments) == 1 {
		if strings.HasPrefix(arguments[0], ":") { // no route is without a host
			return []string{"--listen", arguments[0]}, nil
		}
		stands = stands[1:] // it may listen anywhere
	}
	if len(arguments) != len(stands) {
		return nil, arguments
	}
	for i, name := range stands {
		value := arguments[i]
		if claimed, relay, ok := strings.Cut(value, "@"); ok && c.Name == "outlet" &&
			name == "listen" && isName(claimed) && !isGiven(c, flags, "name") {
			more = append(more, "--relay", relay, "--name", claimed)
			continue
		}
		more = append(more, spellFlag(name), value)
	}
	return more, nil
}

// isName tells whether what stands before an @ is a name that an outlet claims, and no address.
func isName(text string) bool { return text != "" && !strings.ContainsAny(text, ":/") }

// isGiven tells whether a flag is among words in which values stand behind their flags.
func isGiven(c *cli.Command, words []string, name string) bool {
	for i := 0; i < len(words); i++ {
		flag, isFlag := flagName(words[i])
		f := flagOf(c, flag)
		if !isFlag || f == nil {
			continue
		}
		if slices.Contains(f.Names(), name) {
			return true
		}
		if takesValue(f) && !strings.Contains(words[i], "=") {
			i++
		}
	}
	return false
}
