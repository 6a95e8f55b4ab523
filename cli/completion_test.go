package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/internal/testenv"
)

// TestBashCompletion asks bash itself what the word at the end of a command line may be.
func TestBashCompletion(t *testing.T) {
	bash := testenv.NeedTool(t, "bash")
	folder := t.TempDir()
	for _, name := range []string{"friends list", "friend.key", "other"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, completion, _ := run("completion", "bash")
	for _, test := range []struct {
		words []string // with the one that is completed
		want  []string
		not   string
	}{
		{[]string{"sp", "in"}, []string{"inlet"}, "outlet"},
		{[]string{"sp", "identity", ""}, []string{"create", "show", "rotate"}, "inlet"},
		{[]string{"sp", "identity", "show", "--f"}, []string{"--full"}, "--force"},
		{[]string{"sp", "identity", "show", "oth"}, []string{"other"}, "friend.key"},
		{[]string{"sp", "inlet", "--lis"}, []string{"--listen", "--listen-when-ready"}, "--to"},
		{
			[]string{"sp", "inlet", "--allow-file", "friend"},
			[]string{"friends list", "friend.key"},
			"other",
		},
		{[]string{"sp", "inlet", "--allow-file", "=", "oth"}, []string{"other"}, "friend.key"},
		{[]string{"sp", "inlet", "--to", ""}, nil, "other"},
		{[]string{"sp", "inlet", "--log-level", "d"}, []string{"debug"}, "info"},
		{[]string{"sp", "inlet", "--log-level", "=", "w"}, []string{"warn"}, "info"},
		{[]string{"sp", "ping", "-"}, []string{"-c", "--count", "--help"}, "--listen"},
		{[]string{"sp", "completion", ""}, []string{"bash", "fish", "zsh"}, "inlet"},
		{[]string{"sp", "help", "ro"}, []string{"route", "routes"}, "trust"},
		{[]string{"sp", "run", "--to", "a=b:1", "--", "oth"}, []string{"other"}, "--to"},
		{[]string{"sp", "nothing", "x"}, nil, "inlet"},
	} {
		var script strings.Builder
		script.WriteString(completion + "COMP_WORDS=(")
		for _, word := range test.words {
			fmt.Fprintf(&script, " '%s'", word)
		}
		fmt.Fprintf(&script, ")\nCOMP_CWORD=%d\n_sp\nprintf '%%s\\n' \"${COMPREPLY[@]}\"\n",
			len(test.words)-1)
		cmd := exec.Command(bash, "--norc", "-u")
		cmd.Dir, cmd.Stdin = folder, strings.NewReader(script.String())
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || stderr.Len() > 0 {
			t.Fatalf("%q: %v\n%s", test.words, err, stderr.String())
		}
		got := strings.Split(strings.TrimSpace(string(out)), "\n")
		for _, want := range test.want {
			if !slices.Contains(got, want) {
				t.Errorf("%q: %q is not in %q", test.words, want, got)
			}
		}
		if slices.Contains(got, test.not) {
			t.Errorf("%q: %q is in %q", test.words, test.not, got)
		}
	}
}

// TestOtherCompletions has the other shells read what is for them, and complete by it.
func TestOtherCompletions(t *testing.T) {
	for shell, how := range map[string]struct {
		args []string
		ask  string
	}{
		"fish": {
			[]string{"--no-config"},
			"\ncomplete -C 'sp identity sh'\ncomplete -C 'sp inlet --log-level de'\n",
		},
		"zsh": {
			[]string{"-f"}, "\nfunctions _sp >/dev/null && print show debug",
		},
	} {
		t.Run(shell, func(t *testing.T) {
			program := testenv.NeedTool(t, shell)
			_, completion, _ := run("completion", shell)
			if shell == "zsh" {
				completion = "compdef() { print show }\n" + completion
			}
			file := filepath.Join(t.TempDir(), "completion")
			if err := os.WriteFile(file, []byte(completion+how.ask), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(program, append(how.args, file)...)
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
			out, err := cmd.CombinedOutput()
			for _, want := range []string{"show", "debug"} {
				if err != nil || !strings.Contains(string(out), want) {
					t.Errorf("%v, %q is not in\n%s", err, want, out)
				}
			}
		})
	}
}

// TestManualPages has groff and mandoc find nothing wrong with any page, and each flag be there.
func TestManualPages(t *testing.T) {
	folder := t.TempDir()
	if code, _, stderr := run("man", "--dir", folder); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	pages, _ := filepath.Glob(filepath.Join(folder, "*.1"))
	app, want := newApp(Build{}, nil, nil, nil), 1
	eachCommand(app.Commands, nil, func([]string, *cli.Command) { want++ })
	if len(pages) < want {
		t.Errorf("there are %d pages for %d commands", len(pages), want)
	}
	eachCommand(app.Commands, nil, func(path []string, c *cli.Command) {
		text := contents(t, filepath.Join(folder, pageName(path)+".1"))
		for _, f := range c.Flags {
			if !strings.Contains(text, bold("--"+f.Names()[0])) {
				t.Errorf("sp-%s(1) has no --%s", strings.Join(path, "-"), f.Names()[0])
			}
		}
	})
	for tool, args := range map[string][]string{
		"groff":  {"-ww", "-man", "-Tutf8", "-z"},
		"mandoc": {"-T", "lint", "-W", "warning"},
	} {
		t.Run(tool, func(t *testing.T) {
			out, _ := exec.Command(testenv.NeedTool(t, tool), append(args, pages...)...).CombinedOutput()
			for line := range strings.Lines(string(out)) {
				if !strings.Contains(line, "missing date") { // nothing in it depends on the day
					t.Error(line)
				}
			}
		})
	}
}
