package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
)

// run runs a command line, and returns its exit code and what it printed.
func run(args ...string) (code int, stdout, stderr string) {
	var out, errOut bytes.Buffer
	code = Main(Build{}, append([]string{"sp"}, args...), strings.NewReader(""), &out, &errOut)
	return code, out.String(), errOut.String()
}

// eachCommand calls do with every command that does something, and what it is called.
func eachCommand(commands []*cli.Command, before []string, do func([]string, *cli.Command)) {
	for _, c := range commands {
		path := append(slices.Clone(before), c.Name)
		if len(c.Subcommands) == 0 {
			do(path, c)
		}
		eachCommand(c.Subcommands, path, do)
	}
}

// TestEachFlagHasAVariable walks all flags of all commands: each can be given in the environment
// and its help says so, or it is on the list of those that cannot, and says why.
func TestEachFlagHasAVariable(t *testing.T) {
	app := newApp(Build{}, nil, nil, nil)
	unused := make(map[string]bool)
	for name := range withoutVariable {
		unused[name] = true
	}
	eachCommand(app.Commands, nil, func(path []string, c *cli.Command) {
		_, help, _ := run(append(path, "--help")...)
		for _, f := range c.Flags {
			name := f.Names()[0]
			variables := f.(cli.DocGenerationFlag).GetEnvVars()
			if _, ok := withoutVariable[name]; ok {
				delete(unused, name)
				if len(variables) > 0 {
					t.Errorf("%v --%s is a secret, and is read from %v", path, name, variables)
				}
				continue
			}
			want := "SP_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
			if !slices.Equal(variables, []string{want}) {
				t.Errorf("%v --%s is read from %v, want %s", path, name, variables, want)
			}
			if !strings.Contains(help, "[$"+want+"]") {
				t.Errorf("the help of %v does not show %s", path, want)
			}
		}
	})
	for name := range unused {
		t.Errorf("no command has the flag --%s", name)
	}
}

// TestFieldsAreFlags has what a configuration calls a field be a flag of its command.
func TestFieldsAreFlags(t *testing.T) {
	app := newApp(Build{}, nil, nil, nil)
	names := make(map[string][]string)
	for _, c := range app.Commands {
		for _, f := range c.Flags {
			names[c.Name] = append(names[c.Name], f.Names()...)
		}
	}
	node := []string{
		"identity", "credential", "suite", "connect-timeout", "keepalive", "drain",
		"allow", "allow-file", "allow-anyone", "authority", "require", "deny", "deny-file", "seen",
		"max-connections", "max-per-identity", "max-per-source", "max-sessions",
		"max-unauthenticated", "handshake-rate", "memory", "listen", "no-wait",
	}
	entrance := []string{"relay", "name", "relay-identity", "mux"}
	for command, fields := range map[string][]string{
		"inlet":  slices.Concat(node, []string{"to", "ticket"}),
		"outlet": slices.Concat(node, entrance, []string{"target", "proxy-protocol"}),
		"relay":  slices.Concat(node, entrance, []string{"max-names", "max-names-per-identity"}),
		"bridge": slices.Concat(node, entrance, []string{"next"}),
	} {
		for _, field := range fields {
			if !slices.Contains(names[command], field) {
				t.Errorf("sp %s has no flag for the field %s", command, field)
			}
		}
	}
	if slices.Contains(names["relay"], "max-opening") {
		t.Error("--max-opening is --max-unauthenticated now")
	}
}

// filled is the configuration that the flags of an outlet fill.
func filled(t *testing.T, args ...string) (n config.Node, e config.Entrance, err error) {
	t.Helper()
	args = append([]string{"sp", "outlet"}, args...)
	app := newApp(Build{}, strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer))
	for _, c := range app.Commands {
		if c.Name == "outlet" {
			c.Action = action(func(c *call) error {
				n, e = nodeConfig(c), entranceConfig(c)
				return nil
			})
		}
	}
	return n, e, runApp(t.Context(), app, args)
}

// TestFlagsFill has nothing set mean nothing, and what is set arrive.
func TestFlagsFill(t *testing.T) {
	n, e, err := filled(t)
	if err != nil || n.Limits != (config.Limits{}) || e.Listen != "" || e.Relays != nil {
		t.Errorf("got %+v, %+v, %v", n, e, err)
	}
	if n.Drain != config.DefaultDrain || n.Keepalive != config.DefaultKeepalive {
		t.Errorf("got %+v", n)
	}
	n, e, err = filled(t, "--max-unauthenticated", "7", "--drain", "0s", "--allow", "a",
		"--allow", "b,c", "--mux", "--relay", "r:1", "--name", "db")
	switch {
	case err != nil:
		t.Error(err)
	case n.Limits != (config.Limits{Unauthenticated: 7}), n.Drain != config.NoDrain,
		!slices.Equal(n.Trust.Allow, []string{"a", "b,c"}):
		t.Errorf("got %+v", n)
	case !e.Mux || e.Name != "db" || !slices.Equal(e.Relays, []string{"r:1"}):
		t.Errorf("got %+v", e)
	}
}

// TestEnvironment has variables stand for flags of each type.
func TestEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"SP_LISTEN": "127.0.0.1:1", "SP_MAX_PER_SOURCE": "7", "SP_DRAIN": "3s", "SP_MUX": "true",
	} {
		t.Setenv(name, value)
	}
	n, e, err := filled(t)
	if err != nil || e.Listen != "127.0.0.1:1" || n.Limits.PerSource != 7 ||
		n.Drain != 3*time.Second || !e.Mux {
		t.Errorf("got %+v, %+v, %v", n, e, err)
	}
}

