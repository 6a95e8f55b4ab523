package test

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// typist sits at a terminal in which a shell with job control runs.
type typist struct {
	t          *testing.T
	controller *os.File
	shell      *process
	seen       transcript
	before     int // how much of that has been looked at
}

// newTypist starts a shell whose variable to holds a route.
func newTypist(t *testing.T, u person, to string) *typist {
	t.Helper()
	bash := testenv.NeedTool(t, "bash")
	controller, line := terminal(t)
	cmd := u.program(bash, "--norc", "--noprofile", "-i")
	cmd.Env = append(cmd.Env, "PS1=ready> ", "to="+to, "TERM=dumb", "HISTFILE=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = line, line, line
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL,
	}
	y := &typist{t: t, controller: controller, shell: start(t, cmd)}
	go func() { _, _ = io.Copy(&y.seen, controller) }() // ends with the last who has the line
	y.sees("ready> ")
	return y
}

// types types keys, and waits until text comes that has not been there before.
func (y *typist) types(keys, text string) {
	y.t.Helper()
	if _, err := y.controller.WriteString(keys); err != nil {
		y.t.Fatal(err)
	}
	y.sees(text)
}

func (y *typist) sees(text string) {
	y.t.Helper()
	err := y.shell.await(&y.seen, func(s string) bool { return strings.Contains(s[y.before:], text) })
	if err != nil {
		y.t.Fatalf("no %q: %v\n%s", text, err, y.seen.String())
	}
	y.before += strings.Index(y.seen.String()[y.before:], text) + len(text)
}

