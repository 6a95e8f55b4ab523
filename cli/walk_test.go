package cli

import (
	"slices"
	"testing"
)

// TestNamesOfAFlag has a flag say the same by each of its names, and the command line win.
func TestNamesOfAFlag(t *testing.T) {
	for _, words := range [][]string{
		{"sp", "ping", "-c", "7", "h:1"}, {"sp", "ping", "h:1", "--count=7"}, {"sp", "ping", "h:1"},
	} {
		if len(words) == 3 {
			t.Setenv("SP_COUNT", "7")
		}
		err := parseWith(t, words, func(c *call) error {
			if c.count("c") != 7 && len(words) > 3 || c.count("count") != 7 {
				t.Errorf("%q: %d and %d", words, c.count("c"), c.count("count"))
			}
			return nil
		})
		if err != nil {
			t.Errorf("%q: %v", words, err)
		}
	}
	err := parseWith(t, []string{"sp", "ping", "-c", "7", "--count", "8", "h:1"}, nil)
	if err == nil || err.Error() != "--count is given 2 times, and takes one value" {
		t.Errorf("given twice: %v", err)
	}
}

// TestListsOfFlags has the environment say a value a line, and the command line win.
func TestListsOfFlags(t *testing.T) {
	for _, c := range []struct {
		words []string
		want  []string
	}{
		{nil, []string{"a:1", "b:2,c:3"}},
		{[]string{"--to", "d:4", "--to", "e:5,f:6\n g:7 "}, []string{"d:4", "e:5,f:6", "g:7"}},
		{[]string{"--to="}, []string{""}},
	} {
		t.Setenv("SP_TO", " a:1\n\nb:2,c:3\n")
		err := parseWith(t, append([]string{"sp", "inlet"}, c.words...), func(call *call) error {
			if got := call.list("to"); !slices.Equal(got, c.want) {
				t.Errorf("%q: %q", c.words, got)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%q: %v", c.words, err)
		}
	}
}
