//go:build unix

package test

import (
	"bytes"
	"os"
	"testing"
)

// TestNoLookup has nothing in the program look methods up by their names, as text/template and
// html/template do: the linker would then keep each exported method of whatever is behind an
// interface, which made the program a fifth larger. That is said by the names of functions, which
// each program has.
func TestNoLookup(t *testing.T) {
	program, err := os.ReadFile(executable(t))
	if err != nil {
		t.Fatal(err)
	}
	has := func(function string) bool {
		return bytes.Contains(program, []byte("\x00"+function+"\x00"))
	}
	if !has("main.main") {
		t.Fatal("the names of functions are not where they are looked for")
	}
	for _, function := range []string{"reflect.Value.MethodByName", "reflect.(*rtype).MethodByName"} {
		if has(function) {
			t.Errorf("%s is in the program: go build -ldflags=-dumpdep says whence", function)
		}
	}
}
