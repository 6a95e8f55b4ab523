package filewatch

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// patience is met by a hung test only.
const patience = 3 * time.Minute

// eventually is testkit's, which cannot be had here.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatal("not so: ", what)
		}
	}
}

// sight is what a file had in it, and which look was the first to see it.
type sight struct {
	content string
	look    int64
}

// watching is a Watcher of one file that runs until the test ends. It says what the file has in it,
// however that came about.
type watching struct {
	t     *testing.T
	path  string
	read  atomic.Pointer[sight]
	looks atomic.Int64
	w     *Watcher
}

func watch(t *testing.T, path string) *watching {
	t.Helper()
	s := &watching{t: t, path: path}
	f := New(path)
	s.w = NewWatcher(func() []string { return []string{path} }, func() {
		defer s.looks.Add(1)
		if f.Changed() {
			b, _ := os.ReadFile(path)
			if last := s.read.Load(); last == nil || last.content != string(b) {
				s.read.Store(&sight{string(b), s.looks.Load() + 1})
			}
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.w.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return s
}

// sees waits until the file has that in it, and returns which look has seen it.
func (s *watching) sees(content string) (look int64) {
	s.t.Helper()
	eventually(s.t, "the file has "+content, func() bool {
		last := s.read.Load()
		if last == nil || last.content != content {
			return false
		}
		look = last.look
		return true
	})
	return look
}

// settles waits until there have been as many looks as there are after a change, and none for
// longer than it takes until the last of them.
func (s *watching) settles() {
	s.t.Helper()
	var before int64
	quiet := time.Now()
	eventually(s.t, "it is not looked at any more", func() bool {
		if now := s.looks.Load(); now != before {
			before, quiet = now, time.Now()
		}
		return before > int64(len(looksAfter)) && time.Since(quiet) > settleTime+2*Interval
	})
}

// TestWatched has a file changed in all the ways in which people and programs do.
func TestWatched(t *testing.T) {
	put := func(t *testing.T, path, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, content)
	}
	move := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	link := func(t *testing.T, target, path string) {
		t.Helper()
		if err := os.Symlink(target, path); err != nil {
			t.Skip("no symbolic links here:", err)
		}
	}
	for name, test := range map[string]struct {
		begin, change func(t *testing.T, dir, path string)
	}{
		"written in place": {
			func(t *testing.T, _, path string) { put(t, path, "one") },
			func(t *testing.T, _, path string) { put(t, path, "two") },
		},
		"replaced": {
			func(t *testing.T, _, path string) { put(t, path, "one") },
			func(t *testing.T, _, path string) {
				put(t, path+".new", "two")
				move(t, path+".new", path)
			},
		},
		"not there yet": {
			func(*testing.T, string, string) {},
			func(t *testing.T, _, path string) { put(t, path, "two") },
		},
		"removed, and there again": {
			func(t *testing.T, _, path string) {
				put(t, path, "one")
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, _, path string) { put(t, path, "two") },
		},
		"a volume of Kubernetes": {
			func(t *testing.T, dir, path string) {
				put(t, filepath.Join(dir, "conf", "..1", "file"), "one")
				link(t, "..1", filepath.Join(dir, "conf", "..data"))
				link(t, filepath.Join("..data", "file"), path)
			},
			func(t *testing.T, dir, _ string) {
				put(t, filepath.Join(dir, "conf", "..2", "file"), "two")
				link(t, "..2", filepath.Join(dir, "conf", "..tmp"))
				move(t, filepath.Join(dir, "conf", "..tmp"), filepath.Join(dir, "conf", "..data"))
			},
		},
		"the target of a link elsewhere": {
			func(t *testing.T, dir, path string) {
				put(t, filepath.Join(dir, "elsewhere", "file"), "one")
				put(t, filepath.Join(dir, "conf", "other"), "")
				link(t, filepath.Join(dir, "elsewhere", "file"), path)
			},
			func(t *testing.T, dir, _ string) { put(t, filepath.Join(dir, "elsewhere", "file"), "two") },
		},
		"another folder": {
			func(t *testing.T, _, path string) { put(t, path, "one") },
			func(t *testing.T, dir, _ string) {
				put(t, filepath.Join(dir, "next", "file"), "two")
				move(t, filepath.Join(dir, "conf"), filepath.Join(dir, "last"))
				move(t, filepath.Join(dir, "next"), filepath.Join(dir, "conf"))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "conf", "file")
			test.begin(t, dir, path)
			n := newNotifier()
			defer n.close()
			if n.watch([]string{path}) != coversAll {
				t.Skip("the kernel does not tell of changes here")
			}
			test.change(t, dir, path)
			select {
			case <-n.changed:
			case <-time.After(patience):
				t.Fatal("the kernel has told of no change")
			}
			if c := n.watch([]string{path}); c != coversAll {
				t.Errorf("watched again: %v", c)
			}
			s := watch(t, path)
			s.sees("two")
		})
	}
}

// TestOthersAreLeftAlone has something happen beside a file that is watched: nobody looks for that.
func TestOthersAreLeftAlone(t *testing.T) {
	n := newNotifier()
	defer n.close()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	write(t, path, "one")
	if n.watch([]string{path}) != coversAll {
		t.Skip("the kernel does not tell of changes here")
	}
	s := watch(t, path)
	s.sees("one")
	s.settles()
	before := s.looks.Load()
	write(t, filepath.Join(dir, "other"), "one")
	write(t, path, "two") // so that the events before have come
	if looks := s.sees("two") - before; looks > 2 {
		t.Errorf("looked %d times for one change", looks)
	}
}

func TestNextLook(t *testing.T) {
	for _, test := range []struct {
		looks int
		c     coverage
		want  time.Duration
	}{
		{0, coversAll, Interval},
		{3, coversAll, settleTime},
		{len(looksAfter), coversAll, restInterval},
		{len(looksAfter), coversLocal, remoteInterval},
		{len(looksAfter), coversNone, blindInterval},
		{1, coversNone, blindInterval},
	} {
		if got := nextLook(test.looks, test.c); got != test.want {
			t.Errorf("after %d looks, with %v: %v, want %v", test.looks, test.c, got, test.want)
		}
	}
}

// TestBlind has a kernel that tells of nothing.
func TestBlind(t *testing.T) {
	n := &notifier{}
	if c := n.watch([]string{"file"}); c != coversNone {
		t.Errorf("without the kernel's help: %v", c)
	}
	n.close()
}
