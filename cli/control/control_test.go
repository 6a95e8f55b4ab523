package control

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

// ownFolder has this test's sockets be in a folder of its own, with a short name.
func ownFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	return dir
}

// serve runs a server until the test ends, or stop is called.
func serve(t *testing.T, path string) (s *Server, stop func()) {
	t.Helper()
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Handle("echo", func(_ context.Context, args json.RawMessage) (any, error) {
		var text string
		if err := json.Unmarshal(args, &text); err != nil {
			return nil, err
		}
		if text == "no" {
			return nil, errors.New("it does not want to")
		}
		return map[string]string{"said": text}, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Serve(ctx) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return s, stop
}

// find returns the processes that are found in the test's own folder.
func find(in string) (all []Process) {
	for _, p := range Find() {
		if strings.HasPrefix(p.Path, in) {
			all = append(all, p)
		}
	}
	return all
}

func TestCall(t *testing.T) {
	in := ownFolder(t)
	s, stop := serve(t, "")
	all := find(in)
	if len(all) != 1 || all[0].Path != s.Path() || all[0].PID != os.Getpid() {
		t.Fatalf("found %v, and not %s", all, s.Path())
	}
	for _, path := range []string{s.Path(), filepath.Dir(s.Path())} {
		if info, err := os.Stat(path); err != nil || hasModes && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	var got struct{ Said string }
	if err := all[0].Call(t.Context(), "echo", "hello", &got); err != nil || got.Said != "hello" {
		t.Errorf("%v, %v", got, err)
	}
	var refusal *Refusal
	if err := all[0].Call(t.Context(), "echo", "no", nil); !errors.As(err, &refusal) ||
		refusal.Text != "it does not want to" {
		t.Errorf("refused: %v", err)
	}
	if err := all[0].Call(t.Context(), "dance", nil, nil); !errors.As(err, &refusal) {
		t.Errorf("no such command: %v", err)
	}
	stop()
	if left := find(in); len(left) != 0 {
		t.Errorf("found after the end: %v", left)
	}
	if err := all[0].Call(t.Context(), "echo", "hello", nil); err == nil {
		t.Error("it answers after the end")
	}
}

// Whoever says nothing, or something else, or too much, is not answered, and keeps nobody else out
// for long.
func TestCallers(t *testing.T) {
	in := ownFolder(t)
	s, _ := serve(t, "")
	var silent []net.Conn
	for range maxCallers - 1 {
		c, err := net.Dial("unix", s.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	for _, says := range []string{
		"", "GET / HTTP/1.1\r\n\r\n", `{"command":`, "[]",
		`{"command":"echo","args":"` + strings.Repeat("x", 2*maxRequest) + `"}`,
	} {
		c, err := net.Dial("unix", s.Path())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(says)) // may be cut off
		_ = c.(*net.UnixConn).CloseWrite()
		b := make([]byte, 100)
		if n, err := c.Read(b); err == nil {
			t.Errorf("%.30q is answered %q", says, b[:n])
		}
		_ = c.Close()
	}
	if err := find(in)[0].Call(t.Context(), "echo", "hello", nil); err != nil {
		t.Error(err)
	}
	for _, c := range silent {
		_ = c.Close()
	}
}

// Sockets that have been left behind are removed, by whoever looks or comes, and those of the
// living never, however many look and come at once.
func TestLeftBehind(t *testing.T) {
	in := ownFolder(t)
	for range 3 {
		s, err := Listen("")
		if err != nil {
			t.Fatal(err)
		}
		_ = s.socket.Close() // as if killed
		if _, err := os.Lstat(s.path); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				s, err := Listen("")
				if err != nil {
					t.Error(err)
					return
				}
				Find()
				c, err := net.Dial("unix", s.Path())
				if err != nil {
					t.Errorf("a living one: %v", err)
				} else {
					_ = c.Close()
				}
				s.Close()
			}
		})
	}
	all.Wait()
	left, err := os.ReadDir(filepath.Join(in, folder))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A path that somebody has chosen is taken over from one who has been killed, and from nobody else.
func TestChosenPath(t *testing.T) {
	path := filepath.Join(ownFolder(t), "s")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil {
		t.Error("two listen at one path")
	}
	_ = first.socket.Close()
	if refusedMeansGone(path) {
		_, stop := serve(t, path)
		if err := (Process{Path: path}).Call(t.Context(), "echo", "hello", nil); err != nil {
			t.Error(err)
		}
		stop()
	}
	file := filepath.Join(filepath.Dir(path), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil {
		t.Error("a file was taken for a socket")
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("a file was removed")
	}
}

// One that does not answer ends with the caller's patience.
func TestNoAnswer(t *testing.T) {
	ownFolder(t)
	s, err := Listen("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	why := errors.New("patience")
	ctx, cancel := context.WithCancelCause(testkit.Context(t))
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := s.socket.Accept()
		accepted <- c
		cancel(why)
	}()
	if err := (Process{Path: s.Path()}).Call(ctx, "echo", "x", nil); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if c := <-accepted; c != nil {
		_ = c.Close()
	}
}

// A folder that is another's, or a link to one, is not used.
func TestFolder(t *testing.T) {
	in := ownFolder(t)
	if os.Geteuid() == 0 {
		others := filepath.Join(in, folder)
		if err := os.Mkdir(others, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(others, 12345, -1); err != nil {
			t.Fatal(err)
		}
		if err := makeOwn(others); err == nil {
			t.Error("another's folder is used")
		}
	}
	mine, link := filepath.Join(in, "mine"), filepath.Join(in, "link")
	if err := os.Mkdir(mine, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := makeOwn(mine); err != nil {
		t.Error(err)
	}
	if info, _ := os.Stat(mine); hasModes && info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := os.Symlink(mine, link); err == nil && makeOwn(link) == nil {
		t.Error("a link is used")
	}
}
