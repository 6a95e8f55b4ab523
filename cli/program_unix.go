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
// a program that stops alone, and not to stop before it.

// stopSettles is how long it takes to see whether a program that has stopped goes on at once.
const stopSettles = 100 * time.Millisecond

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
	pid   int
	tty   *os.File // the controlling terminal; nil if there is none
	stops *stops   // nil as well

	mu    sync.Mutex // guards what follows, and signals
	ended bool
}

// startProgram starts a program that has stdin, stdout and stderr of this process.
func startProgram(path string, args, environment []string) (*program, error) {
	runtime.LockOSThread() // whose end would be taken for that of this process: see wait
	notIgnored()
	p := &program{}
	p.tty, _ = os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0) // later it cannot be opened

	// What arrives waits for whom it is for.
	p.mu.Lock()
	if p.tty != nil {
		p.stops = watchStops(p.signal)
	}
	var err error
	p.pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{
		Env: environment, Files: []uintptr{0, 1, 2}, Sys: programAttributes(),
	})
	p.ended = err != nil
	p.mu.Unlock()
	if err != nil {
		p.release()
		return nil, err
	}
	return p, nil
}

// release gives back what was taken to run the program.
func (p *program) release() {
	if p.tty != nil {
		p.stops.end()
		_ = p.tty.Close()
	}
	runtime.UnlockOSThread()
}

// signal passes a signal on, unless the program has got it as well: what is typed at a terminal
// goes to all that is in its foreground. What can be typed, and is sent to this process alone while
// it is there, is taken for typed.
func (p *program) signal(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	number, ok := s.(syscall.Signal)
	if p.ended || !ok {
		return
	}
	byKey := number == syscall.SIGINT || number == syscall.SIGQUIT || number == syscall.SIGTSTP
	if !byKey || !p.inForeground() {
		_ = syscall.Kill(p.pid, number)
	}
}

// wait returns how the program has ended.
func (p *program) wait() *commandEnd {
	defer p.release()
	for {
		status, ok := p.change(0)
		for ok && status.Stopped() && p.tty != nil {
			status, ok = p.stopWith(status.StopSignal())
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
	if status.Signaled() {
		return exitBySignal(status.Signal())
	}
	return &commandEnd{code: status.ExitStatus()}
}

// stopWith has this process stop as its program has, so that the shell that has started it takes
// the terminal, and has the program go on when this process does. It returns what the program has
// done meanwhile, if anything. Without a terminal there is no shell that would do that.
func (p *program) stopWith(by syscall.Signal) (status syscall.WaitStatus, ok bool) {
	if !p.stops.leaveGoing(by) {
		<-time.After(stopSettles) // it has stopped both, and both go on
	}
	if status, ok = p.change(unix.WNOHANG); ok {
		return status, ok
	}
	group, own := p.foreground(), unix.Getpgrp()
	theirs, err := unix.Getpgid(p.pid)
	took := err == nil && theirs == group && group != own
	if took {
		p.setForeground(own)
	}
	p.stops.stop()
	status, ok = p.change(unix.WNOHANG)
	if err != nil || ok && !status.Continued() {
		return status, ok
	}
	if took && p.inForeground() {
		p.setForeground(theirs)
	}
	if !ok { // whoever has woken this process has not woken that
		_ = syscall.Kill(-theirs, syscall.SIGCONT)
	}
	return status, ok
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
