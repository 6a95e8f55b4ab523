//go:build unix && !linux

package cli

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// stopTakes is how long it takes this process to stop, where that is possible.
const stopTakes = time.Second

// stops is when this process stops beside a program that it runs at a terminal. What is typed there
// stops both.
type stops struct{ resumed chan os.Signal }

func watchStops(func(os.Signal)) *stops {
	s := &stops{make(chan os.Signal, 1)}
	signal.Notify(s.resumed, syscall.SIGCONT)
	return s
}

func (s *stops) leaveGoing(syscall.Signal) bool { return false }

// stop stops this process and all else in its process group, and returns when it goes on, or soon
// if nobody is there who could wake it.
func (s *stops) stop() {
	select {
	case <-s.resumed:
	default:
	}
	_ = syscall.Kill(0, syscall.SIGTSTP)
	select {
	case <-s.resumed:
	case <-time.After(stopTakes):
	}
}

func (s *stops) end() { signal.Stop(s.resumed) }
