package keyfile

import (
	"fmt"
	"strings"
	"testing"
)

// TestParse reads tables, keys and lines, whichever way TOML has them be written.
func TestParse(t *testing.T) {
	f, faults := Parse(`drain = "1s"
many = [] # none

[outlet.db]
target = "a"

relay = [
  "x:1",
  'y:2',
]
mux = true
[inlet."a b"]
inlet.x.n = 3
[relay.later]
outlet.dotted.mux = false
`)
	if faults != nil {
		t.Fatal(faults)
	}
	var got []string
	for _, k := range f.Top {
		got = append(got, fmt.Sprintf("%d %s=%v", k.Line(), k.Name, k.Value))
	}
	for _, table := range f.Tables {
		got = append(got, fmt.Sprintf("%d [%s|%s]", table.Line(), table.Kind, table.Name))
		for _, k := range table.Keys {
			got = append(got, fmt.Sprintf("%d %s=%v", k.Line(), k.Name, k.Value))
		}
	}
	want := `1 drain=1s
2 many=[]
4 [outlet|db]
5 target=a
7 relay=[x:1 y:2]
11 mux=true
12 [inlet|a b]
1 inlet=map[x:map[n:3]]
14 [relay|later]
1 outlet=map[dotted:map[mux:false]]`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	relay := f.Tables[0].Keys[1]
	for value, line := range map[string]int{"x:1": 8, "y:2": 9, "z:3": 7} {
		if got := f.LineOf(relay, value); got != line {
			t.Errorf("%s is on line %d, want %d", value, got, line)
		}
	}
}

// TestParseDotted has a table without a line of its own stand where its first key does.
func TestParseDotted(t *testing.T) {
	f, faults := Parse("\noutlet.db.target = \"a\"\noutlet.db.mux = true\n")
	if faults != nil || len(f.Tables) != 1 || f.Tables[0].Line() != 2 || len(f.Tables[0].Keys) != 2 {
		t.Errorf("got %+v, %v", f, faults)
	}
}

// TestParseFaults says where a text is not what it should be.
func TestParseFaults(t *testing.T) {
	for text, want := range map[string]string{
		"a = \n":                   "1: expected value",
		"a = 1\n\na = 2\n":         "3: a is there twice",
		"[outlet.a]\n[outlet.a]\n": "2: outlet.a is there twice",
		"[outlet]\nmux = true\n":   "2: [outlet] stands without a name: [outlet.NAME]",
		"x = 1\n[outlet]\n":        "2: [outlet] stands without a name: [outlet.NAME]",
		"\n\nfoo":                  "3: ",
		"\x00":                     "1: ",
		"a = \"\xff\"":             "1: ",
	} {
		_, faults := Parse(text)
		if len(faults) != 1 {
			t.Errorf("%q: got %v", text, faults)
			continue
		}
		if got := fmt.Sprintf("%d: %s", faults[0].Line, faults[0].Text); !strings.HasPrefix(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if _, faults := Parse(strings.Repeat("#", MaxSize+1)); len(faults) != 1 {
		t.Errorf("a file that is too long: %v", faults)
	}
}

// FuzzParse ends, whatever the text is, and names lines that there are.
func FuzzParse(f *testing.F) {
	f.Add("a = 1\n[outlet.db]\ntarget = [\"x\", 'y']\n")
	f.Add("outlet.db.mux = true\n[[bridge]]\nz = 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, faults := Parse(text)
		most := strings.Count(text, "\n") + 1
		for _, fault := range faults {
			if fault.Line < 1 || fault.Line > most {
				t.Errorf("line %d of %d", fault.Line, most)
			}
		}
		if file == nil {
			return
		}
		for _, table := range file.Tables {
			for _, k := range table.Keys {
				k.Line()
				for _, value := range []string{"", "x"} {
					file.LineOf(k, value)
				}
			}
		}
	})
}
