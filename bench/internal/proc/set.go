//go:build linux

package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	pollInterval = 5 * time.Millisecond
	killGrace    = 5 * time.Second // for a killed process to be gone
	tailBytes    = 400             // of a log, shown when something failed
)

// A Set is the processes that make up one topology, each in a process group of
// its own, with their output in files under Dir.
type Set struct {
	Dir string

	mu    sync.Mutex
	procs []*Process // guarded by mu
}

// A Process is one program of a Set.
type Process struct {
	name string
	cmd  *exec.Cmd
	out  string
	errs string
	done chan struct{} // closed when it has ended
	gone bool          // and nobody of its group is left; set before that
}

// Start runs a program until Close. Its environment is the bench's and env.
func (s *Set) Start(env []string, program string, args ...string) (*Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := filepath.Base(program)
	base := filepath.Join(s.Dir, fmt.Sprintf("%d-%s", len(s.procs), name))
	p := &Process{
		name: name,
		out:  base + ".out",
		errs: base + ".err",
		done: make(chan struct{}),
	}
	stdout, err := os.Create(p.out)
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := os.Create(p.errs)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()

	p.cmd = exec.Command(program, args...)
	p.cmd.Dir = s.Dir
	p.cmd.Env = append(os.Environ(), env...)
	if os.Geteuid() != 0 {
		// Only root can look at the memory of a process that is not dumpable.
		p.cmd.Env = append(p.cmd.Env, "SP_NO_SANDBOX=true")
	}
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	// The group is what Close kills; the signal is for a bench that is killed
	// itself and cannot.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go p.reap()
	s.procs = append(s.procs, p)
	return p, nil
}

func (p *Process) reap() {
	p.cmd.Wait() // how a killed process ended is of no interest
	p.gone = syscall.Kill(-p.cmd.Process.Pid, 0) == syscall.ESRCH
	close(p.done)
}

// killGroup ends the process and its group, unless nobody is left: then their
// number is free, and soon somebody else's.
func (p *Process) killGroup() {
	select {
	case <-p.done:
		if p.gone {
			return
		}
	default:
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // an empty group is what is wanted
}

// FirstLine waits until the process has printed a line on stdout: the sign of
// sp and of the bench's own helpers that they are ready.
func (p *Process) FirstLine(ctx context.Context) (string, error) {
	for {
		data, err := os.ReadFile(p.out)
		if err != nil {
			return "", err
		}
		if line, _, found := bytes.Cut(data, []byte("\n")); found {
			return string(line), nil
		}
		select {
		case <-p.done:
			return "", fmt.Errorf("%s ended early", p.name)
		case <-ctx.Done():
			return "", fmt.Errorf("%s printed nothing: %w", p.name, ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}

// Ended names a process that is no longer running, if there is one.
func (s *Set) Ended() (string, bool) {
	for _, p := range s.processes() {
		select {
		case <-p.done:
			return p.name, true
		default:
		}
	}
	return "", false
}

// Log is the end of what each process wrote to stderr, to explain a failure.
func (s *Set) Log() string {
	var b strings.Builder
	for _, p := range s.processes() {
		data, err := os.ReadFile(p.errs)
		if err != nil || len(data) == 0 {
			continue
		}
		if len(data) > tailBytes {
			data = data[len(data)-tailBytes:]
		}
		fmt.Fprintf(&b, "\n%s: %s", p.name, bytes.TrimSpace(data))
	}
	return b.String()
}

// Kill ends every process and descendant, and waits for none: what they serve
// breaks at once.
func (s *Set) Kill() error {
	descendants, err := s.tree()
	for _, p := range s.processes() {
		p.killGroup()
	}
	for _, pid := range descendants {
		syscall.Kill(pid, syscall.SIGKILL) // one that left its group, as sshd's children do
	}
	return err
}

// Close kills them all and waits until those started here have ended.
func (s *Set) Close() error {
	err := s.Kill()
	deadline := time.After(killGrace)
	for _, p := range s.processes() {
		select {
		case <-p.done:
		case <-deadline:
			pid := p.cmd.Process.Pid
			err = errors.Join(err, fmt.Errorf("%s (pid %d) does not end", p.name, pid))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.procs = nil
	return err
}

func (s *Set) processes() []*Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.procs)
}
