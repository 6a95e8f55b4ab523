//go:build unix

package cli

import (
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A program that is run is in the process group of this process, and so in that of the pipeline and
// the script that this process is in. So the terminal is its own, what is typed there reaches it,
// and Ctrl-Z stops all of them. What is left to do: signals that were sent to this process alone,
// and a program that stops alone.

const (
	// stopSettles is how long it takes to see whether a program that has stopped goes on at once.
	stopSettles = 100 * time.Millisecond
	// stopTakes is how long it takes this process to stop as well, where that is possible.
	stopTakes = time.Second
)

// passedSignals are those that a program gets besides SIGINT and SIGTERM. SIGUSR1 is for who has a
// log file.
func passedSignals(logFile bool) []os.Signal {
	all := []os.Signal{syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR2}
	if !logFile {
		all = append(all, syscall.SIGUSR1)
	}
	return all
}

// program is one that runs. Its methods are safe for concurrent use, but wait is called once, by
// the goroutine that has started it.
type program struct {
	pid int
	tty *os.File // the controlling terminal; nil if there is none

	mu    sync.Mutex // guards what follows, and signals
	ended bool
}

// startProgram starts a program that has stdin, stdout and stderr of this process.
func startProgram(path string, args, environment []string) (*program, error) {
	runtime.LockOSThread() // whose end would be taken for that of this process: see wait
	notIgnored()
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{
		Env: environment, Files: []uintptr{0, 1, 2}, Sys: programAttributes(),
	})
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	tty, _ := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0) // now: later it cannot be opened
	return &program{pid: pid, tty: tty}, nil
}

// signal passes a signal on, unless the program has got it as well: what is typed at a terminal
// goes to all that is in its foreground.
func (p *program) signal(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	number, ok := s.(syscall.Signal)
	typed := (number == syscall.SIGINT || number == syscall.SIGQUIT) && p.inForeground()
	if !p.ended && ok && !typed {
		_ = syscall.Kill(p.pid, number)
	}
}

// wait returns how the program has ended.
func (p *program) wait() *commandEnd {
	defer runtime.UnlockOSThread()
	resumed := make(chan os.Signal, 1)
	signal.Notify(resumed, syscall.SIGCONT)
	defer signal.Stop(resumed)
	for {
		status, ok := p.change(0)
		if ok && status.Stopped() {
			select {
			case <-resumed:
			default:
			}
			status, ok = p.stopWith(resumed)
		}
		if ok && (status.Exited() || status.Signaled()) {
			return p.end(status)
		}
	}
}

// change returns what the program does next, or with WNOHANG whether it has done anything. The
// first process of a container is the parent of all whose own has ended, and nobody else buries
// them.
func (p *program) change(flags int) (status syscall.WaitStatus, ok bool) {
	whom := p.pid
	if os.Getpid() == 1 {
		whom = -1
	}
	for {
		pid, err := syscall.Wait4(whom, &status, flags|unix.WUNTRACED|unix.WCONTINUED, nil)
		if err == syscall.EINTR || err == nil && pid > 0 && pid != p.pid {
			continue
		}
		return status, err == nil && pid == p.pid
	}
}

func (p *program) end(status syscall.WaitStatus) *commandEnd {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.tty != nil {
		_ = p.tty.Close()
	}
	if status.Signaled() {
		return exitBySignal(status.Signal())
	}
	return &commandEnd{code: status.ExitStatus()}
}

// stopWith has this process stop as its program has, so that the shell that has started it takes
// the terminal, and has the program go on when this process does. If the program has done something
// else meanwhile, it returns what. Without a terminal there is no shell that would do that.
func (p *program) stopWith(resumed <-chan os.Signal) (status syscall.WaitStatus, ok bool) {
	<-time.After(stopSettles) // Ctrl-Z has stopped both, and both go on
	if status, ok = p.change(unix.WNOHANG); ok || p.tty == nil {
		return status, ok
	}
	group, own := p.foreground(), unix.Getpgrp()
	theirs, err := unix.Getpgid(p.pid)
	took := err == nil && theirs == group && group != own
	if took {
		p.setForeground(own)
	}
	_ = syscall.Kill(0, syscall.SIGTSTP)
	select {
	case <-resumed:
	case <-time.After(stopTakes): // nobody could wake it: there is no such shell
	}
	if err != nil {
		return status, false
	}
	if took && p.inForeground() {
		p.setForeground(theirs)
	}
	_ = syscall.Kill(-theirs, syscall.SIGCONT)
	return status, false
}

// foreground is the process group that the terminal is for, 0 if that is not known.
func (p *program) foreground() int {
	if p.tty == nil {
		return 0
	}
	group, err := unix.IoctlGetInt(int(p.tty.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return 0
	}
	return group
}

func (p *program) inForeground() bool { return p.foreground() == unix.Getpgrp() }

// setForeground gives the terminal to a process group, also from the background.
func (p *program) setForeground(group int) {
	signal.Ignore(syscall.SIGTTOU)
	defer signal.Reset(syscall.SIGTTOU)
	_ = unix.IoctlSetPointerInt(int(p.tty.Fd()), unix.TIOCSPGRP, group)
}
