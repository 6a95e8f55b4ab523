// Package channel is the secure channel between two nodes over any net.Conn: the Noise handshake with the proof of both
// identities, sessions that outlive single connections, flows with keys of their own, and the record layer.
//
// Two nodes shake hands once, on the session's control link. Each connection after it is a Flow: a net.Conn whose keys
// are derived from the session's secret and a number that is accepted once, so that it starts without a round trip.
//
//	initiator                                        responder
//	  hello: handshake, suite, e e1        ────────▶
//	                                       ◀────────  e ee ekem1 s es, proof of identity     both sides decide on
//	  s se, proof of identity              ────────▶                                         trust before going on
//	                                       ◀────────  ready            (record of flow 0)
//	  ping, pong, handshake for new keys   ◀───────▶                   (records of flow 0, as long as the session lives)
//
//	  hello: flow, session, number, records ───────▶                   (another link; any number of them, one flow
//	                                       ◀────────  records           after the other on each)
//
//	record = length (2) | AEAD( type (1) | data )
//
// The package knows nothing of routes and portals. It dials nothing: the caller hands it connections. It logs nothing
// and writes no file. docs/PROTOCOL.md is the normative text.
package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"time"

	"golang.org/x/sys/cpu"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/noise"
)

// Limits and times that are not part of the protocol. Those a user may want to change are fields of Config.
const (
	DefaultKeepalive        = 5 * time.Second  // between two pings of a session that answers
	DefaultRenewAfter       = 5 * time.Minute  // age at which a session's keys are replaced
	DefaultHandshakeTimeout = 5 * time.Second  // for the whole handshake
	MaxUnanswered           = 3                // pings without an answer that end a session
	pingSpeedup             = 3                // by which pings come faster while one is unanswered
	epochGrace              = 30 * time.Second // how long flows of replaced keys may still arrive
	chainIdleTimeout        = 10 * time.Second // how long the initiator keeps a link without a flow, if it has more than
	chainIdleKept           = 2                // which are there for whoever comes next, however late
	chainIdleMax            = 256              // links without a flow that a session keeps
	restingMax              = 2 * chainIdleMax // of them that a responder bears with
	abortTimeout            = time.Second      // for telling the other end why a flow or a session ends
	controlTimeout          = 5 * time.Second  // for one record on the control link to be taken by the socket
	dropTimeout             = 15 * time.Second // before a session that fails to renew its keys ends
	minRenewAfter           = 5 * time.Second  // the least RenewAfter
	maxOldEpochs            = 8                // replaced keys that a responder keeps: the limit of renewals in epochGrace
	reviewInterval          = 30 * time.Second // between two looks at trust that nothing calls for

	DefaultSessionsPerIdentity = 1024 // that a responder has at a time
)

// Conn is what a channel runs over.
type Conn = net.Conn

// Trust decides about peers. *trust.Policy is one. It must be safe for concurrent use.
type Trust interface {
	// Check says by what, and until when, peer is trusted; an error wraps trust.ErrNotTrusted. It only
	// asks: a running session asks it again and again.
	Check(peer *identity.Peer, now time.Time) (trust.Decision, error)
	// Accept is Check for a peer that has just proved itself in a handshake. It may write what follows
	// from that: redeem the peer's ticket, remember its history.
	Accept(peer *identity.Peer, now time.Time) (trust.Decision, error)
	// Changed returns a channel that is closed when decisions may have changed.
	Changed() <-chan struct{}
}

// Config is what one node brings to all its channels. It must not be changed once it is in use.
type Config struct {
	Identity *identity.Identity
	Trust    Trust

	// Current returns Identity with the key that it has now. Nil means that Identity does not change its key.
	Current func() *identity.Identity

	// Suites are accepted; an initiator proposes the first. Nil means DefaultSuites.
	Suites []noise.Suite

	// Credentials returns what to present in a handshake, encoded. Nil presents none.
	Credentials func() [][]byte

	// Ticket returns what else to show to a far end that has proved to be peer and is trusted: an encoded ticket that
	// peer issued, or nil. Only an initiator does. Nil shows none.
	Ticket func(peer identity.Identifier) []byte

	Keepalive        time.Duration // 0 means DefaultKeepalive
	RenewAfter       time.Duration // 0 means DefaultRenewAfter; less than 5 s means 5 s
	HandshakeTimeout time.Duration // 0 means DefaultHandshakeTimeout

	// Ahead is how many links an initiator makes at most before they are needed, each with a flow that ends at once. The
	// far end's Handler ends such a flow as well. 0 makes none.
	Ahead int

	// SessionsPerIdentity bounds the sessions that one far end may have as initiator; one more is refused with
	// ErrBusy. 0 means DefaultSessionsPerIdentity.
	SessionsPerIdentity int

	// Admit decides whether to answer a handshake of somebody at an address. It is asked before anything is computed.
	// Nil admits everybody.
	Admit func(from net.Addr) error
}