// TestEnvironmentLists has a variable give several values, one a line.
func TestEnvironmentLists(t *testing.T) {
	for value, want := range map[string][]string{
		"":                            nil,
		"\n":                          nil,
		"role=db":                     {"role=db"},
		"role=db admin, of\nsite=a b": {"role=db admin, of", "site=a b"},
		"\n  role=db  \n\nsite=a\n":   {"role=db", "site=a"},
	} {
		t.Setenv("SP_REQUIRE", value)
		n, _, err := filled(t)
		if err != nil || !slices.Equal(n.Trust.Require, want) {
			t.Errorf("%q: got %q, %v", value, n.Trust.Require, err)
		}
	}
}

// TestCommandLineWins has the environment give way, and not be taken for a duplicate.
func TestCommandLineWins(t *testing.T) {
	for name, value := range map[string]string{
		"SP_LISTEN": "127.0.0.1:1", "SP_MAX_PER_SOURCE": "7", "SP_DRAIN": "3s",
		"SP_ALLOW": "a\nb", "SP_MUX": "true",
	} {
		t.Setenv(name, value)
	}
	n, e, err := filled(t, "--listen", "127.0.0.1:2", "--max-per-source", "8", "--drain=4s",
		"--allow", "c", "--mux=false")
	if err != nil || e.Listen != "127.0.0.1:2" || n.Limits.PerSource != 8 ||
		n.Drain != 4*time.Second || !slices.Equal(n.Trust.Allow, []string{"c"}) || e.Mux {
		t.Errorf("got %+v, %+v, %v", n, e, err)
	}
	if _, _, err := filled(t, "--name", "a", "--name", "b"); err == nil ||
		!strings.Contains(err.Error(), "--name is given 2 times") {
		t.Errorf("given twice: %v", err)
	}
}

// TestEmptyValues tells a mistake on the command line from a variable that is set to nothing.
func TestEmptyValues(t *testing.T) {
	code, _, stderr := run("outlet", "--listen", ":0", "--target", ":1", "--deny", "")
	if code != 2 || !strings.Contains(stderr, `--deny ""`) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for _, name := range []string{"SP_TO", "SP_MAX_PER_SOURCE", "SP_KEEPALIVE", "SP_NO_WAIT"} {
		t.Setenv(name, "")
	}
	code, _, stderr = run("inlet", "--listen", "127.0.0.1:0")
	if code != 2 || !strings.Contains(stderr, "neither --to nor --ticket") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestBadVariable says which variable is wrong.
func TestBadVariable(t *testing.T) {
	t.Setenv("SP_MAX_PER_SOURCE", "many")
	code, _, stderr := run("relay", "--listen", "127.0.0.1:0")
	if code != 2 || !strings.Contains(stderr, "SP_MAX_PER_SOURCE") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	t.Setenv("SP_MAX_PER_SOURCE", "0")
	code, _, stderr = run("relay", "--listen", "127.0.0.1:0")
	if code != 2 || !strings.Contains(stderr, "--max-per-source 0 lets nothing through") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestTicketIsNotInTheEnvironment keeps a secret from where others can read it.
func TestTicketIsNotInTheEnvironment(t *testing.T) {
	t.Setenv("SP_TICKET", "sp-ticket-1:AAAA")
	code, _, stderr := run("inlet", "--listen", "127.0.0.1:0")
	if code != 2 || !strings.Contains(stderr, "neither --to nor --ticket") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestErrorsSpeakOfFlags has an error of a field say which flag that is, and whose help helps.
func TestErrorsSpeakOfFlags(t *testing.T) {
	code, _, stderr := run("outlet", "--target", ":1", "--relay", "a:1")
	want := "sp: --relay stands without --name\nsp: hint: see sp outlet --help\n"
	if code != 2 || stderr != want {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestRunVariables has no flag be read from a variable that sp run may give its command: an sp in
// that would take an address for it.
func TestRunVariables(t *testing.T) {
	app := newApp(Build{}, nil, nil, nil)
	var words words
	words.addAddress(config.Named{Name: "x"}, "127.0.0.1:1")
	words.add(config.Named{Name: "x"}, "route", "r")
	eachCommand(app.Commands, nil, func(path []string, c *cli.Command) {
		for _, f := range c.Flags {
			for _, v := range words.variables {
				name, _, _ := strings.Cut(strings.TrimPrefix(v, "SP_X"), "=")
				if strings.HasSuffix(variable(f.Names()[0]), name) {
					t.Errorf("%v --%s is read from a variable that ends in %s", path, f.Names()[0], name)
				}
			}
		}
	})
}

// TestRunWords has what stands for an address be replaced, and other braces be left alone.
func TestRunWords(t *testing.T) {
	var words words
	words.addAddress(config.Named{Name: "my-db"}, "127.0.0.1:5432")
	words.addAddress(config.Named{Name: "s"}, "unix:/run/{my-db}")
	got := words.replaceAll([]string{
		"{my-db}", "a{my-db.port}b{my-db.host}", "{}", "{my_db}", "{my-db", "{{my-db}}",
		"{s}", "{s.port}",
	})
	want := []string{
		"127.0.0.1:5432", "a5432b127.0.0.1", "{}", "{my_db}", "{my-db", "{127.0.0.1:5432}",
		"unix:/run/{my-db}", "{s.port}",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	environment := words.addTo([]string{"SP_MY_DB_PORT=1", "SP_MY_DB_PORTS=2"})
	want = []string{
		"SP_MY_DB_PORTS=2", "SP_MY_DB_ADDR=127.0.0.1:5432", "SP_MY_DB_HOST=127.0.0.1",
		"SP_MY_DB_PORT=5432", "SP_S_ADDR=unix:/run/{my-db}",
	}
	if !slices.Equal(environment, want) {
		t.Errorf("got %q", environment)
	}
}
