package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

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
	if got, err := os.ReadFile(path); err != nil || string(got) != "first" {
		t.Errorf("the file has %q, %v", got, err)
	}
}