func (c *Config) identity() *identity.Identity {
	if c.Current != nil {
		return c.Current()
	}
	return c.Identity
}

// KeepaliveInterval is the time between two pings of a session that answers: Keepalive, or its default.
func (c *Config) KeepaliveInterval() time.Duration { return orDefault(c.Keepalive, DefaultKeepalive) }

func (c *Config) renewAfter() time.Duration {
	return max(orDefault(c.RenewAfter, DefaultRenewAfter), minRenewAfter)
}

func (c *Config) handshakeTimeout() time.Duration {
	return orDefault(c.HandshakeTimeout, DefaultHandshakeTimeout)
}

func (c *Config) sessionsPerIdentity() int {
	return orDefault(c.SessionsPerIdentity, DefaultSessionsPerIdentity)
}

func orDefault[T ~int | ~int64](d, otherwise T) T {
	if d > 0 {
		return d
	}
	return otherwise
}

func (c *Config) suites() []noise.Suite {
	if len(c.Suites) > 0 {
		return c.Suites
	}
	return DefaultSuites()
}

// DefaultSuites returns the hybrid suites, the one this processor is faster with first: AES-GCM where it has AES and
// carry-less multiplication, as crypto/tls decides it.
func DefaultSuites() []noise.Suite {
	const prefix, suffix = "Noise_XXhfs_25519+MLKEM768_", "_SHA256"
	names := []string{prefix + "AESGCM" + suffix, prefix + "ChaChaPoly" + suffix}
	if !hasAES() {
		names[0], names[1] = names[1], names[0]
	}
	suites := make([]noise.Suite, len(names))
	for i, name := range names {
		suite, err := noise.ParseSuite(name)
		if err != nil {
			panic(err) // both are in noise's table
		}
		suites[i] = suite
	}
	return suites
}

func hasAES() bool {
	switch runtime.GOARCH {
	case "amd64":
		return cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE41 && cpu.X86.HasSSSE3
	case "arm64":
		return cpu.ARM64.HasAES && cpu.ARM64.HasPMULL || runtime.GOOS == "darwin"
	case "s390x":
		return cpu.S390X.HasAES && cpu.S390X.HasAESCTR && cpu.S390X.HasGHASH
	}
	return false
}

// Errors of sessions and flows. All but ErrClosed say why something ended that the user did not end.
var (
	// ErrCut is wrapped by the error of a direction that stopped without the sender having ended it.
	ErrCut = errors.New("cut off before its end")
	// ErrReset says that the other end's application, or its connection, was reset.
	ErrReset = errors.New("reset by the far end")
	// ErrForged says that what arrived is not what the other end sent. Nothing of it was delivered.
	ErrForged = errors.New("what arrived is not what was sent (changed, repeated, reordered or left out on the way)")
	// ErrProtocol is wrapped where the peer breaks the protocol.
	ErrProtocol = errors.New("protocol error")
	// ErrSilent ends a session whose pings stay unanswered.
	ErrSilent = errors.New("the far end does not answer")
	// ErrRefusedByPeer says that the far end does not trust this side's identity. It wraps trust.ErrNotTrusted.
	ErrRefusedByPeer = fmt.Errorf("%w by the far end", trust.ErrNotTrusted)
	// ErrGoingAway says that the far end is shutting down.
	ErrGoingAway = errors.New("the far end is shutting down")
	// ErrBusy says that the far end is at a limit.
	ErrBusy = errors.New("the far end is busy")
	// ErrWrongName says that the far end does not answer to the name by which the route reaches it: somebody on the
	// way has led the link elsewhere, or the route is wrong.
	ErrWrongName = errors.New("the far end does not go by that name")
	// ErrUnknownSession says that a flow names a session that is not here, or not any more.
	ErrUnknownSession = errors.New("flow of an unknown session")
	// ErrReplayed says that a flow's number has been used before.
	ErrReplayed = errors.New("flow number already used")
	// ErrClosed is wrapped by uses of what has been closed on this side.
	ErrClosed = net.ErrClosed
)

// handshakeError keeps a handshake that failed because the link ended apart from others: it wraps io.ErrUnexpectedEOF.
func handshakeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the far end closed the link during the handshake: %w", io.ErrUnexpectedEOF)
	case errors.Is(err, ErrCut), netio.IsReset(err):
		return fmt.Errorf("the link broke during the handshake: %w: %w", io.ErrUnexpectedEOF, err)
	}
	return fmt.Errorf("handshake: %w", err)
}

// guard makes conn's blocked operations fail when ctx ends or after timeout. The returned function takes the guard off
// and reports ctx's error in place of err where that is why err came about.
func guard(ctx context.Context, conn Conn, timeout time.Duration) func(err error) error {
	_ = conn.SetDeadline(time.Now().Add(timeout))
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	return func(err error) error {
		if !stop() {
			<-done
		}
		if err == nil {
			return conn.SetDeadline(time.Time{})
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
}
