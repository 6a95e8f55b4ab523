package channel

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/cpu"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/noise"
)

// Trust decides about peers. *trust.Policy is one. It must be safe for concurrent use.
type Trust interface {
	// MightTrust says whether somebody could be trusted, as what he is taken for, who proves what
	// he claims; an error wraps trust.ErrNotTrusted. It is asked before the claim's signatures
	// are verified.
	MightTrust(c identity.Claim, as trust.As, now time.Time) error
	// Check says by what, and until when, peer is trusted as what it is taken for; an error
	// wraps trust.ErrNotTrusted. It only asks: a running session asks it again and again.
	Check(peer *identity.Peer, as trust.As, now time.Time) (trust.Decision, error)
	// Accept is Check for a peer that has just proved itself in a handshake. It may write what
	// follows from that: redeem the peer's ticket, remember its history.
	Accept(peer *identity.Peer, as trust.As, now time.Time) (trust.Decision, error)
	// Changed returns a channel that is closed when decisions may have changed.
	Changed() <-chan struct{}
}

// Config is what one node brings to all its channels. It must not be changed once it is in use.
type Config struct {
	Identity *identity.Identity // required
	Trust    Trust              // required

	// Initiators is what a responder takes an initiator for. 0 means trust.Inlet.
	Initiators trust.Role

	// Current returns Identity with the key that it has now. Nil means that Identity does not
	// change its key.
	Current func() *identity.Identity

	// Suites are accepted; an initiator proposes the first. Nil means DefaultSuites.
	Suites []noise.Suite

	// Credentials returns what to present in a handshake, encoded. Nil presents none.
	Credentials func() [][]byte

	// Ticket returns an encoded ticket that peer has issued, or nil. An initiator presents it to
	// peer, once peer has proved its identity and is trusted. Nil presents none.
	Ticket func(peer identity.Identifier) []byte

	// Instance says which of several processes this side is that one name leads to. A responder tells
	// it in its handshakes: see Session.FarInstance. It has at most MaxName bytes. Nil and an empty
	// one say nothing.
	Instance func() string

	// Keepalive is the time between two pings of a session that answers, while somebody would miss
	// it. 0 means DefaultKeepalive.
	Keepalive time.Duration
	// Activity counts what else than a session's own flows would be missed with it. While there is
	// neither, pings come four times as rarely. Nil means that there always is something.
	Activity *Activity
	// RenewAfter is the age at which a session's keys are replaced. 0 means DefaultRenewAfter; less
	// than 5 s means 5 s, and more than 50 minutes 50: a responder ends a session whose keys are an
	// hour old.
	RenewAfter time.Duration
	// HandshakeTimeout bounds a whole handshake. 0 means DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration

	// Prewarm is how many links an initiator makes at most before they are needed. Each begins with
	// an empty flow, which the far end's Handler must end as well. 0 makes none.
	Prewarm int

	// Probe has an initiator that has no link to spare make one, to find out on it for how long a
	// link may carry nothing. It is like those of Prewarm, and closed when that is known.
	Probe bool

	// Survive is how long a flow whose link is lost waits for another one; with the smaller of
	// both sides' times it is reset. 0, and what is less than MinSurvive, has a flow end with
	// its link. At most MaxSurvive.
	Survive time.Duration

	// SessionsPerIdentity bounds the sessions that one far end may have as initiator; one more is
	// refused with ErrBusy. 0 means DefaultSessionsPerIdentity.
	SessionsPerIdentity int

	// Compute runs f, which computes for a handshake with an initiator, when it is that one's turn,
	// or says why not. link is what Serve was given. begins says that nothing has been computed for
	// the handshake yet: its first message has come whole, and within all limits. Nil runs a few at
	// once, whoever they are for.
	Compute func(ctx context.Context, link Conn, begins bool, f func() error) error

	// Unknown is called with a link that an initiator has made for a flow of a session that is not
	// here, before the link is closed: to say so. Nil says nothing.
	Unknown func(link Conn)

	// Rest is told that a link of peer's, as initiator, waits for its next flow, until the returned
	// function is called, once. Meanwhile closeLink may be called, which does not wait. Nil is told
	// of none.
	Rest func(peer identity.Identifier, closeLink func()) (end func())

	// Suspended is told when flows of a session begin to wait for another link, and again when none
	// waits any more. GaveUp is told of a flow that will end with its link, since what it takes to
	// go on without is given up for want of memory. Neither may wait. Nil is told nothing.
	Suspended func(s *Session, now Suspension)
	GaveUp    func(f *Flow)

	// Began is told of each session when it begins, its far end trusted, and what it returns is
	// called once when the session has ended: Err says how. Neither may wait for the session. Nil
	// is told nothing.
	Began func(s *Session) (ended func())

	// Renewed is told when the keys of a session have been replaced, which takes as much room for a
	// moment as a handshake. It may not wait. Nil is told nothing.
	Renewed func()
}

func (c *Config) identity() *identity.Identity {
	if c.Current != nil {
		return c.Current()
	}
	return c.Identity
}

// initiators is what a responder takes initiators for.
func (c *Config) initiators() trust.As {
	if c.Initiators == 0 {
		return trust.As{Role: trust.Inlet}
	}
	return trust.As{Role: c.Initiators}
}

// instance is Instance.
func (c *Config) instance() string {
	if c.Instance == nil {
		return ""
	}
	return c.Instance()
}

// KeepaliveInterval returns Keepalive, or its default.
func (c *Config) KeepaliveInterval() time.Duration {
	return orDefault(c.Keepalive, DefaultKeepalive)
}

func (c *Config) renewAfter() time.Duration {
	return min(max(orDefault(c.RenewAfter, DefaultRenewAfter), minRenewAfter), maxRenewAfter)
}

// survive is Survive as both sides know it: what the handshake says of it.
func (c *Config) survive() time.Duration {
	return min(max(c.Survive, 0), MaxSurvive).Truncate(MinSurvive)
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

// DefaultSuites returns the hybrid suites, the one first that this processor is faster with:
// AES-GCM where it has AES and carry-less multiplication, as crypto/tls decides it. They must not
// be changed.
func DefaultSuites() []noise.Suite { return defaultSuites }

var defaultSuites = newDefaultSuites()

func newDefaultSuites() []noise.Suite {
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
		x86 := &cpu.X86
		return x86.HasAES && x86.HasPCLMULQDQ && x86.HasSSE41 && x86.HasSSSE3
	case "arm64":
		return cpu.ARM64.HasAES && cpu.ARM64.HasPMULL || runtime.GOOS == "darwin"
	case "s390x":
		return cpu.S390X.HasAES && cpu.S390X.HasAESCTR && cpu.S390X.HasGHASH
	}
	return false
}
