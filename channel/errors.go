package channel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
)

// Errors of sessions and flows. All but ErrClosed say why something ended that the user did not
// end.
var (
	// ErrCut is wrapped by the error of a direction that stopped before the sender ended it.
	ErrCut = errors.New("cut off before its end")
	// ErrReset says that the other end's application, or its connection, was reset.
	ErrReset = errors.New("reset by the far end")
	// ErrForged says that what arrived is not what the other end sent. Nothing of it was delivered.
	ErrForged = errors.New("what arrived is not what was sent " +
		"(changed, repeated, reordered or left out on the way)")
	// ErrProtocol is wrapped where the peer breaks the protocol.
	ErrProtocol = errors.New("protocol error")
	// ErrMissedPongs ends a session whose pings stay unanswered.
	ErrMissedPongs = errors.New("the far end does not answer")
	// ErrUnexpected says that the far end is another identity than the one that Initiate was to
	// find there. It wraps trust.ErrNotTrusted.
	ErrUnexpected = fmt.Errorf("%w here", trust.ErrNotTrusted)

	// ErrRefusedByPeer says that the far end does not trust this side's identity. It wraps
	// trust.ErrNotTrusted.
	ErrRefusedByPeer = fmt.Errorf("%w by the far end", trust.ErrNotTrusted)
	// ErrLeft says that the far end, an initiator, ended the link when it had seen who this side is.
	// It says no more, for it has shown nobody who it is itself. It wraps io.ErrUnexpectedEOF.
	ErrLeft = fmt.Errorf("the far end left when it had seen who is here: %w", io.ErrUnexpectedEOF)
	// ErrGivenUp says that this side's own key has been given up, as the far end shows, which has the
	// same identity with a newer key. It wraps ErrRefusedByPeer.
	ErrGivenUp = fmt.Errorf("%w: this side's key was given up when the identity was rotated elsewhere",
		ErrRefusedByPeer)
	// ErrGoingAway says that the far end is shutting down.
	ErrGoingAway = errors.New("the far end is shutting down")
	// ErrBusy says that the far end is at a limit.
	ErrBusy = errors.New("the far end is busy")
	// ErrWrongName says that the far end does not answer to the name by which the route reaches it:
	// somebody on the way has led the link elsewhere, or the route is wrong.
	ErrWrongName = errors.New("the far end does not go by that name")
	// ErrGone says that the far end does not have the flow any more that this side would go on with
	// on another link.
	ErrGone = errors.New("the far end does not have this connection any more")
	// ErrNotResumed says that a link was for a flow that does not go on there: it has ended, or is on
	// another link. The flow's two ends know why it has ended.
	ErrNotResumed = errors.New("a connection does not go on with this link")
	// ErrNeverSeen says that nothing of a flow has ever come to the far end, nor ever will: what was
	// said in it may be said in another one.
	ErrNeverSeen = errors.New("its link was lost before anything of it came to the far end")
	// ErrProcessGone says that the process is not there any more that a session was with: whoever
	// leads to that name says so.
	ErrProcessGone = errors.New("the process that it was with is gone")
	// ErrUnknownSession says that a flow names a session that is not here, or not any more.
	ErrUnknownSession = errors.New("flow of an unknown session")
	// ErrReplayed says that a flow's number has been used before.
	ErrReplayed = errors.New("flow number already used")
	// ErrClosed is wrapped by uses of what has been closed on this side.
	ErrClosed = net.ErrClosed
)

// leftError is ErrLeft, and says whom the far end has seen.
type leftError struct{ own identity.Identifier }

func (e leftError) Error() string {
	return fmt.Sprintf("the far end left when it had seen that this side is %s: "+
		"it may not trust that identity", e.own)
}

func (e leftError) Unwrap() error { return ErrLeft }

// RefusedError is ErrRefusedByPeer of a handshake, and says who the two are: the far end has proved
// to be Peer, is trusted here, and does not trust Self, which is this side.
type RefusedError struct{ Peer, Self identity.Identifier }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%v, which is %s: this side is %s", ErrRefusedByPeer, e.Peer, e.Self)
}

// Unwrap returns ErrRefusedByPeer.
func (e *RefusedError) Unwrap() error { return ErrRefusedByPeer }

// deniedError is why a far end has refused a session, and who that has proved to be.
type deniedError struct {
	error
	peer    identity.Identifier
	process processKey
}

// Unwrap returns why.
func (e *deniedError) Unwrap() error { return e.error }

// sessionEnded wraps the reason why a session ended in the error of what needs it.
func sessionEnded(reason error) error { return fmt.Errorf("session ended: %w", reason) }

// handshakeError wraps the error of a handshake. If the link ended, the result wraps
// io.ErrUnexpectedEOF.
func handshakeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrLeft):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the far end does not answer the handshake: %w", os.ErrDeadlineExceeded)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		const text = "the far end closed the link during the handshake: %w"
		return fmt.Errorf(text, io.ErrUnexpectedEOF)
	case errors.Is(err, ErrCut), netio.IsReset(err):
		return fmt.Errorf("the link broke during the handshake: %w: %w", io.ErrUnexpectedEOF, err)
	}
	return fmt.Errorf("handshake: %w", err)
}

// linkError wraps ErrCut around whatever a link fails with, its end included. Only a deadline that
// has passed stays what it is.
func linkError(err error) error {
	if err == nil {
		return nil
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrCut
	}
	var operation *net.OpError
	switch {
	case errors.Is(err, ErrCut), isTimeout(err):
		return err
	case errors.As(err, &operation):
		err = operation.Err
	}
	return fmt.Errorf("%w: %w", ErrCut, err)
}

// isTimeout tells whether a deadline has passed. ETIMEDOUT, which says that the link is dead, calls
// itself a timeout too, and is none.
func isTimeout(err error) bool {
	if err == nil || err == io.EOF {
		return false
	}
	var t net.Error
	return errors.As(err, &t) && t.Timeout() && !errors.Is(err, syscall.ETIMEDOUT)
}
