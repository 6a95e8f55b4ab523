package directory

import (
	"context"
	"errors"
)

// Bus carries short messages between relays that all of them may listen for, at most once and in no
// order. Nobody has to trust it. It is safe for concurrent use.
type Bus interface {
	// Listen has f called with what is said on a subject, until stop is called; answer says something
	// to who has said it, and is nil if that one does not want to hear anything. f is called for one
	// message after the other, and must not wait; it may keep said. While the bus is down, it is
	// listened for as soon as it is up.
	Listen(subject string, f func(said []byte, answer func([]byte))) (stop func())

	// Tell says something to those who listen. What cannot be said now is lost.
	Tell(subject string, b []byte)

	// Ask says something, and calls each with each answer until that says that it is enough, or ctx
	// ends. ErrNobody is that nobody listens, as far as the bus knows, and ErrDown that it cannot be
	// asked now.
	Ask(ctx context.Context, subject string, b []byte, each func([]byte) (enough bool)) error

	// State tells how the bus is. The channel is closed when that may have changed.
	State() (State, <-chan struct{})
}

// State is how a bus is.
type State struct {
	Up  bool
	Err error // why it is down, if that is known
}

// Errors of a bus.
var (
	ErrNobody = errors.New("nobody listens")
	ErrDown   = errors.New("the directory cannot be reached now")
)
