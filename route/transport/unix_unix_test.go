//go:build unix

package transport

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/wire"
)

// The file of a socket is its owner's, or has the mode that is asked for, whatever the umask.
func TestSocketMode(t *testing.T) {
	dir := t.TempDir()
	for _, mask := range []int{0, 0o022, 0o077, 0o177} {
		for asked, want := range map[fs.FileMode]fs.FileMode{
			0: DefaultSocketMode, 0o600: 0o600, 0o660: 0o660, 0o666: 0o666,
		} {
			a := Address{Kind: wire.Unix, Name: filepath.Join(dir, "s")}
			before := syscall.Umask(mask)
			links, err := NewSet(Config{SocketMode: asked}).Listen(t.Context(), a)
			if err == nil {
				mustHaveMode(t, a.Name, want)
				_ = links.Close()
			}
			apps, guarded := ListenGuarded(t.Context(), a, Config{SocketMode: asked})
			if guarded == nil {
				mustHaveMode(t, a.Name, want)
				_ = apps.Close()
			}
			syscall.Umask(before)
			if err := errors.Join(err, guarded); err != nil {
				t.Fatal(err)
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("files left behind: %v, %v", left, err)
	}
}

func mustHaveMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != want {
		t.Errorf("mode %v, %v, want %04o", info.Mode(), err, want)
	}
}

// Of many who begin to listen at one path at once, where a socket was left behind, one does, and
// who connects then reaches that one.
func TestListenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	a := Address{Kind: wire.Unix, Name: path}
	for range 20 {
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		stale.SetUnlinkOnClose(false)
		_ = stale.Close()
		var mu sync.Mutex
		var listening []net.Listener
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				l, err := ListenGuarded(t.Context(), a, Config{})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					listening = append(listening, l)
				case !errors.Is(err, syscall.EADDRINUSE):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(listening) != 1 {
			t.Fatalf("%d listen", len(listening))
		}
		c, err := DialGuarded(t.Context(), a, testkit.Patience)
		if err != nil {
			t.Fatal(err)
		}
		got, err := listening[0].Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, _, _ = got.Close(), c.Close(), listening[0].Close()
	}
}

// A socket without a file is asked for by name, on systems that have such.
func TestAbstract(t *testing.T) {
	if !hasAbstract {
		if _, err := Parse("abstract:name"); err == nil {
			t.Error("there are no such sockets here")
		}
		if a, err := Parse("unix:@name"); err != nil || a.Name != "@name" {
			t.Errorf("a file: %v, %v", a, err)
		}
		return
	}
	_, err := ParseListen("unix:@name", "")
	if err == nil || !strings.Contains(err.Error(), "abstract:name") ||
		!strings.Contains(err.Error(), "unix:./@name") {
		t.Errorf("by accident: %v", err)
	}
	meant := Address{Kind: wire.Unix, Name: "@name"}
	for _, parse := range []func(string) (Address, error){
		Parse, func(text string) (Address, error) { return ParseTarget(text, "") },
	} {
		if a, err := parse("unix:@name"); err != nil || a != meant {
			t.Errorf("to dial: %v, %v", a, err)
		}
		if a, err := parse("unix:./@name"); err != nil || isAbstract(a.Name) {
			t.Errorf("a file: %v, %v", a, err)
		}
	}
	if a, took, err := ParseStep([]string{"unix", "%40name"}); err != nil || took != 2 || a != meant {
		t.Errorf("in a route: %v, %v", a, err)
	}
	name := "sp-test-" + filepath.Base(t.TempDir()) + filepath.Base(filepath.Dir(t.TempDir()))
	a, err := Parse("abstract:" + name)
	if err != nil {
		t.Fatal(err)
	}
	step, took, err := ParseStep(strings.Split(FormatStep(a), "/")[1:])
	if Format(a) != "abstract:"+name || step != a || took != 2 || err != nil {
		t.Errorf("%s, %s, %v, %v", Format(a), FormatStep(a), step, err)
	}
	l, err := NewSet(Config{}).Listen(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at, ok := FromAddr(l.Addr())
	if !ok || at != a {
		t.Errorf("it listens at %v", l.Addr())
	}
	c, err := DialGuarded(t.Context(), at, testkit.Patience)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}
