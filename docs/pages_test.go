package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	linkTo  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	picture = regexp.MustCompile(`<img[^>]* src="([^"]+)"`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	marks   = regexp.MustCompile("`|\\[([^\\]]*)\\]\\([^)]*\\)")
)

// anchors are what can stand behind # in a link to a page: its headings, as forges name them.
func anchors(page string) map[string]bool {
	all := make(map[string]bool)
	for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		text := marks.ReplaceAllString(strings.TrimSpace(h[1]), "$1")
		all[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, text)] = true
	}
	return all
}

// documents are all pages of the repository, from its root on.
func documents(t *testing.T) (all []string) {
	t.Helper()
	for _, files := range []string{"*.md", "docs/*.md", "docs/*/*.md", "bench/*.md"} {
		some, err := filepath.Glob(filepath.Join("..", files))
		if err != nil || len(some) == 0 {
			t.Fatalf("%s: %d files, %v", files, len(some), err)
		}
		all = append(all, some...)
	}
	return all
}

func pageText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestLinks has every link inside the repository lead to a file, and to a heading of it.
func TestLinks(t *testing.T) {
	tried := 0
	for _, from := range documents(t) {
		text := pageText(t, from)
		for _, to := range append(linkTo.FindAllStringSubmatch(text, -1),
			picture.FindAllStringSubmatch(text, -1)...) {
			if strings.Contains(to[1], "://") {
				continue
			}
			tried++
			path, anchor, _ := strings.Cut(to[1], "#")
			target := from
			if path != "" {
				target = filepath.Join(filepath.Dir(from), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s leads nowhere", from, to[1])
			} else if anchor != "" && strings.HasSuffix(target, ".md") &&
				!anchors(pageText(t, target))[anchor] {
				t.Errorf("%s: %s has no heading #%s", from, target, anchor)
			}
		}
	}
	if tried < 100 {
		t.Errorf("%d links were tried", tried)
	}
}

// TestBook has the table of contents know every page beside it.
func TestBook(t *testing.T) {
	book := pageText(t, "README.md")
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if page != "README.md" && !strings.Contains(book, "]("+page+")") {
			t.Errorf("docs/README.md does not know %s", page)
		}
	}
}

var (
	figure  = regexp.MustCompile(`\b[0-9]+(\.[0-9]+)?\b`)
	section = regexp.MustCompile(`(?m)^#+ `)
)

// sectionOf is what stands below one heading of a page, up to the next.
func sectionOf(page, anchor string) string {
	for _, at := range section.FindAllStringIndex(page, -1) {
		title, text, _ := strings.Cut(page[at[0]:], "\n")
		if !anchors(title)[anchor] {
			continue
		}
		if next := section.FindStringIndex(text); next != nil {
			text = text[:next[0]]
		}
		return text
	}
	return ""
}

// TestComparison has the README claim no figure that does not stand where the same row leads to,
// and be no manual.
func TestComparison(t *testing.T) {
	page := pageText(t, "../README.md")
	_, table, _ := strings.Cut(page, "\n| instead of |")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")[2:]
	if len(rows) != 5 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows {
		var backed strings.Builder
		for _, to := range linkTo.FindAllStringSubmatch(row, -1) {
			path, anchor, _ := strings.Cut(to[1], "#")
			backed.WriteString(sectionOf(pageText(t, filepath.Join("..", path)), anchor))
		}
		for _, n := range figure.FindAllString(linkTo.ReplaceAllString(row, "]"), -1) {
			has := regexp.MustCompile(`(^|[^0-9.])` + regexp.QuoteMeta(n) + `([^0-9]|$)`)
			if !has.MatchString(backed.String()) {
				t.Errorf("the figure %s does not stand where its row leads to: %s", n, row)
			}
		}
	}
	if n := strings.Count(page, "\n"); n > 120 {
		t.Errorf("the README has %d lines", n)
	}
}
