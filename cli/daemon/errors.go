package daemon

import (
	"errors"

	"github.com/secureportal/sp/identity"
)

// Problem is what kind of thing went wrong: those that a user can do something about.
type Problem int

// The kinds of Problem.
const (
	NoKeyPlace   Problem = iota + 1 // there is no place for the user's own key file
	NoFolder                        // the key file's folder is not there
	NoListFile                      // an allow or deny file is not there
	OwnRotation                     // the known histories do not take the node's own key
	RelayFailed                     // a relay was not reached, or refused a name
	TicketFailed                    // the outlet did not take the ticket
	NotBelieved                     // a credential is not to be believed
	NoPlace                         // the file of known histories cannot be written
	TooLong                         // what the node presents of itself does not fit a handshake
	NoClaimants                     // nobody may claim a name on the node's relays
	NeedsRestart                    // a process that is confined cannot do that any more
)

// Error is an error together with the kind of problem that it is. Its text is the error's.
type Error struct {
	Problem Problem
	Err     error
	Self    identity.Identifier // of RelayFailed: the node's own
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error.
func (e *Error) Unwrap() error { return e.Err }

// ErrStopped is the error of stdin and stdout whose inlet was stopped before their connection
// had ended.
var ErrStopped = errors.New("stopped by a signal before the connection had ended")
