package cli

import (
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stops is when this process stops beside a program that it runs at a terminal: not before the
// program has. What is typed is read by whoever is at it first, and a program that has been told to
// stop and has not yet may be in the middle of that. The shell takes this process's stopping for
// that of all, and whoever sits there would type into a program that he believes stopped.
type stops struct {
	before, caught disposition
	pass           func(os.Signal)
	arrived        chan os.Signal
	passed         chan struct{} // closed when all that has arrived is passed on
}

// watchStops has pass get SIGTSTP in place of this process, unless that is ignored, until end.
func watchStops(pass func(os.Signal)) *stops {
	s := &stops{before: doing(nil), pass: pass}
	if s.before.ignores() {
		return s
	}
	s.begin()
	s.caught = doing(nil)
	return s
}

func (s *stops) isCaught() bool { return s.arrived != nil }

// leaveGoing tells whether this process goes on when what stops its program has reached both.
func (s *stops) leaveGoing(by syscall.Signal) bool { return s.isCaught() && by == syscall.SIGTSTP }

func (s *stops) begin() {
	arrived, passed := make(chan os.Signal, 1), make(chan struct{})
	s.arrived, s.passed = arrived, passed
	signal.Notify(arrived, syscall.SIGTSTP)
	go func() {
		defer close(passed)
		for stop := range arrived {
			s.pass(stop)
		}
	}()
}

// pause returns when what has arrived is passed on: later it would stop a program that goes on.
func (s *stops) pause() {
	signal.Stop(s.arrived)
	close(s.arrived)
	<-s.passed
}

// stop stops this process and all else in its process group, and returns when it goes on, or at
// once if nobody is there who could wake it.
func (s *stops) stop() {
	if s.isCaught() {
		s.pause()
	}
	doing(&disposition{ignored}) // once more it would stop when it has gone on
	_ = syscall.Kill(0, syscall.SIGTSTP)
	doing(&s.before)
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), syscall.SIGTSTP) // this thread, so by its return
	if s.isCaught() {
		doing(&s.caught)
		s.begin()
	}
}

// end has SIGTSTP mean what it did before.
func (s *stops) end() {
	if s.isCaught() {
		s.pause()
		doing(&s.before)
	}
}

// disposition is what a process does with a signal, with room for what that is on all that we build
// for: the handler comes first, and nothing at all is what the kernel does by itself.
type disposition [8]uintptr

const (
	ignored   = 1 // as a handler
	signalSet = 8 // how many bytes a set of signals has
)

func (d disposition) ignores() bool { return d[0] == ignored }

// doing returns what this process has done with SIGTSTP, and if next is not nil has it do that from
// now on. Package signal does not come back to what SIGTSTP does by itself: Stop and Reset leave
// Go's handler, and after Ignore it stays ignored.
func doing(next *disposition) (before disposition) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(syscall.SIGTSTP),
		uintptr(unsafe.Pointer(next)), uintptr(unsafe.Pointer(&before)), signalSet, 0, 0)
	return before
}
