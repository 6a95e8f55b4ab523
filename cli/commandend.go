package cli

import (
	"errors"
	"os"
	"syscall"
)

// commandEnd is how the command of sp run has ended, or why it has not begun. It is an error for it
// says how this process ends.
type commandEnd struct {
	code   int
	signal os.Signal // that has ended it; nil for none
	err    error     // why it has not begun; nil if there is nothing to say
}

func (e *commandEnd) Error() string {
	if e.err == nil {
		return "the command has ended"
	}
	return e.err.Error()
}

func (e *commandEnd) Unwrap() error { return e.err }

// exitBySignal is the end of a command by a signal, as shells tell it.
func exitBySignal(s os.Signal) *commandEnd {
	e := &commandEnd{code: exitSignal, signal: s}
	if number, ok := s.(syscall.Signal); ok {
		e.code += int(number)
	}
	return e
}

// isInterrupted tells whether a command was ended by SIGINT.
func isInterrupted(err error) bool {
	ended, ok := errors.AsType[*commandEnd](err)
	return ok && ended.signal == os.Interrupt
}