// TestRunJobControl has a command in sp run be at the terminal what it is without: stopped and
// continued, interrupted once, alone or in a pipeline, a script or a shell of its own.
func TestRunJobControl(t *testing.T) {
	t.Parallel()
	w := newOutlet(t)
	for name, story := range map[string]func(y *typist){
		"stopped, in the foreground again, and at its end": func(y *typist) {
			y.types("sp run --to x=$to -- sh -c 'echo up; exec cat'\r", "up\r\n")
			y.types("one\r", "one\r\none\r\n")
			y.types("\x1a", "Stopped")
			y.sees("ready> ")
			y.types("echo '|'two\r", "|two\r\nready> ")
			y.types("fg\r", "sp run ")
			y.types("three\r", "three\r\nthree\r\n")
			y.types("\x04", "ready> ")
			y.types("echo code=$?\r", "code=0\r\n")
		},
		"not stopped by what does not stop it": func(y *typist) {
			y.types("sp run --to x=$to -- sh -c 'trap \"\" TSTP; echo up; exec cat'\r", "up\r\n")
			y.types("\x1a", "^Z")
			y.types("one\r", "one\r\none\r\n")
			y.types("\x04", "ready> ")
			y.types("echo code=$?\r", "code=0\r\n")
		},
		"stopped when it has been": func(y *typist) {
			y.types("sp run --to x=$to -- sh -c 'trap \"echo saving; read to; echo saved \\$to; "+
				"kill -STOP \\$\\$; echo back\" TSTP; echo up; until [ \"$x\" = end ]; do read x; "+
				"echo got $x; done'\r", "up\r\n")
			y.types("\x1a", "saving\r\n")
			y.types("file\r", "saved file\r\n")
			y.sees("Stopped")
			y.sees("ready> ")
			y.types("fg\r", "back\r\n")
			y.types("one\r", "got one\r\n")
			y.types("end\r", "ready> ")
		},
		"stopped by who stops its sp": func(y *typist) {
			y.types("sp run --to x=$to -- sh -c 'echo up; exec sleep 1000' &\r", "up\r\n")
			y.types("kill -TSTP $!; until jobs | grep -q Stopped; do sleep 0.02; done; "+
				"ps -o stat= --ppid $! | cut -c 1\r", "\nT\r\n")
			y.types("kill -CONT $!; while ps -o stat= --ppid $! | grep T; do sleep 0.02; done; "+
				"kill $!; wait $!; echo code=$?\r", "code=143\r\n")
		},
		"interrupted once": func(y *typist) {
			y.types("sp run --to x=$to -- sh -c 'trap \"n=1\\$n\" INT; echo up; "+
				"until [ \"$n\" ]; do sleep 0.02; done; sleep 0.5; echo times=$n.; exit 9'\r", "up\r\n")
			y.types("\x03", "times=1.\r\n")
			y.types("echo code=$?\r", "code=9\r\n")
		},
		"a script ends with it": func(y *typist) {
			y.types("sh -c 'sp run --to x=$to -- sh -c \"echo up; exec sleep 1000\"; echo ' ' went on'\r",
				"up\r\n")
			y.types("\x03", "ready> ")
			y.types("echo code=$?\r", "code=130\r\n")
			if strings.Contains(y.seen.String(), "\n went on\r") {
				y.t.Error("the script went on")
			}
		},
		"beside another one in a pipeline": func(y *typist) {
			y.types("sp run --to x=$to -- printf 'pip''ed\\n' | "+
				"sh -c 'cat; read x </dev/tty; echo got $x'\r", "piped\r\n")
			y.types("word\r", "got word\r\n")
		},
		"a shell that is suspended": func(y *typist) {
			y.types("sp run --to x=$to -- env PS1='inn''er> ' bash --norc --noprofile -i\r", "inner> ")
			y.types("suspend\r", "Stopped")
			y.sees("ready> ")
			y.types("fg\r", "sp run ")
			y.types("\r", "inner> ")
			y.types("echo at=$SP_X_HOST\r", "at=127.0.0.1\r\n")
			y.types("sh -c 'echo up; exec cat'\r", "up\r\n")
			y.types("one\r", "one\r\none\r\n")
			y.types("\x1a", "Stopped")
			y.sees("inner> ")
			y.types("fg\r", "exec cat'\r\n")
			y.types("two\r", "two\r\ntwo\r\n")
			y.types("\x03", "inner> ")
			y.types("exit 5\r", "ready> ")
			y.types("echo code=$?\r", "code=5\r\n")
		},
		"from the background": func(y *typist) {
			y.types("sp run --to x=$to -- sh -c 'echo up; exec cat' &\r", "up\r\n")
			y.types("while jobs | grep -q Running; do sleep 0.02; done; echo '|'two\r", "|two\r\n")
			y.sees("ready> ")
			y.types("fg\r", "sp run ")
			y.types("one\r", "one\r\none\r\n")
			y.types("\x04", "ready> ")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := newTypist(t, w.person, w.route())
			story(y)
			y.types("exit\r", "")
			y.shell.ends(0)
		})
	}
}

// TestRunPassesSignals has a command get what its sp is sent, once, and be told when that is gone.
func TestRunPassesSignals(t *testing.T) {
	t.Parallel()
	w := newOutlet(t)
	begin := func(t *testing.T, script string) *process {
		t.Helper()
		cmd := w.command("run", "--to", "x="+w.route(), "--", "sh", "-c",
			script+"; echo up; while :; do sleep 0.02; done")
		cmd.WaitDelay = patience // for what the command says when its sp is gone
		p := start(t, cmd)
		if up := p.ready(); up != "up" {
			t.Fatalf("it has said %q", up)
		}
		return p
	}
	for name, s := range map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT,
		"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "TERM": syscall.SIGTERM,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := begin(t, "trap 'echo got; exit 9' "+name)
			p.signal(s)
			p.ends(9)
			if n := strings.Count(p.stdout.String(), "got"); n != 1 {
				t.Errorf("it has got %d", n)
			}
		})
	}
	t.Run("KILL", func(t *testing.T) {
		t.Parallel()
		p := begin(t, "trap 'echo left alone >&2; exit' TERM")
		p.signal(syscall.SIGKILL)
		eventually(t, "the command is told", func() bool {
			return strings.Contains(p.stderr.String(), "left alone")
		})
	})
}
