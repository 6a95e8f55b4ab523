package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("the file has %q, %v, want %q", got, err, want)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*.tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("files left behind: %v, %v", left, err)
	}
}

func TestCreateAndReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := Create(path, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the name is taken twice: %v", err)
	}
	wantFile(t, path, "first")
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode() != newFileMode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := Replace(path, []byte("third")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "third")
	missing := filepath.Join(filepath.Dir(path), "no", "file")
	for name, write := range map[string]func(string, []byte) error{
		"create": Create, "replace": Replace, "mark": Mark, "append": Append,
	} {
		if err := write(missing, nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s without the folder: %v", name, err)
		}
	}
	if err := Append(path+".new", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("appending to a file that is not there: %v", err)
	}
}

// Of many who mark the same thing at once one does, and what is appended at once is whole.
func TestAtOnce(t *testing.T) {
	dir := t.TempDir()
	mark, log := filepath.Join(dir, "mark"), filepath.Join(dir, "log")
	if err := Create(log, nil); err != nil {
		t.Fatal(err)
	}
	var marked atomic.Int32
	var wg sync.WaitGroup
	line := strings.Repeat("x", 4000) + "\n"
	for range 16 {
		wg.Go(func() {
			if err := Mark(mark, []byte("me")); err == nil {
				marked.Add(1)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
			if err := Append(log, []byte(line)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if marked.Load() != 1 {
		t.Errorf("%d marked it, want 1", marked.Load())
	}
	wantFile(t, mark, "me")
	wantFile(t, log, strings.Repeat(line, 16))
}

// Without hard links the name is still taken once only.
func TestPublishWithoutLinks(t *testing.T) {
	dir := t.TempDir()
	missing, path := filepath.Join(dir, "missing"), filepath.Join(dir, "file")
	if err := publish(missing, path, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := publish(missing, path, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the name is taken twice: %v", err)
	}
	wantFile(t, path, "first")
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := Create(path, []byte("12345")); err != nil {
		t.Fatal(err)
	}
	b, info, err := Read(path, 5)
	if err != nil || string(b) != "12345" || info.Size() != 5 {
		t.Errorf("%q, %v, %v", b, info, err)
	}
	for name, test := range map[string]struct {
		path string
		is   error
		want string
	}{
		"too long": {path, nil, "it has 5 bytes, at most 4 are allowed"},
		"folder":   {dir, ErrNotRegular, "not a regular file"},
		"missing":  {path + ".no", fs.ErrNotExist, ""},
	} {
		_, _, err := Read(test.path, 4)
		if err == nil || test.is != nil && !errors.Is(err, test.is) ||
			!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReplaceOnlyFiles has what is no file stay: root could replace /dev/null.
func TestReplaceOnlyFiles(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, path := range []string{t.TempDir(), socket} {
		for _, write := range []func(string, []byte) error{Replace, ReplaceOpen} {
			if err := write(path, []byte("1")); err == nil {
				t.Errorf("%s is replaced", path)
			}
		}
		if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

// What stands before a secret is read without it.
func TestReadStart(t *testing.T) {
	dir := t.TempDir()
	path, empty := filepath.Join(dir, "file"), filepath.Join(dir, "empty")
	for path, text := range map[string]string{path: "12345", empty: ""} {
		if err := Create(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for size, want := range map[int]string{0: "", 3: "123", 5: "12345"} {
		b, info, err := ReadStart(path, size)
		if err != nil || string(b) != want || info.Size() != 5 {
			t.Errorf("%d bytes: %q, %v, %v", size, b, info, err)
		}
	}
	for name, row := range map[string]struct {
		path string
		is   error
	}{
		"too short": {path, io.ErrUnexpectedEOF}, "empty": {empty, io.EOF},
		"folder": {dir, ErrNotRegular}, "missing": {path + ".no", fs.ErrNotExist},
	} {
		if _, _, err := ReadStart(row.path, 6); !errors.Is(err, row.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file for everybody takes the place of a link, and not of what that leads to.
func TestReplaceOpen(t *testing.T) {
	dir := t.TempDir()
	secret, path := filepath.Join(dir, "secret"), filepath.Join(dir, "open")
	if err := Create(secret, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, path); err != nil && runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	for _, text := range []string{"first", "second"} {
		if err := ReplaceOpen(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, text)
		info, err := os.Lstat(path)
		if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o644 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
	wantFile(t, secret, "secret")
}

func TestMakeDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "folder")
	for range 2 {
		if err := MakeDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(dir)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := MakeDir(filepath.Join(dir, "a", "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

// To try leaves a file as it is, and nothing beside it; what cannot be written later is said.
func TestTry(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := Try(path); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
	if err := Create(path, []byte("text")); err != nil {
		t.Fatal(err)
	}
	if err := Try(path); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	wantFile(t, path, "text")
	for name, bad := range map[string]string{
		"below a file":       filepath.Join(path, "x"),
		"in no folder":       filepath.Join(dir, "nowhere", "x"),
		"with a long name":   filepath.Join(dir, strings.Repeat("x", 300)),
		"a folder":           dir,
		"with a name to fit": filepath.Join(dir, strings.Repeat("x", 250)), // and no temporary one
	} {
		if err := Try(bad); err == nil {
			t.Errorf("%s: it can be written", name)
		} else if strings.Contains(err.Error(), ".tmp") {
			t.Errorf("%s: %v names a file that nobody knows", name, err)
		}
	}
}
