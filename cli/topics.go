package cli

import (
	"embed"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// topicTexts are what sp help TOPIC prints. docs/guide.md says the same, which is tested.
//
//go:embed topics/*.txt
var topicTexts embed.FS

// topics are what there is help on besides commands, and what it is on.
var topics = []struct{ name, about string }{
	{"routes", "where to go: all forms of a route"},
	{"trust", "who is trusted, and what to say for that"},
	{"exit-codes", "what the exit code says"},
}

// topicNames are the words for them.
func topicNames() (names []string) {
	for _, t := range topics {
		names = append(names, t.name)
	}
	return names
}

// isTopic tells whether the words behind help name a topic.
func isTopic(words []string) bool {
	return len(words) == 1 && slices.Contains(topicNames(), words[0])
}

func topicText(name string) string {
	text, err := topicTexts.ReadFile("topics/" + name + ".txt")
	if err != nil {
		panic(err) // it is not in topics, or its file is not there
	}
	return string(text)
}

// helpCommand is what the word help stands for where a topic follows. With a command behind it, it
// is read before anything else: see arrange.
func helpCommand() *cli.Command {
	var all []string
	for _, t := range topics {
		all = append(all, t.name+": "+t.about)
	}
	return &cli.Command{
		Name:        helpWord,
		Usage:       "show the help of a command, or of a topic: " + strings.Join(topicNames(), ", "),
		ArgsUsage:   "[COMMAND|TOPIC]",
		Description: strings.Join(all, "\n"),
		Action: action(func(c *call) error {
			topic, err := c.oneArgument("TOPIC")
			if err == nil && !isTopic([]string{topic}) {
				err = usage("no help on %q: the topics are %s", topic, strings.Join(topicNames(), ", "))
			}
			if err != nil {
				return err
			}
			_, err = c.stdout.Write([]byte(topicText(topic)))
			return err
		}),
	}
}
