//go:build unix

// Processes of sp for the tests that drive the command.

package docs_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a process of sp. It is stopped at the end of the test.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr lockedBuffer
	lines  chan string // what it prints
	ended  chan struct{}
}

// lockedBuffer is a buffer that a process writes and a test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// command returns a command of a user whose home is given, and of whom nothing else is known.
func command(home, binary string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "XDG_") && !strings.HasPrefix(name, "SP_") && name != "HOME" {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "HOME="+home)
	return cmd
}

// start starts a process.
func start(t *testing.T, home, binary string, args ...string) *process {
	t.Helper()
	p := &process{
		t: t, cmd: command(home, binary, args...),
		lines: make(chan string, 16), ended: make(chan struct{}),
	}
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	check(t, err)
	check(t, p.cmd.Start())
	go func() {
		defer close(p.ended)
		for in := bufio.NewScanner(stdout); in.Scan(); {
			p.lines <- in.Text()
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%v: %v\n%s", p.cmd, p.cmd.ProcessState, p.stderr.String())
		}
	})
	return p
}

// ready returns the line that the process prints when it is ready.
func (p *process) ready() string {
	p.t.Helper()
	select {
	case line := <-p.lines:
		return line
	case <-p.ended:
		p.t.Fatalf("%v has ended: %v\n%s", p.cmd, p.cmd.ProcessState, p.stderr.String())
	case <-time.After(patience):
		p.t.Fatalf("%v is not ready\n%s", p.cmd, p.stderr.String())
	}
	panic("not reached")
}

// signal sends a signal.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// stop has the process end in good order.
func (p *process) stop() {
	p.signal(syscall.SIGTERM)
	p.wait()
}

// wait waits for the end of a process that has been told to.
func (p *process) wait() {
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.t.Errorf("%v had to be killed", p.cmd)
	}
}

// flagOf returns what follows a flag in a command line that sp has printed.
func flagOf(t *testing.T, line, flag string) string {
	t.Helper()
	words := strings.Fields(line)
	for i, word := range words[:len(words)-1] {
		if word == flag {
			return words[i+1]
		}
	}
	t.Fatalf("no %s in %q", flag, line)
	return ""
}

// newKey makes a key file, and returns its path and the Identifier.
func newKey(t *testing.T, home, binary, name string) (path, identifier string) {
	t.Helper()
	path = filepath.Join(home, name+".key")
	out, err := command(home, binary, "identity", "create", path).Output()
	check(t, err)
	return path, strings.TrimSpace(string(out))
}
