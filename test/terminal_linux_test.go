package test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/testkit"

	"github.com/secureportal/sp/internal/testenv"
)

// terminal returns a new pseudoterminal: closing its controller is closing its window.
func terminal(t *testing.T) (controller, line *os.File) {
	t.Helper()
	controller, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		testenv.Skip(t, "no pseudoterminals here: "+err.Error())
	}
	t.Cleanup(func() { _ = controller.Close() })
	fd := int(controller.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		line, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = line.Close() })
	return controller, line
}

// TestTerminalClosed has a role end when the terminal that it was started in is closed, unless
// nohup says otherwise.
func TestTerminalClosed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script string
		ends   bool
	}{
		"in the foreground": {`exec "$@"`, true},
		"nohup":             {`exec nohup "$@"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newPerson(t)
			controller, line := terminal(t)
			relay := u.relayAt(anywhere, u.ownKey()...)
			cmd := u.program("sh", append([]string{"-c", test.script, "sh", u.binary}, relay...)...)
			cmd.Stdin = line
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL,
			}
			p := start(t, cmd)
			at := p.ready()
			_ = line.Close()
			_ = controller.Close()
			if !test.ends {
				u.saysHello(step(at))
				u.saysHello(step(at))
				return
			}
			p.ends(0)
		})
	}
}

// TestTerminalOfOthers has SIGHUP mean that files are read again to a role that has no terminal of
// its own, whatever its stdin is.
func TestTerminalOfOthers(t *testing.T) {
	t.Parallel()
	_, line := terminal(t)
	u := newPerson(t)
	cmd := u.command(u.relayAt(anywhere)...)
	cmd.Stdin = line
	p := start(t, cmd)
	p.ready()
	p.signal(syscall.SIGHUP)
	p.says("reading all files again")
	p.stop()
	p.ends(0)
}

// TestHangupByHand has SIGHUP mean the end to a role that has a terminal, once: it drains, and
// another SIGHUP does not hurry it.
func TestHangupByHand(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	_, line := terminal(t)
	cmd := u.command("outlet", "--listen", anywhere, "--target", service(t, echo))
	cmd.Stdin = line
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL,
	}
	p := start(t, cmd)
	c := dial(t, u.inletTo(wordBehind(t, p.ready(), "--to")))
	if err := echoes(c, "before"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p.signal(syscall.SIGHUP)
		p.says("stopping")
		if err := echoes(c, "meanwhile"); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close()
	p.ends(0)
}

// TestInterruptTwice has who sits at the terminal be told at once what an interrupt waits for, and
// another one end it. Who ends a service reads the same in its log.
func TestInterruptTwice(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		begin func(w *topology) *exec.Cmd
		to    func(w *topology) string
	}{
		"inlet": {
			func(w *topology) *exec.Cmd { return w.command(w.inletArgs()...) },
			(*topology).route,
		},
		"outlet": {
			func(w *topology) *exec.Cmd {
				return w.command("outlet", "--listen", anywhere, "--target", w.targetAt)
			},
			func(w *topology) string { return w.targetAt },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newOutlet(t)
			controller, line := terminal(t)
			cmd := test.begin(w)
			cmd.Stdin, cmd.Stderr = line, line
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL,
			}
			p := start(t, cmd)
			ready := p.ready()
			if name == "outlet" {
				ready = w.inletTo(wordBehind(t, ready, "--to"))
			}
			c := dial(t, ready)
			far := w.accept()
			send(t, c, "hello")
			receives(t, far, "hello")

			var seen transcript
			go func() { _, _ = io.Copy(&seen, controller) }() // ends with the last who has the line
			interrupt := func() {
				if _, err := controller.WriteString("\x03"); err != nil {
					t.Fatal(err)
				}
			}
			interrupt()
			told := "sp: waiting up to 30 s for 1 connection (" + test.to(w) + ", idle "
			if err := p.await(&seen, func(s string) bool {
				_, rest, ok := strings.Cut(s, told)
				return ok && strings.Contains(rest, "; again to cut it\r\n")
			}); err != nil {
				t.Fatalf("%v\n%s", err, seen.String())
			}
			interrupt()
			p.ends(1)
			// The process may end before all that it has said is copied from the terminal.
			testkit.Eventually(t, "saying so", func() bool {
				return strings.Contains(seen.String(), "sp: a second signal")
			})
		})
	}
}

// TestStoppingIsLogged is that for whoever reads a log.
func TestStoppingIsLogged(t *testing.T) {
	t.Parallel()
	w := newTopology(t, plan{relay: true, inlets: 1})
	c, target := w.open()
	send(t, c, "hello")
	receives(t, target, "hello") // so that all parts know of it
	for part, text := range map[string]string{
		"inlet":  `connections=1 to=` + w.route() + ` open=\d+s idle=\d+s`,
		"outlet": `connections=1 to=` + w.targetAt + ` open=\d+s idle=\d+s`,
		"relay":  `connections=[1-9]\d*$`,
	} {
		p := *w.part(part)
		p.stop()
		p.says("stopping, and waiting for open connections")
		line := regexp.MustCompile(`(?m) msg="stopping, .* for=30s ` + text)
		if !line.MatchString(p.stderr.String()) {
			t.Errorf("%s: no line like %v\n%s", part, line, p.stderr.String())
		}
	}
	_ = c.Close()
}

// TestLogOnTerminal has the log be for people where somebody sits, and for programs elsewhere.
func TestLogOnTerminal(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	controller, line := terminal(t)
	cmd := u.command(append(u.relayAt(anywhere), "--allow-anyone")...)
	cmd.Stderr = line
	p := start(t, cmd)
	p.ready()
	b := make([]byte, 4096)
	n, err := controller.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^\d\d:\d\d:\d\d INFO  made a new identity \(`).Match(b[:n]) {
		t.Errorf("it says %q", b[:n])
	}
	p.stop()
}
