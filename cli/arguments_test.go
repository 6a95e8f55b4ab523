package cli

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestArrange puts flags before arguments, and values behind their flags.
func TestArrange(t *testing.T) {
	for line, want := range map[string]string{
		"send hello --to a:1":            "send --to a:1 hello",
		"send --to a:1 hello":            "send --to a:1 hello",
		"send --to=a:1 hello":            "send --to=a:1 hello",
		"send - --to a:1":                "send --to a:1 -- -",
		"send --to - x":                  "send --to - x",
		"send --to a:1 -- --to":          "send --to a:1 -- --to",
		"send x -- y":                    "send x y",
		"ping a:1 -c 3":                  "ping -c 3 a:1",
		"ping -c3 a:1":                   "ping -c 3 a:1",
		"ping a:1 --json-no-such":        "ping --json-no-such a:1",
		"identity show f --json":         "identity show --json f",
		"identity --json show":           "identity --json show",
		"inlet --no-wait --to a:1 x":     "inlet --no-wait --to a:1 --listen x",
		"inlet --keepalive -1s x":        "inlet --keepalive -1s --to x",
		"inlet x":                        "inlet --to x",
		"inlet :1":                       "inlet --listen :1",
		"inlet :1 x --mux-no-such":       "inlet --mux-no-such :1 x",
		"inlet :1 --no-wait x":           "inlet --no-wait --listen :1 --to x",
		"inlet - x":                      "inlet --listen - --to x",
		"inlet --listen=:1 x":            "inlet --listen=:1 --to x",
		"inlet :1 x y":                   "inlet :1 x y",
		"inlet --listen :1 --to x y":     "inlet --listen :1 --to x y",
		"outlet db@r:1 :2":               "outlet --relay r:1 --name db --target :2",
		"outlet :1 :2":                   "outlet --listen :1 --target :2",
		"outlet unix:a@b :2":             "outlet --listen unix:a@b --target :2",
		"outlet :1 --socks5":             "outlet --socks5 --listen :1",
		"outlet --relay r:1 :2":          "outlet --relay r:1 --target :2",
		"outlet --name to db@r:1 :2":     "outlet --name to --listen db@r:1 --target :2",
		"outlet :1":                      "outlet :1",
		"relay":                          "relay",
		"relay :1":                       "relay --listen :1",
		"bridge :1 b:2":                  "bridge --listen :1 --next b:2",
		"help":                           "--help",
		"help identity show":             "identity show --help",
		"help -h":                        "--help",
		"help help":                      "--help",
		"inlet help":                     "inlet --help",
		"identity help show":             "identity show --help",
		"identity show x --help":         "identity show --help",
		"send help":                      "send help", // it is the message
		"send --to a:1 help":             "send --to a:1 help",
		"version":                        "--version",
		"--version":                      "--version",
		"frobnicate x --y":               "frobnicate x --y",
		"":                               "",
		"outlet --mux --listen :1 stray": "outlet --mux --listen :1 --target stray",
	} {
		app := newApp(Build{}, nil, nil, nil)
		got, err := arrange(app, append([]string{"sp"}, strings.Fields(line)...))
		if err != nil || strings.Join(got[1:], " ") != want {
			t.Errorf("%s: got %q, %v, want %s", line, got, err, want)
		}
	}
	for line, says := range map[string]string{
		"inlet --listen --to a:1": "--listen stands without a value: behind it comes --to",
		"inlet --no-wait true":    "--no-wait has no value of its own",
		"--listen :1 inlet":       "stands before the command: sp inlet --listen",
	} {
		app := newApp(Build{}, nil, nil, nil)
		_, err := arrange(app, append([]string{"sp"}, strings.Fields(line)...))
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", line, err, says)
		}
	}
}

// TestArrangeLosesNothing has each word of a command line be in the arranged one, in any order of
// flags and arguments.
func TestArrangeLosesNothing(t *testing.T) {
	pieces := [][]string{
		{"--to", "a:1"}, {"--suite=x"}, {"hello"}, {"--allow-anyone"}, {"--timeout", "1s"}, {"world"},
	}
	want := slices.Sorted(slices.Values(slices.Concat(pieces...)))
	for range 50 {
		for i := range pieces { // in a random order
			j := (i*7 + len(pieces[i][0])) % (i + 1)
			pieces[i], pieces[j] = pieces[j], pieces[i]
		}
		line := append([]string{"sp", "send"}, slices.Concat(pieces...)...)
		got, err := arrange(newApp(Build{}, nil, nil, nil), line)
		if err != nil {
			t.Fatal(err)
		}
		if words := slices.Sorted(slices.Values(got[2:])); !slices.Equal(words, want) {
			t.Errorf("%q became %q", line, got)
		}
		i := slices.IndexFunc(got[2:], func(w string) bool { return w == "hello" || w == "world" })
		if i != len(want)-2 {
			t.Errorf("arguments are not the last of %q", got)
		}
	}
}

// TestNearest finds what somebody meant, and nothing where it is anybody's guess.
func TestNearest(t *testing.T) {
	names := []string{"inlet", "outlet", "listen", "listen-ready", "allow", "allow-file", "to"}
	for word, want := range map[string]string{
		"inelt": "inlet", "otlet": "outlet", "lisen": "listen", "listne": "listen", "allo": "allow",
		"allow_file": "allow-file", "ot": "to", "frobnicate": "", "x": "", "": "", "lis": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	for _, pair := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"inlet", "inlet", 0}} {
		if got := edits(pair.a, pair.b); got != pair.want || got != edits(pair.b, pair.a) {
			t.Errorf("%q and %q: got %d, want %d", pair.a, pair.b, got, pair.want)
		}
	}
}

// TestOneLine keeps spaces, which may be part of a name, and no line breaks.
func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"a  b": "a  b", "a\nb": "a b", "a\n\n\tb\n": "a b", " a": " a",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
