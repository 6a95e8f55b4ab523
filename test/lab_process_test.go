//go:build unix

package test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/secureportal/sp/internal/brokertest/kafka"
	"github.com/secureportal/sp/internal/testkit"
)

// bootedWord is the name by which this test binary is the program that tries sp where systemd is
// the first process.
const bootedWord = "sp-booted"

// radioWord is the same for the first process of a machine with radios, where it runs a test.
const radioWord = "sp-radio"

// TestMain lets scripts run this test binary as the programs service and talk, and removes the sp
// that was built.
func TestMain(m *testing.M) {
	kafka.Serve() // if this is another process of a test's
	testscript.Main(tidy{m}, map[string]func(){
		"service": serviceMain, "talk": talkMain, bootedWord: bootedMain, radioWord: radioMain,
	})
}

// tidy is testing.M with what is to be done before and after all tests.
type tidy struct{ *testing.M }

func (m tidy) Run() int {
	manyAtOnce()
	unignoreSignals()
	pulse = testkit.StartPulse()
	defer pulse.Stop()
	undo, err := fewRoots()
	if err != nil {
		fatal(err)
	}
	defer undo()
	code := m.M.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	return code
}

// unignoreSignals has the processes of these tests begin as a terminal's do, also under nohup and
// in the background of a script: what is ignored here would be ignored there.
func unignoreSignals() {
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}

// atOnce is how many tests run at once, unless -parallel says so: most wait most of the time, for
// clocks and processes. With many more, a busy machine's processes are too slow for sp's own
// timers, and sooner so with the race detector, with which they compute several times as much.
const (
	atOnce     = 12
	atOnceRace = 8
)

func manyAtOnce() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		n := atOnce
		if raceDetector {
			n = atOnceRace
		}
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

// isStatic tells whether the sp that is built is static, as what is released. For every day it is
// built as these tests are: another way would have all that it is made of compiled a second time.
func isStatic() bool { return !raceDetector && (isLonger() || !cgoEnabled) }

// executable returns the path of the sp to test: $SP_BINARY, or one that is built from this module,
// with the race detector if the tests have it.
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
		flags := []string{fmt.Sprintf("-race=%t", raceDetector), "-ldflags=-s -w"} // quicker to link
		build := exec.Command("go", slices.Concat([]string{"build"}, flags,
			[]string{"-o", built.path, ".."})...)
		if !isLonger() { // what run has linked is kept
			build = exec.Command("go", slices.Concat([]string{"run"}, flags,
				[]string{"-exec", "cp", "..", built.path})...)
		}
		if isStatic() {
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
		}
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%v: %w\n%s", build, err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// raceOptions make a process with the race detector end at the first race, with an exit code that
// means nothing else.
const raceOptions = "GORACE=halt_on_error=1 exitcode=66 atexit_sleep_ms=0"

// process is a program in the background, in a process group of its own. Its methods without an
// error as their result end the test when they fail, so they belong on the test's own goroutine.
type process struct {
	t              testing.TB // nil after launch
	cmd            *exec.Cmd
	stdout, stderr transcript
	done           chan struct{} // closed when it has ended
	groupGone      bool          // and nobody of its group is left; set before that
	killing        sync.Once
}

// launch starts cmd and collects what it prints, unless cmd has it go somewhere else. The caller
// kills it, and looks for trouble.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.stderr
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = processAttributes()
	}
	if cmd.WaitDelay == 0 {
		// A child of its own may keep the pipes open; and it takes a slow machine a while to read them.
		cmd.WaitDelay = unhurried(time.Second)
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
		p.groupGone = syscall.Kill(-cmd.Process.Pid, 0) == syscall.ESRCH
	}()
	return p, nil
}

// start starts cmd, and ends it with the test, which fails if the process is broken.
func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p, err := launch(cmd)
	if err != nil {
		t.Fatal(err)
	}
	p.t = t
	t.Cleanup(func() {
		p.kill()
		if err := p.trouble(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%v: %v\n%s%s", cmd, cmd.ProcessState, p.stdout.String(), p.stderr.tail())
			p.keepLog()
		}
	})
	return p
}

// logsVariable names a folder for all that processes of a test have said that has failed.
const logsVariable = "SP_LOGS"

func (p *process) keepLog() {
	dir := os.Getenv(logsVariable)
	if dir == "" {
		return
	}
	text := fmt.Sprintln(p.cmd) + p.stdout.String() + p.stderr.String()
	file := filepath.Join(dir, strconv.Itoa(p.cmd.Process.Pid)+".log")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.t.Error(err)
	}
}

