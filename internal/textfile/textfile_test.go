package textfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "text")
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), path) {
		t.Errorf("a file that is not there: %v", err)
	}
	for size, want := range map[int]bool{0: true, MaxSize: true, MaxSize + 1: false} {
		if err := os.WriteFile(path, []byte(strings.Repeat("a", size)), 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := Read(path)
		if (err == nil) != want || want && len(text) != size {
			t.Errorf("%d bytes: read %d, %v", size, len(text), err)
		}
	}
}
