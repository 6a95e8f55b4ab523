// Package packaging_test holds what others build sp by to what is in this repository.
package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func text(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// first is what a pattern's only group has matched first.
func first(t *testing.T, pattern, where string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(where)
	if found == nil {
		t.Fatalf("there is no %s", pattern)
	}
	return found[1]
}

// released is the newest version that the changelog has, or empty.
func released(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^## \[([0-9][^]]*)\]`).FindStringSubmatch(
		text(t, "../CHANGELOG.md"))
	if found == nil {
		return ""
	}
	return found[1]
}

// TestVersions has all recipes be of the release that the changelog has, and of the same Go.
func TestVersions(t *testing.T) {
	golang := first(t, `(?m)^go (\S+)$`, text(t, "../go.mod"))
	image := text(t, "Dockerfile")
	if !strings.Contains(image, "FROM golang:"+golang+" AS build\n") ||
		!strings.Contains(image, "\nFROM scratch\n") {
		t.Errorf("the image is not built by Go %s from nothing", golang)
	}
	formula, nix := text(t, "homebrew/sp.rb"), text(t, "nix/package.nix")
	version := released(t)
	if version == "" {
		if strings.Contains(formula, "\n  url ") ||
			first(t, `version = "([^"]*)"`, nix) != "0-unreleased" {
			t.Error("a recipe is of a release, and there is none")
		}
		return
	}
	if !strings.Contains(formula, `tag: "v`+version+`"`) {
		t.Errorf("homebrew/sp.rb is not of v%s", version)
	}
	if in := first(t, `version = "([^"]*)"`, nix); in != version {
		t.Errorf("nix/package.nix is of %s, and not of %s", in, version)
	}
}

// TestRecipesSayTheSame has all of them know who this is, under which license, and where.
func TestRecipesSayTheSame(t *testing.T) {
	made := text(t, "../goreleaser.yaml")
	home := first(t, `homepage: (\S+)`, made)
	if module := "https://" + first(t, `(?m)^module (\S+)$`, text(t, "../go.mod")); home != module {
		t.Errorf("the home page is %s, and the module %s", home, module)
	}
	what := first(t, `description: \|\n +secure (.+)\n`, made)
	for path, license := range map[string]string{
		"homebrew/sp.rb":  `license "Apache-2.0"`,
		"nix/package.nix": "licenses.asl20",
	} {
		recipe := text(t, path)
		for _, field := range []string{home, license, "Secure " + what} {
			if !strings.Contains(recipe, field) {
				t.Errorf("%s has no %s", path, field)
			}
		}
	}
	if !regexp.MustCompile(`^\s+Apache License\s+Version 2\.0`).MatchString(text(t, "../LICENSE")) {
		t.Error("LICENSE is another one")
	}
}

// TestRecipesStampVariables has what a recipe sets by the linker be there to be set.
func TestRecipesStampVariables(t *testing.T) {
	program := text(t, "../main.go")
	for _, path := range []string{"homebrew/sp.rb", "nix/package.nix", "../goreleaser.yaml"} {
		stamps := regexp.MustCompile(`-X main\.(\w+)=`).FindAllStringSubmatch(text(t, path), -1)
		if len(stamps) == 0 {
			t.Errorf("%s stamps nothing", path)
		}
		for _, stamp := range stamps {
			if !regexp.MustCompile(`var [^\n]*\b` + stamp[1] + `\b[^\n]* string`).MatchString(program) {
				t.Errorf("%s sets main.%s, which there is not", path, stamp[1])
			}
		}
	}
}

// TestRecipesTakeWhatIsThere has each path of the repository that a recipe names exist.
func TestRecipesTakeWhatIsThere(t *testing.T) {
	named := regexp.MustCompile(`\b(?:packaging|docs)/[\w*./-]*[\w*/]`)
	for _, path := range []string{
		"Dockerfile", "homebrew/sp.rb", "nix/package.nix", "../flake.nix",
		"../goreleaser.yaml", "../.ci/packages",
	} {
		for _, file := range named.FindAllString(text(t, path), -1) {
			found, err := filepath.Glob(filepath.Join("..", file))
			if err != nil || len(found) == 0 {
				t.Errorf("%s: there is no %s", path, file)
			}
		}
	}
}

// TestActionsArePinned has workflows run nothing of others' that somebody can change.
func TestActionsArePinned(t *testing.T) {
	flows, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(flows) == 0 {
		t.Fatalf("%d workflows, %v", len(flows), err)
	}
	pinned := regexp.MustCompile(`@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	for _, path := range flows {
		flow := text(t, path)
		for line := range strings.Lines(flow) {
			if line = strings.TrimSpace(line); strings.Contains(line, "uses: ") &&
				!pinned.MatchString(line) {
				t.Errorf("%s: %s is no commit with its version", path, line)
			}
		}
		if !strings.Contains(flow, "\npermissions:\n  contents: read\n") {
			t.Errorf("%s may do more than read, where its jobs do not say so", path)
		}
	}
}

// TestScripts has shells read what packages and .ci run.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("scripts/*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	for _, script := range scripts {
		if out, err := exec.Command("sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}
