//go:build unix

package test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// soon is how long a test waits for what happens at once on a healthy machine. Only a failing test waits that long.
const soon = 30 * time.Second

// TestMain lets scripts run this test binary as the programs service and talk, and removes the sp that was built.
func TestMain(m *testing.M) {
	testscript.Main(tidy{m}, map[string]func(){"service": serviceMain, "talk": talkMain})
}

// tidy is testing.M, and removes afterwards what all tests share.
type tidy struct{ *testing.M }

func (m tidy) Run() int {
	manyAtOnce()
	code := m.M.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	return code
}

// How many tests run at once, unless -parallel says so: most wait most of the time, for clocks and processes. With the
// race detector they compute more.
const (
	atOnce     = 8
	atOnceRace = 4
)

func manyAtOnce() {
	flag.Parse()
	n := atOnce
	if raceDetector {
		n = atOnceRace
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(max(n, runtime.GOMAXPROCS(0))))
	}
}

// built is the sp that all tests run.
var built struct {
	once sync.Once
	dir  string // to be removed
	path string
	err  error
}

// executable returns the path of the sp to test: $SP_BINARY, or one that is built from this folder, with the race detector
// if the tests have it.
func executable(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if path := os.Getenv("SP_BINARY"); path != "" {
			built.path, built.err = filepath.Abs(path)
			return
		}
		if built.dir, built.err = os.MkdirTemp("", "sp-built"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "sp")
		build := exec.Command("go", "build", fmt.Sprintf("-race=%t", raceDetector), "-o", built.path, "..")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%v: %w\n%s", build, err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// process is a program that was started in the background, in a process group of its own.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr transcript
	done           chan struct{} // closed when it has ended
	err            error         // of Wait; valid when done is closed
}

// startProcess starts cmd and collects what it prints.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	cmd.SysProcAttr = processAttributes()
	cmd.WaitDelay = time.Second // a child of its own may keep the pipes open
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// readyLine waits for the first line on stdout.
func (p *process) readyLine() (string, error) {
	if err := p.await(&p.stdout, func(s string) bool { return strings.Contains(s, "\n") }); err != nil {
		return "", fmt.Errorf("%v: no ready line: %w", p.cmd, err)
	}
	line, _, _ := strings.Cut(p.stdout.String(), "\n")
	return line, nil
}

// await waits until what was printed so far satisfies enough.
func (p *process) await(printed *transcript, enough func(string) bool) error {
	deadline := time.After(soon)
	for {
		text, more := printed.read()
		if enough(text) {
			return nil
		}
		select {
		case <-more:
		case <-p.done:
			if enough(printed.String()) {
				return nil
			}
			return fmt.Errorf("it ended first: %v\n%s", p.cmd.ProcessState, p.stderr.String())
		case <-deadline:
			return fmt.Errorf("not within %v\n%s", soon, p.stderr.String())
		}
	}
}

// signal sends a signal to the process alone.
func (p *process) signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// exitCode waits for the end and returns the exit code, -1 if a signal ended it.
func (p *process) exitCode() (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(soon):
		return 0, fmt.Errorf("%v has not ended within %v\n%s", p.cmd, soon, p.stderr.String())
	}
}

// kill ends the process and its children, and waits for it.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// trouble returns what the process printed if that says that the process itself is broken.
func (p *process) trouble() error {
	if p.stderr.trouble() != "" {
		return fmt.Errorf("%v:\n%s", p.cmd, p.stderr.String())
	}
	return nil
}

// transcript is what a process has printed. It is safe for concurrent use.
type transcript struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed by the next Write
}

// Write implements io.Writer.
func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
	return s.b.Write(p)
}

// read returns all that was printed, and a channel that is closed when there is more.
func (s *transcript) read() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more == nil {
		s.more = make(chan struct{})
	}
	return s.b.String(), s.more
}

func (s *transcript) String() string {
	text, _ := s.read()
	return text
}

// trouble returns the sign in it that a Go program is broken, or nothing.
func (s *transcript) trouble() string {
	text := s.String()
	for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: ", "goroutine 1 ["} {
		if strings.Contains(text, sign) {
			return sign
		}
	}
	return ""
}

// background starts cmd, and ends it with the test, which fails if the process is broken.
func background(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p, err := startProcess(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if err := p.trouble(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%v: %v\n%s", cmd, cmd.ProcessState, p.stderr.String())
		}
	})
	return p
}

// person is somebody with a home and an identity.
type person struct {
	t    testing.TB
	home string
}

func newPerson(t testing.TB) person {
	t.Helper()
	return person{t, t.TempDir()}
}

// command returns a command of sp's that this person gives.
func (u person) command(args ...string) *exec.Cmd {
	return u.program(executable(u.t), args...)
}

// program returns a command that this person gives.
func (u person) program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); name != "XDG_CONFIG_HOME" && !strings.HasPrefix(name, "SP_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "HOME="+u.home, raceOptions, "PATH="+filepath.Dir(executable(u.t))+":"+os.Getenv("PATH"))
	return cmd
}

// raceOptions make a process with the race detector end at the first race, with an exit code that means nothing else.
const raceOptions = "GORACE=halt_on_error=1 exitcode=66 atexit_sleep_ms=0"

// start starts sp in the background.
func (u person) start(args ...string) *process {
	u.t.Helper()
	return background(u.t, u.command(args...))
}

// run runs sp to its end, and returns its exit code and what it printed.
func (u person) run(args ...string) (code int, stdout, stderr string) {
	u.t.Helper()
	p := u.start(args...)
	code, err := p.exitCode()
	if err != nil {
		u.t.Fatal(err)
	}
	return code, p.stdout.String(), p.stderr.String()
}

// identifier returns this person's Identifier.
func (u person) identifier() string {
	u.t.Helper()
	path := filepath.Join(u.home, ".config", "sp", "identity")
	verb := "show"
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			u.t.Fatal(err)
		}
		verb = "create"
	}
	code, stdout, stderr := u.run("identity", verb)
	if code != 0 {
		u.t.Fatalf("identity %s: exit code %d\n%s", verb, code, stderr)
	}
	return strings.TrimSpace(stdout)
}

// ready waits for p's ready line.
func ready(t testing.TB, p *process) string {
	t.Helper()
	line, err := p.readyLine()
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// ends waits for p's end, and fails the test if the exit code is not want.
func ends(t testing.TB, p *process, want int) {
	t.Helper()
	code, err := p.exitCode()
	if err != nil {
		t.Fatal(err)
	}
	if code != want {
		t.Fatalf("%v ended with %d, want %d\n%s", p.cmd, code, want, p.stderr.String())
	}
}

// logs waits until p has logged text.
func logs(t testing.TB, p *process, text string) {
	t.Helper()
	if err := p.await(&p.stderr, func(s string) bool { return strings.Contains(s, text) }); err != nil {
		t.Fatalf("%v has not logged %q: %v", p.cmd, text, err)
	}
}
