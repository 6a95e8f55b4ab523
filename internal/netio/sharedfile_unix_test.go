//go:build unix

package netio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/testkit"
)

// blockingPipe returns a blocking pipe, as a shell makes them.
func blockingPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r, w
}

// setNonblock is what somebody else does who has f, too.
func setNonblock(t *testing.T, f *os.File) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	set := raw.Control(func(fd uintptr) { err = unix.SetNonblock(int(fd), true) })
	if set != nil || err != nil {
		t.Fatal(set, err)
	}
}

func isNonblock(t *testing.T, f *os.File) (yes bool) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			flags, _ := unix.FcntlInt(fd, unix.F_GETFL, 0)
			yes = flags&unix.O_NONBLOCK != 0
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return yes
}

// TestSharedWrite has all bytes arrive although the file has been made non-blocking, and leaves
// it so.
func TestSharedWrite(t *testing.T) {
	r, w := blockingPipe(t)
	setNonblock(t, w)
	want := testkit.Pattern(1 << 20)
	written := make(chan error, 1)
	go func() {
		n, err := Share(w).Write(want)
		if n != len(want) && err == nil {
			err = io.ErrShortWrite
		}
		written <- errors.Join(err, w.Close())
	}()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if err := testkit.Within(t, written, "writing"); err != nil {
		t.Error(err)
	}
}

// TestSharedRead has a read wait for what comes, and for the end, and changes no flag.
func TestSharedRead(t *testing.T) {
	r, w := blockingPipe(t)
	setNonblock(t, r)
	s := Share(r)
	read := make(chan string, 1)
	next := func() {
		go func() {
			b := make([]byte, 10)
			n, err := s.Read(b)
			if err != nil {
				read <- err.Error()
				return
			}
			read <- string(b[:n])
		}()
	}
	for _, text := range []string{"one", "two"} {
		next()
		testkit.Write(t, w, text)
		if got := testkit.Within(t, read, "reading"); got != text {
			t.Errorf("read %q", got)
		}
	}
	next()
	_ = w.Close()
	if got := testkit.Within(t, read, "the end"); got != io.EOF.Error() {
		t.Errorf("read %q", got)
	}
	if !isNonblock(t, r) {
		t.Error("the others' file is blocking now")
	}
}

// TestSharedErrors has what is no lack of room be an error at once.
func TestSharedErrors(t *testing.T) {
	r, w := blockingPipe(t)
	setNonblock(t, w)
	_ = r.Close()
	if _, err := Share(w).Write([]byte("x")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("writing to nobody: %v", err)
	}
	_ = w.Close()
	if _, err := Share(w).Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("writing to a closed file: %v", err)
	}
}

// TestSharedEnd has the end of a direction be passed on although somebody else has the socket open,
// and a reset be one.
func TestSharedEnd(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			a, b := socketPair(t, network)
			file, err := a.stream.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				t.Fatal(err)
			}
			s := Share(file)
			testkit.Write(t, s, "last")
			if err := s.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			testkit.Expect(t, b, "last")
			testkit.ExpectEnd(t, b)
			testkit.Write(t, b, "on")
			testkit.Expect(t, s, "on")
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("pipe", func(t *testing.T) {
		r, w := blockingPipe(t)
		if err := Share(w).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		testkit.ExpectEnd(t, r)
	})
	t.Run("reset", func(t *testing.T) {
		a, b := socketPair(t, "tcp")
		file, err := a.stream.(*net.TCPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(Share(file).Reset(), a.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Read(make([]byte, 1)); !IsReset(err) {
			t.Errorf("read: %v", err)
		}
	})
}
