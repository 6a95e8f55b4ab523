//go:build unix

package test

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// oneSocket starts an inlet whose stdin and stdout are one socket, as inetd does, and returns it
// and the other end.
func (u person) oneSocket(network, to string) (*process, conn) {
	u.t.Helper()
	return u.oneSocketFor(network, false, u.command("inlet", "--listen", "-", "--to", to))
}

// oneSocketFor is oneSocket for any command. Stderr may be that socket as well.
func (u person) oneSocketFor(network string, stderr bool, cmd *exec.Cmd) (*process, conn) {
	u.t.Helper()
	where := anywhere
	if network == "unix" {
		where = u.home + "/socket"
	}
	l, err := net.Listen(network, where)
	if err != nil {
		u.t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial(network, l.Addr().String())
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = far.Close() })
	near, err := l.Accept()
	if err != nil {
		u.t.Fatal(err)
	}
	defer near.Close()
	file, err := near.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		u.t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdin, cmd.Stdout = file, file
	if stderr {
		cmd.Stderr = file
	}
	testkit.Hurry(u.t, far)
	return start(u.t, cmd), far.(conn)
}

// says has one end say something and end its direction, and the other one see both.
func says(t *testing.T, from, to conn, text string) {
	t.Helper()
	send(t, from, text)
	halfClose(t, from)
	receives(t, to, text)
	receivesEnd(t, to)
}

// TestOneSocket has each end be passed on while the other direction goes on, whichever ends first,
// where stdin and stdout are one socket.
func TestOneSocket(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network+", the service first", func(t *testing.T) {
			t.Parallel()
			w := newOutlet(t)
			p, c := w.oneSocket(network, w.route())
			far := w.accept()
			says(t, far, c, "greeting")
			says(t, c, far, "late")
			p.ends(0)
		})
		t.Run(network+", the client first", func(t *testing.T) {
			t.Parallel()
			w := newOutlet(t)
			p, c := w.oneSocket(network, w.route())
			far := w.accept()
			says(t, c, far, "question")
			send(t, far, "answer")
			_ = far.Close()
			receives(t, c, "answer")
			receivesEnd(t, c)
			p.ends(0)
		})
	}
}

// TestOneSocketReset has the client of such an inlet see a reset where the service has reset its
// connection, and not an end.
func TestOneSocketReset(t *testing.T) {
	t.Parallel()
	w := newOutlet(t)
	p, c := w.oneSocket("tcp", w.route())
	far := w.accept()
	send(t, c, "question")
	receives(t, far, "question")
	reset(t, far)
	receivesReset(t, c)
	p.ends(1)
}

// TestOneSocketForAll has nothing that sp says get into a connection that is its stderr, too: no
// warning, no log, no error.
func TestOneSocketForAll(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			w := newOutlet(t)
			p, c := w.oneSocketFor(network, true, w.program("env", "-u", "HOME", w.binary, "inlet",
				"--listen", "-", "--to", w.route(), "--identity", w.keyFile(), "--log-level", "debug"))
			far := w.accept()
			send(t, far, "greeting")
			receives(t, c, "greeting")
			_ = far.Close()
			receivesEnd(t, c)
			halfClose(t, c)
			p.ends(0)

			p, c = w.oneSocketFor(network, true,
				w.command("inlet", "--listen", "-", "--to", testkit.Address(t), "--no-wait"))
			if e := endOf(c); e.read > 0 {
				t.Errorf("%d bytes came that nobody sent", e.read)
			}
			p.ends(3)
		})
	}
}

// TestUnderSocat is that with a program that makes such sockets.
func TestUnderSocat(t *testing.T) {
	socat := testenv.NeedTool(t, "socat")
	t.Parallel()
	w := newOutlet(t)
	at := testkit.Address(t)
	_, port, _ := net.SplitHostPort(at)
	// By itself it waits half a second for what comes after an end.
	start(t, w.program(socat, "-t", strconv.Itoa(int(patience.Seconds())),
		"TCP-LISTEN:"+port+",bind=127.0.0.1,reuseaddr",
		"EXEC:"+w.binary+" inlet --listen - --to "+w.route()))
	var c conn
	eventually(t, "socat", func() (ok bool) {
		var err error
		c, err = dialWhere(at)
		return err == nil
	})
	defer c.Close()
	far := w.accept()
	says(t, far, c, "greeting")
	send(t, c, "late")
	receives(t, far, "late")
}

// setNonblock makes an open file non-blocking for all who have it, and tells whether it was.
func setNonblock(t *testing.T, f *os.File) (was bool) {
	t.Helper()
	flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_GETFL, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	if err := syscall.SetNonblock(int(f.Fd()), true); err != nil {
		t.Fatal(err)
	}
	return flags&syscall.O_NONBLOCK != 0
}

// TestSharedStdio has all bytes arrive both ways although somebody who has stdin and stdout as well
// makes them non-blocking: before, when sp waits for the first bytes, or never. What sp does of its
// own accord is nothing.
func TestSharedStdio(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	for name, test := range map[string]struct{ before, after bool }{
		"never": {}, "before": {before: true}, "after": {after: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newOutlet(t)
			in, toSP := pipe(t)
			fromSP, out := pipe(t)
			if test.before {
				setNonblock(t, in)
				setNonblock(t, out)
			}
			cmd := w.command("inlet", "--listen", "-", "--to", w.route())
			cmd.Stdin, cmd.Stdout = in, out
			p := start(t, cmd)
			far := w.accept()
			testkit.Write(t, toSP, "a")
			receives(t, far, "a")
			was := test.before
			if test.after {
				was = setNonblock(t, in)
				was = setNonblock(t, out) || was
			}
			if was != test.before {
				t.Error("it has made a shared file non-blocking")
			}
			for range 3 {
				testkit.Write(t, toSP, "abc")
				receives(t, far, "abc")
			}
			_ = out.Close()
			sent := make(chan error, 1)
			go func() { sent <- sendStream(far, 1, size) }()
			want := make([]byte, size)
			_, _ = io.ReadFull(stream(1, size), want)
			got := make([]byte, size)
			if n, err := io.ReadFull(fromSP, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("read %d bytes, %v", n, err)
			}
			if err := testkit.Within(t, sent, "sending"); err != nil {
				t.Error(err)
			}
			_ = toSP.Close()
			receivesEnd(t, far)
			_ = far.Close()
			p.ends(0)
		})
	}
}

// TestReaderOfStreamGone has a far end see that its bytes were not taken, and sp end as others do
// whose output nobody reads.
func TestReaderOfStreamGone(t *testing.T) {
	t.Parallel()
	w := newOutlet(t)
	reader, out := pipe(t)
	cmd := w.command("inlet", "--listen", "-", "--to", w.route())
	in, _ := pipe(t)
	cmd.Stdin, cmd.Stdout = in, out
	p := start(t, cmd)
	far := w.accept()
	_ = out.Close()
	hangUp(reader)
	send(t, far, "anybody there?")
	if _, err := far.Read(make([]byte, 1)); !netio.IsReset(err) {
		t.Errorf("read %v", err)
	}
	code, err := p.exitCode()
	if err != nil || code != 141 && code != -1 || strings.Contains(p.stderr.String(), "sp: ") {
		t.Errorf("exit code %d, %v, and it has said %q", code, err, p.stderr.String())
	}
}
