package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// maxLines is how long a function may be.
const maxLines = 70

// TestFunctions keeps functions short enough to be seen whole. The tables of tests do not count:
// those are read line by line.
func TestFunctions(t *testing.T) {
	for _, pkg := range packages(t) {
		files, err := filepath.Glob(filepath.Join(pkg.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			measure(t, file)
		}
	}
}

// measure fails the test for functions of a file that are too long.
func measure(t *testing.T, file string) {
	t.Helper()
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	lines := func(n ast.Node) int {
		return set.Position(n.End()).Line - set.Position(n.Pos()).Line + 1
	}
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		long := lines(f)
		if strings.HasSuffix(file, "_test.go") {
			long -= tables(f, lines)
		}
		if long > maxLines {
			t.Errorf("%s:%d %s has %d lines", file, set.Position(f.Pos()).Line, f.Name.Name, long)
		}
	}
}

// tables counts the lines between the braces of a function's composite literals.
func tables(f *ast.FuncDecl, lines func(ast.Node) int) (all int) {
	ast.Inspect(f, func(n ast.Node) bool {
		table, ok := n.(*ast.CompositeLit)
		if ok {
			all += max(lines(table)-2, 0)
		}
		return !ok
	})
	return all
}
