//go:build unix

package test

import (
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestKillIsForTheGroup ends whom a process has left behind, and signals nobody after a process
// that has left nobody: its number may be another program's by then.
func TestKillIsForTheGroup(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_ = r.SetReadDeadline(time.Now().Add(patience))
	// The child has none of its other pipes, which would have to be closed first.
	cmd := exec.Command("sh", "-c", "sleep 1000 <&- >&- 2>&- &")
	cmd.ExtraFiles = []*os.File{w}
	parent := start(t, cmd)
	_ = w.Close()
	parent.ends(done)
	if parent.groupGone {
		t.Error("nobody is left of a group with a child")
	}
	parent.kill()
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the child's end: %v", err)
	}
	alone := start(t, exec.Command("true"))
	alone.ends(done)
	if !alone.groupGone {
		t.Error("somebody is left of a process without children")
	}
}
