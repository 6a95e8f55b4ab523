package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/atomicfile"
)

// home has the user's files be in a folder of the test's, and returns the paths of the user's key
// and of what is public.
func home(t *testing.T) (own, public string) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("SP_IDENTITY", "")
	own, err := DefaultPath()
	if err == nil {
		public, err = PublicPath()
	}
	if err != nil {
		t.Fatal(err)
	}
	return own, public
}

func wantPublic(t *testing.T, path string, id *Identity) fs.FileInfo {
	t.Helper()
	if got := string(read(t, path)); got != id.Identifier().String()+"\n" {
		t.Errorf("public is %q", got)
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info, err)
	}
	return info
}

// Whoever makes, loads, rotates or replaces the user's own identity has the public file follow.
func TestPublicFollowsOwn(t *testing.T) {
	own, public := home(t)
	id, created, err := LoadOrCreate(own)
	if err != nil || !created {
		t.Fatalf("%v, %v", created, err)
	}
	before := wantPublic(t, public, id)
	if _, err := Load(own); err != nil {
		t.Fatal(err)
	}
	if _, err := RotateFile(own, nil, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	if after := wantPublic(t, public, id); !os.SameFile(before, after) ||
		!before.ModTime().Equal(after.ModTime()) {
		t.Error("what was right has been written again")
	}

	other := newIdentity(t, "other")
	if err := other.Save(own, true); err != nil {
		t.Fatal(err)
	}
	wantPublic(t, public, other)
	write(t, public, "I0\n")
	if _, err := Load(own); err != nil {
		t.Fatal(err)
	}
	wantPublic(t, public, other)
	if err := os.RemoveAll(filepath.Dir(public)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadOrCreate(own); err != nil {
		t.Fatal(err)
	}
	wantPublic(t, public, other)

	t.Setenv("SP_IDENTITY", filepath.Join(t.TempDir(), "elsewhere"))
	for _, named := range []string{os.Getenv("SP_IDENTITY"), filepath.Join(t.TempDir(), "key")} {
		if _, _, err := LoadOrCreate(named); err != nil {
			t.Fatal(err)
		}
	}
	wantPublic(t, public, other)
}

// A link where the public file should be is replaced, and what it leads to stays.
func TestPublicReplacesLinks(t *testing.T) {
	own, public := home(t)
	id, _, err := LoadOrCreate(own)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(public); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(own, public); err != nil {
		t.Skip(err) // takes a privilege on Windows
	}
	for range 2 {
		if _, err := Load(own); err != nil {
			t.Fatal(err)
		}
		wantPublic(t, public, id)
	}
}

// Where the public file cannot be written, the identity is there all the same.
func TestPublicHasNoPlace(t *testing.T) {
	own, public := home(t)
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Dir(public), "a file where the folder should be")
	id, _, err := LoadOrCreate(own)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := PublishOwn(); err == nil || got != id.Identifier() {
		t.Errorf("published %s, %v", got, err)
	}
	for _, variable := range []string{"XDG_CONFIG_HOME", "HOME"} {
		t.Setenv(variable, "")
	}
	if runtime.GOOS == "windows" {
		return // another custom there
	}
	if _, _, err := LoadOrCreate(filepath.Join(t.TempDir(), "key")); err != nil {
		t.Error(err)
	}
	if _, err := PublicPath(); err == nil {
		t.Error("there is a place without a home")
	}
	if got, err := PublishOwn(); err == nil || !got.IsZero() {
		t.Errorf("published %s, %v", got, err)
	}
}

// The Identifier is read from a key file without the key, and from no other file.
func TestPublishOwn(t *testing.T) {
	own, public := home(t)
	if _, err := PublishOwn(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody: %v", err)
	}
	if err := MakePublicFolder(); err != nil {
		t.Fatal(err)
	}
	id := newIdentity(t, "a")
	good := string(id.keyFile())
	start, _, _ := strings.Cut(good, keyFileWarning)
	for name, row := range map[string]struct {
		content string
		is      error // nil: it will do
	}{
		"a key file":       {good, nil},
		"no secret in it":  {good[:strings.Index(good, "# created")], nil},
		"empty":            {"", ErrNotIdentityFile},
		"cut":              {good[:40], ErrNotIdentityFile},
		"another version":  {strings.Replace(good, "y-1", "y-2", 1), ErrNotIdentityFile},
		"something else":   {strings.Repeat("x", len(good)), ErrNotIdentityFile},
		"no Identifier":    {strings.Replace(good, ": I", ": J", 1), ErrDamaged},
		"more on its line": {strings.Replace(start, "\n# created", " # created", 1), ErrDamaged},
	} {
		_ = os.Remove(public)
		write(t, own, row.content)
		got, err := PublishOwn()
		if row.is != nil {
			wantErr(t, err, row.is, own)
			if _, err := os.Stat(public); err == nil || !got.IsZero() {
				t.Errorf("%s: published %s", name, got)
			}
			continue
		}
		if err != nil || got != id.Identifier() {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		wantPublic(t, public, id)
	}
	if runtime.GOOS == "windows" {
		return // modes say nothing there
	}
	write(t, own, good)
	for _, row := range []struct {
		mode fs.FileMode
		is   error
	}{{0o644, ErrPermissions}, {0o622, ErrPermissions}, {0o600, nil}} {
		if err := os.Chmod(own, row.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := PublishOwn(); !errors.Is(err, row.is) {
			t.Errorf("mode %v: %v", row.mode, err)
		}
	}
	// Others could write what is right so far: it is made anew.
	if err := os.Chmod(public, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := PublishOwn(); err != nil {
		t.Error(err)
	}
	wantPublic(t, public, id)
	if err := os.Chmod(filepath.Dir(public), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := PublishOwn(); !errors.Is(err, atomicfile.ErrOthersWrite) {
		t.Errorf("a folder of everybody's: %v", err)
	}
}
