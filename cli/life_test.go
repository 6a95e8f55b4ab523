package cli

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/atomicfile"
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

// watchful is an stderr that tells whether a file is there whenever something is written.
type watchful struct {
	bytes.Buffer
	path string
	gone bool
}

// Write implements io.Writer.
func (w *watchful) Write(p []byte) (int, error) {
	if _, err := os.Stat(w.path); err != nil {
		w.gone = true
	}
	return w.Buffer.Write(p)
}

// TestLifeFilesGoLast has who waits until the file with a process's number is gone find all in its
// log.
func TestLifeFilesGoLast(t *testing.T) {
	dir := t.TempDir()
	log := &watchful{path: filepath.Join(dir, "pid")}
	code := Main(Build{}, []string{
		"sp", "relay", "--pid-file", log.path, "--identity", filepath.Join(dir, "key"), "--no-status",
		"--no-sandbox", "--listen", "unix:" + filepath.Join(dir, "nowhere", "socket"),
	}, strings.NewReader(""), new(bytes.Buffer), log)
	if code != exitFailed || log.gone || !strings.Contains(log.String(), "sp: ") {
		t.Errorf("exit code %d; the file is gone before %q", code, log.String())
	}
	if _, err := os.Stat(log.path); err == nil {
		t.Error("the file is still there")
	}
}

// TestLifeFilesAreFiles has what is no file stay what it is: whoever names a pipe or a device,
// which root could replace, is told.
func TestLifeFilesAreFiles(t *testing.T) {
	folder := t.TempDir()
	socket := filepath.Join(folder, "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, f := range []*lifeFiles{
		{pid: folder}, {ready: folder}, {pid: socket}, {ready: socket},
	} {
		if err := f.begin(); !errors.Is(err, atomicfile.ErrNotRegular) {
			t.Errorf("%+v: %v", f, err)
		}
	}
	for _, path := range []string{folder, socket} {
		if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}
