package trust

import (
	"maps"
	"strings"
	"testing"

	"github.com/secureportal/sp/identity"
)

func TestListFile(t *testing.T) {
	a, b := newIdentity(t, "a").Identifier(), newIdentity(t, "b").Identifier()
	got, err := parseList(
		"# head\r\n\r\n \t\n  " + a.String() + "\r\n" + b.String() + "\tsome # comment\n" +
			a.String() + " again\n#" + a.String(),
	)
	if err != nil || !maps.Equal(got, map[identity.Identifier]int{a: 4, b: 5}) {
		t.Errorf("%v, %v", got, err)
	}
	for text, want := range map[string]string{
		"x":                                "line 1",
		"\n\n" + a.String() + "#x":         "line 3: identifier has 67 characters",
		a.String() + "," + b.String():      "line 1: identifier has 131 characters",
		a.String() + "\n" + a.String()[1:]: "line 2: identifier has 64 characters",
		"# \xff":                           "line 1: not text",
		"# \x00":                           "line 1: not text",
		"#" + strings.Repeat("x", 1024):    "line 1: line has 1025 bytes",
		"\ufeff" + a.String():              "line 1: identifier has",
	} {
		_, err := parseList(text)
		wantErr(t, err, nil, want)
	}
	big := writeTemp(t, "big", strings.Repeat("#\n", MaxListFile/2)+"\n")
	_, err = NewPolicy(Config{AllowFiles: []string{big}})
	wantErr(t, err, nil, "at most 4194304")
}
