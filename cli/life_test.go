package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// A process takes its own files along, and not those of one that has taken its place.
func TestLifeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ready")
	here := func() bool { _, err := os.Stat(path); return err == nil }
	old, fresh, waits := &lifeFiles{ready: path}, &lifeFiles{ready: path}, &lifeFiles{ready: path}
	for _, err := range []error{
		old.begin(), old.sayReady("same"), fresh.begin(), fresh.sayReady("same"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if old.end(); !here() {
		t.Error("the old one has taken the other's file along")
	}
	if waits.end(); !here() {
		t.Error("one that was never ready has taken a file along")
	}
	if fresh.end(); here() {
		t.Error("the file is still there")
	}
}