// again starts the command of a process that has ended once more, and waits until it is ready.
func (p *process) again() *process {
	p.t.Helper()
	cmd := exec.Command(p.cmd.Path, p.cmd.Args[1:]...)
	cmd.Env, cmd.Dir = p.cmd.Env, p.cmd.Dir
	next := start(p.t, cmd)
	next.ready()
	return next
}

// ready waits until the process has printed the line that says so, and returns it.
func (p *process) ready() string {
	p.t.Helper()
	line, err := p.readyLine()
	if err != nil {
		p.t.Fatal(err)
	}
	return line
}

func (p *process) readyLine() (string, error) {
	aLine := func(s string) bool { return strings.Contains(s, "\n") }
	if err := p.await(&p.stdout, aLine); err != nil {
		return "", fmt.Errorf("%v: no ready line: %w", p.cmd, err)
	}
	line, _, _ := strings.Cut(p.stdout.String(), "\n")
	return line, nil
}

// says waits until the process has logged text.
func (p *process) says(text string) {
	p.t.Helper()
	p.saysTimes(text, 1)
}

// saysTimes waits until the process has logged text n times.
func (p *process) saysTimes(text string, n int) {
	p.t.Helper()
	enough := func(s string) bool { return strings.Count(s, text) >= n }
	if err := p.await(&p.stderr, enough); err != nil {
		p.t.Fatalf("%v has not logged %q %d times: %v", p.cmd, text, n, err)
	}
}

// saysAgain waits until the process has logged text more often than before, which said returned.
func (p *process) saysAgain(text string, before int) {
	p.t.Helper()
	p.saysTimes(text, before+1)
}

// said returns how often the process has logged text so far.
func (p *process) said(text string) int { return strings.Count(p.stderr.String(), text) }

// linesWith returns the lines that the process has logged so far and text is in.
func (p *process) linesWith(text string) (lines []string) {
	for line := range strings.Lines(p.stderr.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// await waits until what was printed so far is enough.
func (p *process) await(printed *transcript, enough func(string) bool) error {
	late := time.After(patience)
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
			return fmt.Errorf("it ended first: %v\n%s", p.cmd.ProcessState, p.stderr.tail())
		case <-late:
			return fmt.Errorf("not within %v\n%s%s", patience, p.stderr.tail(), p.stacks())
		}
	}
}

// signal sends a signal to the process alone.
func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// stop asks the process to end in good order.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
}

// kill ends the process and its children at once, and waits for it.
func (p *process) kill() {
	p.killing.Do(func() { p.signalGroup(syscall.SIGKILL) })
	<-p.done
}

// signalGroup sends a signal to the process and its children. When nobody of them is left, their
// number is free, and soon somebody else's.
func (p *process) signalGroup(s syscall.Signal) {
	select {
	case <-p.done:
		if p.groupGone {
			return
		}
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, s)
}

// ends waits for the end, and fails the test unless the exit code is want.
func (p *process) ends(want int) {
	p.t.Helper()
	code, err := p.exitCode()
	if err != nil {
		p.t.Fatal(err)
	}
	if code != want {
		p.t.Fatalf("%v ended with %d, want %d\n%s", p.cmd, code, want, p.stderr.tail())
	}
}

// exitCode waits for the end and returns the exit code, -1 if a signal ended it.
func (p *process) exitCode() (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		return 0, fmt.Errorf("%v has not ended within %v\n%s%s", p.cmd, patience, p.stderr.tail(),
			p.stacks())
	}
}

// stacksTime is how long a process that is stuck may take to say where.
const stacksTime = 10 * time.Second

// stacks ends a process that does not do what it should, and returns what each of its goroutines
// was at: a Go program answers SIGQUIT so, on its stderr.
func (p *process) stacks() string {
	p.signalGroup(syscall.SIGQUIT)
	select {
	case <-p.done:
	case <-time.After(stacksTime):
		return "and it does not answer SIGQUIT, or its stderr is not read\n"
	}
	_, stacks, _ := strings.Cut(p.stderr.String(), "SIGQUIT: quit")
	return "what it was at:" + stacks
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

// tail returns the end of it, which is all of it unless it is long.
func (s *transcript) tail() string {
	const most = 4000
	text := s.String()
	if len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}

// trouble returns the sign in it that a Go program is broken, or nothing.
func (s *transcript) trouble() string {
	text := s.String()
	for _, sign := range []string{
		"WARNING: DATA RACE", "panic: ", "fatal error: ",
		"goroutine 1 [",
	} {
		if strings.Contains(text, sign) {
			return sign
		}
	}
	return ""
}

// must runs cmd, which must succeed, and returns what it printed on stdout.
func must(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.Bytes())
	}
	return out
}
