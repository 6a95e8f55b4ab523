//go:build unix

package test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the scripts with what is printed now")

// TestScripts runs the stories in testdata/script: what a user types, and what comes of it. Beside
// testscript's own commands they have
//
//	start NAME PROGRAM ARG…    starts a program, waits for its ready line, and puts that into $NAME
//	launch NAME PROGRAM ARG…   starts a program that will not be ready
//	end NAME [CODE]           sends SIGTERM and expects the exit code, 0 if there is none
//	slay NAME                  kills a program that has no time to clean up
//	awaits NAME CODE           expects the program to end by itself
//	logs NAME PATTERN          waits until the program has printed the text on stderr
//	quiet NAME                 expects nothing on stderr so far
//	ready-lines NAME N         expects N lines on stdout so far
//	fails CODE PROGRAM ARG…    runs a program that reports an error as sp does, and no more
//	route NAME VARIABLE        puts the route that the outlet NAME printed into a variable
//	mode FILE PERMISSIONS      expects a file to have these permissions, in octal
//
// and two programs: service, and talk, which is its client.
func TestScripts(t *testing.T) {
	t.Parallel()
	sp := executable(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			return setUpScript(t, env, filepath.Dir(sp))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start":       scriptStart,
			"launch":      scriptLaunch,
			"end":         scriptEnd,
			"slay":        scriptSlay,
			"awaits":      scriptAwaits,
			"logs":        scriptLogs,
			"quiet":       scriptQuiet,
			"ready-lines": scriptReadyLines,
			"fails":       scriptFails,
			"route":       scriptRoute,
			"mode":        scriptMode,
		},
	})
}

// story is what the commands of a script share.
type story struct {
	t         *testing.T // fails if a program turns out to be broken
	processes map[string]*process
}

// storyKey is the key under which a script has its story.
type storyKey struct{}

// setUpScript gives a script a home of its own and the sp that is tested.
func setUpScript(t *testing.T, env *testscript.Env, bin string) error {
	home := filepath.Join(env.WorkDir, "home")
	env.Setenv("HOME", home)
	env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
	name, value, _ := strings.Cut(raceOptions, "=")
	env.Setenv(name, value)
	for _, name := range rootVariables {
		if value := os.Getenv(name); value != "" {
			env.Setenv(name, value)
		}
	}
	// The work folder's path may be longer than a Unix socket's may be.
	sockets, err := os.MkdirTemp("", "sp")
	if err != nil {
		return err
	}
	env.Defer(func() { _ = os.RemoveAll(sockets) })
	env.Setenv("SOCKETS", sockets)
	env.Values[storyKey{}] = story{t, make(map[string]*process)}
	return os.Mkdir(home, 0o700)
}

func scriptStart(ts *testscript.TestScript, neg bool, args []string) {
	scriptLaunch(ts, neg, args)
	line, err := scriptProcess(ts, args[0]).readyLine()
	ts.Check(err)
	ts.Setenv(args[0], line)
}

func scriptLaunch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start|launch NAME PROGRAM ARG…")
	}
	p, err := launch(scriptCommand(ts, args[1], args[2:]...))
	ts.Check(err)
	ts.Value(storyKey{}).(story).processes[args[0]] = p
	ts.Defer(func() {
		p.kill()
		if err := p.trouble(); err != nil {
			ts.Value(storyKey{}).(story).t.Error(err)
		}
	})
}

// scriptCommand returns a command as exec would run it.
func scriptCommand(ts *testscript.TestScript, name string, args ...string) *exec.Cmd {
	path := name
	if !strings.Contains(name, string(os.PathSeparator)) {
		for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil &&
				info.Mode()&0o111 != 0 {
				path = filepath.Join(dir, name)
				break
			}
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range append([]string{
		"HOME", "PATH", "GORACE", "TMPDIR", "SP_IDENTITY",
		"XDG_CONFIG_HOME", "XDG_STATE_HOME",
	}, rootVariables...) {
		if value := ts.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	return cmd
}

func scriptProcess(ts *testscript.TestScript, name string) *process {
	p, ok := ts.Value(storyKey{}).(story).processes[name]
	if !ok {
		ts.Fatalf("no program %s was started", name)
	}
	return p
}

func scriptEnd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: end NAME [CODE]")
	}
	ts.Check(scriptProcess(ts, args[0]).cmd.Process.Signal(syscall.SIGTERM))
	if len(args) == 1 {
		args = append(args, "0")
	}
	scriptAwaits(ts, false, args)
}

