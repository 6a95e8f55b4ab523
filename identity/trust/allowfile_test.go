package trust

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/atomicfile"
)

func TestAddToAllowFile(t *testing.T) {
	a, b := newIdentity(t, "a").Identifier(), newIdentity(t, "b").Identifier()
	dir := t.TempDir()
	path := filepath.Join(dir, "allow")
	add := func(id identity.Identifier, comment, want string) {
		t.Helper()
		if err := AddToAllowFile(path, id, comment); err != nil {
			t.Fatal(err)
		}
		if got := string(read(t, path)); got != want {
			t.Fatalf("the file is\n%q, want\n%q", got, want)
		}
	}
	add(a, "Ann's laptop", a.String()+" Ann's laptop\n")
	if info, err := os.Stat(path); err != nil ||
		runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	add(a, "again", a.String()+" Ann's laptop\n")
	before := "# head\r\n\n  " + a.String() + " no line feed"
	write(t, path, before)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	add(b, "", before+"\n"+b.String()+"\n")
	if info, err := os.Stat(path); err != nil ||
		runtime.GOOS != "windows" && info.Mode().Perm() != 0o644 {
		t.Errorf("the mode was changed to %v, %v", info.Mode(), err)
	}
	write(t, path, "")
	add(b, "x", b.String()+" x\n")

	for comment, want := range map[string]string{
		"two\nlines": "comment", "\x1b[2J": "comment", strings.Repeat("x", 257): "comment",
		"\xff": "comment",
	} {
		wantErr(t, AddToAllowFile(path, a, comment), nil, want)
	}
	wantErr(t, AddToAllowFile(path, identity.Identifier{}, ""), errZero, "allow file")
	write(t, path, "nonsense\n")
	wantErr(t, AddToAllowFile(path, a, ""), nil, "line 1")
	if got := string(read(t, path)); got != "nonsense\n" {
		t.Errorf("a file with an error was changed: %q", got)
	}
	wantErr(t, AddToAllowFile(dir, a, ""), atomicfile.ErrNotRegular, dir)
	wantErr(t, AddToAllowFile(filepath.Join(dir, "no", "allow"), a, ""), os.ErrNotExist,
		"allow file")
	full := bytes.Repeat([]byte("#\n"), MaxListFile/2)
	write(t, path, string(full))
	wantErr(t, AddToAllowFile(path, a, ""), nil, "more than 4194304")
}

func TestAddToAllowFileConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "allow")
	var wg sync.WaitGroup
	const n = 32
	for i := range n {
		id := identity.Identifier{byte(i + 1)}
		for range 2 {
			wg.Go(func() {
				if err := AddToAllowFile(path, id, fmt.Sprint("number ", i)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	ids, err := parseList(string(read(t, path)))
	if err != nil || len(ids) != n || strings.Count(string(read(t, path)), "\n") != n {
		t.Errorf("%d identities, %v, want %d:\n%s", len(ids), err, n, read(t, path))
	}
}

// TestMakeAllowFile makes an empty list, leaves what is there, and tells what cannot be one.
func TestMakeAllowFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "allow")
	for _, want := range []string{"", "# mine\n"} {
		if err := MakeAllowFile(path); err != nil || string(read(t, path)) != want {
			t.Errorf("%q, %v", read(t, path), err)
		}
		write(t, path, "# mine\n")
	}
	write(t, path, "nonsense\n")
	wantErr(t, MakeAllowFile(path), nil, "line 1")
	wantErr(t, MakeAllowFile(dir), atomicfile.ErrNotRegular, dir)
	wantErr(t, MakeAllowFile(filepath.Join(dir, "no", "allow")), os.ErrNotExist, "allow file")
}
