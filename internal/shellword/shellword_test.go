package shellword

import (
	"os/exec"
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"127.0.0.1:7000":           "127.0.0.1:7000",
		"db@relay.example.com:1":   "db@relay.example.com:1",
		"/unix/%2Frun%2Fa/service": "/unix/%2Frun%2Fa/service",
		"":                         "''",
		"unix:/a  b":               "'unix:/a  b'",
		"[::1]:7000":               "'[::1]:7000'",
		"a:1#I0":                   "'a:1#I0'",
		"it's":                     `'it'\''s'`,
	} {
		if got := Quote(word); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
	if got := Join("sp", "a b", "c"); got != "sp 'a b' c" {
		t.Errorf("got %s", got)
	}
}

// A shell reads back what was quoted, whatever it is.
func TestShellReadsItBack(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh here")
	}
	words := []string{"", "a  b", "'", `\`, `"$HOME"`, "`id`", "*", "~", "#x", "a\nb", "é", "[a]", "!"}
	script := "printf '%s\\0' " + Join(words...)
	out, err := exec.Command(shell, "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(got) != len(words) {
		t.Fatalf("got %q", got)
	}
	for i, word := range words {
		if got[i] != word {
			t.Errorf("%q is read back as %q", word, got[i])
		}
	}
}