func scriptSlay(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: slay NAME")
	}
	scriptProcess(ts, args[0]).kill()
}

func scriptAwaits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: awaits NAME CODE")
	}
	p := scriptProcess(ts, args[0])
	code, err := p.exitCode()
	ts.Check(err)
	_, _ = io.WriteString(ts.Stdout(), p.stdout.String())
	_, _ = io.WriteString(ts.Stderr(), p.stderr.String())
	if strconv.Itoa(code) != args[1] {
		ts.Fatalf("%s ended with %d\n%s", args[0], code, p.stderr.String())
	}
}

func scriptLogs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: logs NAME TEXT")
	}
	p := scriptProcess(ts, args[0])
	ts.Check(p.await(&p.stderr, func(s string) bool { return strings.Contains(s, args[1]) }))
}

func scriptQuiet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: quiet NAME")
	}
	if text := scriptProcess(ts, args[0]).stderr.String(); text != "" {
		ts.Fatalf("%s has printed on stderr: %s", args[0], text)
	}
}

func scriptReadyLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ready-lines NAME N")
	}
	if out := scriptProcess(ts, args[0]).stdout.String(); strconv.Itoa(strings.Count(out,
		"\n")) != args[1] {
		ts.Fatalf("%s has printed on stdout: %q", args[0], out)
	}
}

func scriptFails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails CODE PROGRAM ARG…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("stdout is not empty")
	}
	ts.Check(errorLines(withoutLog(ts.ReadFile("stderr"))))
}

func scriptRoute(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: route NAME VARIABLE")
	}
	_, rest, ok := strings.Cut(ts.Getenv(args[0]), " --to ")
	if !ok {
		ts.Fatalf("no --to in %q", ts.Getenv(args[0]))
	}
	ts.Setenv(args[1], strings.Fields(rest)[0])
}

func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE PERMISSIONS")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has the permissions %s", args[0], got)
	}
}

// prompt is the listener of a web server that answers at once whatever is no HTTP. Go's waits for
// the end of a line first, and by chance there is none in a handshake.
type prompt struct{ net.Listener }

// Accept implements net.Listener.
func (l prompt) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return promptConn{c}, err
}

type promptConn struct{ net.Conn }

// Read implements net.Conn.
func (c promptConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && n < len(p) && (p[0] < 'A' || p[0] > 'Z') { // no method begins so
		p[n] = '\n'
		n++
	}
	return n, err
}

// serviceMain is a program for scripts: service http|echo [WHERE]. It prints where it listens, and
// a line on stderr for each connection. http answers with a page, echo with "you said: " and what
// it has read to the end.
func serviceMain() {
	where := anywhere
	if len(os.Args) > 2 {
		where = os.Args[2]
	}
	network, address := networkOf(where)
	l, err := net.Listen(network, address)
	if err != nil {
		fatal(err)
	}
	defer l.Close()
	if path, ok := strings.CutPrefix(where, "unix:"); ok {
		fmt.Println("unix:" + path)
	} else {
		fmt.Println(l.Addr())
	}
	if os.Args[1] == "http" {
		fatal(http.Serve(prompt{l}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(os.Stderr, r.Method, r.URL)
			fmt.Fprintln(w, "it works")
		})))
	}
	for {
		c, err := l.Accept()
		if err != nil {
			fatal(err)
		}
		fmt.Fprintln(os.Stderr, "connection")
		go answer(c)
	}
}

func answer(c net.Conn) {
	defer c.Close()
	said, err := io.ReadAll(c)
	if err == nil {
		_, _ = fmt.Fprintf(c, "you said: %s", said)
	}
}

// talkMain is a program for scripts: talk WHERE sends its stdin, ends that direction, and prints
// the answer.
func talkMain() {
	network, address := networkOf(os.Args[1])
	c, err := net.Dial(network, address)
	if err != nil {
		fatal(err)
	}
	defer c.Close()
	if _, err := io.Copy(c, bufio.NewReader(os.Stdin)); err != nil {
		fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		fatal(err)
	}
	if _, err := io.Copy(os.Stdout, c); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
