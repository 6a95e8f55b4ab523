package docs_test

import (
	"html"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

var (
	attribute  = regexp.MustCompile(`(?:href|src)="([^"]*)"`)
	anchorName = regexp.MustCompile(`\bid="([^"]*)"`)
	inCode     = regexp.MustCompile(`(?s)<pre>.*?</pre>`)
	listed     = regexp.MustCompile(`(?m)^(?:- |\*\*).*$`)
)

// built is the site, as the documented command makes it, in a folder of its own.
func built(t *testing.T) string {
	t.Helper()
	hugo := testenv.NeedTool(t, "hugo")
	if !strings.Contains(pageText(t, "README.md"), "    hugo --config docs/site/hugo.toml\n") {
		t.Fatal("docs/README.md does not say how the site is built")
	}
	site := t.TempDir()
	build := exec.Command(hugo, "--config", "docs/site/hugo.toml", "--destination", site)
	build.Dir = ".."
	out, err := build.CombinedOutput()
	if err != nil || strings.Contains(string(out), "WARN") {
		t.Fatalf("%v\n%s", err, out)
	}
	return site
}

// TestSite builds the documents as a site: all pages that the table of contents has are in it and
// in the contents beside each page, and no link or picture in it leads nowhere. It asks nobody else
// for anything, and runs nothing.
func TestSite(t *testing.T) {
	t.Parallel()
	site := built(t)
	pages := make(map[string]string)
	err := filepath.WalkDir(site, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".html") {
			pages[path] = pageText(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, page := range pages {
		at := strings.TrimPrefix(path, site)
		for _, to := range attribute.FindAllStringSubmatch(inCode.ReplaceAllString(page, ""), -1) {
			trySiteLink(t, pages, at, path, html.UnescapeString(to[1]))
		}
		for _, no := range []string{"<script", "src=\"http", "@import", "�"} {
			if strings.Contains(page, no) {
				t.Errorf("%s has %s", at, no)
			}
		}
	}
	contents := strings.Join(listed.FindAllString(pageText(t, "README.md"), -1), "\n")
	beside, _, _ := strings.Cut(pages[filepath.Join(site, "index.html")], "</nav>")
	n := 0
	for _, to := range linkTo.FindAllStringSubmatch(contents, -1) {
		n++
		if name := siteName(to[1]); !strings.Contains(beside, `href="./`+name+`"`) {
			t.Errorf("%s is not in the contents as %s", to[1], name)
		}
	}
	if n < 20 || len(pages) < n {
		t.Errorf("%d pages are listed, and %d built", n, len(pages))
	}
	if css := pageText(t, filepath.Join(site, "site.css")); !strings.Contains(css,
		"prefers-color-scheme: dark") || strings.Contains(css, "url(") {
		t.Error("the site is not light and dark, of itself alone")
	}
}

// siteName is where a page of docs/README.md's contents is in the site.
func siteName(file string) string {
	if outside, ok := strings.CutPrefix(file, "../"); ok {
		file = "project/" + outside
	}
	return strings.TrimSuffix(strings.TrimSuffix(file, "/README.md"), ".md") + ".html"
}

// trySiteLink has one link of a page lead to a file of the site, and to what it names there; one to
// the forge has the file be in the repository.
func trySiteLink(t *testing.T, pages map[string]string, at, path, to string) {
	t.Helper()
	const forge = "https://github.com/secureportal/sp/blob/main/"
	if file, ok := strings.CutPrefix(to, forge); ok {
		file, _, _ = strings.Cut(file, "#")
		if _, err := os.Stat(filepath.Join("..", file)); err != nil {
			t.Errorf("%s: %s is not in the repository", at, to)
		}
		return
	}
	if strings.Contains(to, "://") {
		return
	}
	file, anchor, _ := strings.Cut(to, "#")
	if text, err := url.PathUnescape(anchor); err == nil {
		anchor = text // as browsers do
	}
	target := path
	if file != "" {
		target = filepath.Join(filepath.Dir(path), file)
	}
	if info, err := os.Stat(target); err != nil || info.IsDir() {
		t.Errorf("%s: %s leads nowhere", at, to)
		return
	}
	if anchor == "" {
		return
	}
	for _, id := range anchorName.FindAllStringSubmatch(pages[target], -1) {
		if html.UnescapeString(id[1]) == anchor {
			return
		}
	}
	t.Errorf("%s: %s has no such heading", at, to)
}
