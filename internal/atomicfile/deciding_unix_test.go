//go:build unix

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckDeciding is who else may be able to change a file, or put another in its place.
func TestCheckDeciding(t *testing.T) {
	const nobody = 65534
	chmod := func(mode fs.FileMode, name string) func(string) error {
		return func(dir string) error { return os.Chmod(filepath.Join(dir, name), mode) }
	}
	chown := func(name string) func(string) error {
		return func(dir string) error { return os.Lchown(filepath.Join(dir, name), nobody, -1) }
	}
	for name, test := range map[string]struct {
		change func(dir string) error
		path   string
		bad    string // what the error names; empty: there is none
	}{
		"good":                       {path: "a/b/file"},
		"readable by all":            {chmod(0o644, "a/b/file"), "a/b/file", ""},
		"not there":                  {path: "a/b/none/at/all"},
		"not there, bad folder":      {chmod(0o777, "a/b"), "a/b/none", "a/b"},
		"written by the group":       {chmod(0o620, "a/b/file"), "a/b/file", "a/b/file"},
		"written by all":             {chmod(0o602, "a/b/file"), "a/b/file", "a/b/file"},
		"folder of all":              {chmod(0o777, "a/b"), "a/b/file", "a/b"},
		"folder of the group":        {chmod(0o770, "a/b"), "a/b/file", "a/b"},
		"folder above":               {chmod(0o777, "a"), "a/b/file", "a"},
		"sticky folder of all":       {chmod(0o777|fs.ModeSticky, "a"), "a/b/file", ""},
		"a folder":                   {path: "a/b"},
		"a folder of all":            {chmod(0o777, "a/b"), "a/b", "a/b"},
		"link":                       {path: "link"},
		"link to a bad folder":       {chmod(0o777, "a/b"), "link", "a/b"},
		"link in a bad folder":       {chmod(0o777, "links"), "links/link", "links"},
		"link by way of a folder":    {path: "links/up/file"},
		"link to nothing":            {path: "links/nothing"},
		"link to itself":             {path: "links/self", bad: "too many symbolic links"},
		"somebody else's file":       {chown("a/b/file"), "a/b/file", "a/b/file"},
		"somebody else's folder":     {chown("a"), "a/b/file", "a"},
		"somebody else's link":       {chown("links/link"), "links/link", "links/link"},
		"somebody else's, elsewhere": {chown("links"), "a/b/file", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "somebody else's") && os.Geteuid() != 0 {
				t.Skip("only root gives files away")
			}
			dir := filepath.Join(t.TempDir(), "private")
			for _, err := range []error{
				os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755),
				os.MkdirAll(filepath.Join(dir, "links"), 0o755),
				os.WriteFile(filepath.Join(dir, "a", "b", "file"), nil, 0o600),
				os.Symlink("a/b/file", filepath.Join(dir, "link")),
				os.Symlink(filepath.Join(dir, "a/b/file"), filepath.Join(dir, "links", "link")),
				os.Symlink("../a/b", filepath.Join(dir, "links", "up")),
				os.Symlink("void/there", filepath.Join(dir, "links", "nothing")),
				os.Symlink("self", filepath.Join(dir, "links", "self")),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if test.change != nil {
				if err := test.change(dir); err != nil {
					t.Fatal(err)
				}
			}
			err := CheckDeciding(filepath.Join(dir, test.path))
			switch {
			case test.bad == "" && err != nil:
				t.Error(err)
			case test.bad != "" && err == nil:
				t.Error("it passes")
			case strings.HasPrefix(test.bad, "too many"):
				if !errors.Is(err, errTooManyLinks) {
					t.Error(err)
				}
			case test.bad != "" && (!errors.Is(err, ErrOthersWrite) ||
				!strings.Contains(err.Error(), filepath.Join(dir, test.bad)+" ")):
				t.Errorf("%v, and it is about %s", err, test.bad)
			}
			_, _, err = ReadDeciding(filepath.Join(dir, test.path), 10)
			if test.bad != "" && err == nil {
				t.Error("it is read")
			}
		})
	}
}

// TestDecidingAsItWasRead judges a file as it was when it was opened: what others could write then
// has not become good by the time that somebody looks at its name.
func TestDecidingAsItWasRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, err := range []error{os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o666)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	_, then, err := Read(path, 1)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckDeciding(path); err != nil {
		t.Error("as it is:", err)
	}
	if err := checkInfo(path, then); !errors.Is(err, ErrOthersWrite) {
		t.Error("as it was:", err)
	}
}
