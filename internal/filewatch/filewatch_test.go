package filewatch

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// age gives a file a time of change, by default one long ago.
func age(t *testing.T, path string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f := New(path)
	want := func(changed bool, why string) {
		t.Helper()
		if got := f.Changed(); got != changed {
			t.Errorf("%s: changed is %v", why, got)
		}
	}
	want(true, "it is not there")
	want(true, "it is still not there")
	write(t, path, "one")
	want(true, "it was written a moment ago")
	want(true, "two writes in a moment look the same")
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	age(t, path, old)
	want(true, "another time of change")
	want(false, "nothing is different")
	f.Again()
	want(true, "it was asked for")
	want(false, "nothing is different")
	write(t, path, "two")
	age(t, path, old)
	want(false, "all that is compared is as it was")
	write(t, path, "three")
	age(t, path, old)
	want(true, "another size")
	write(t, path+".new", "three")
	age(t, path+".new", old)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	want(true, "another inode")
	want(false, "nothing is different")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want(true, "it is gone")
	write(t, path, "three")
	age(t, path, old)
	want(true, "it is back")
}

func TestChanging(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f := New(path)
	if !f.Changing() {
		t.Error("a file that is not there stands still")
	}
	write(t, path, "one")
	f.Changed()
	if f.Changing() {
		t.Error("nobody writes, and it changes")
	}
	write(t, path, "longer")
	if !f.Changing() {
		t.Error("it was written since the last look, and stands still")
	}
	f.Changed()
	f.Again()
	if !f.Changing() {
		t.Error("nothing is known of it, and it stands still")
	}
}

func TestErrorsAreToldOnce(t *testing.T) {
	a, b := errors.New("a"), errors.New("b")
	for name, test := range map[string]struct {
		tell func(*File, error) error
		want []error
	}{
		"once":  {(*File).Once, []error{a, nil, nil, b, nil, a, nil, nil, a}},
		"twice": {(*File).Twice, []error{nil, a, nil, nil, b, nil, a, nil, nil}},
	} {
		f := New("file")
		for i, err := range []error{a, a, a, b, b, a, a, nil, a} {
			if got := test.tell(f, err); got != test.want[i] {
				t.Errorf("%s: try %d with %v tells %v, want %v", name, i+1, err, got, test.want[i])
			}
		}
	}
	f := New("file")
	if f.Twice(a) != nil || f.Once(a) != a || f.Once(a) != nil || f.Twice(a) != nil {
		t.Error("an error that was asked for is not told, or told twice")
	}
}
