package config

import (
	"io/fs"
	"strconv"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/noise"
	"github.com/secureportal/sp/route"
)

// Defaults of what a node waits for. The zero value of a field means its default.
const (
	DefaultConnectTimeout = route.DefaultConnectTimeout
	DefaultKeepalive      = channel.DefaultKeepalive
	DefaultDrain          = 30 * time.Second
	DefaultSurvive        = time.Minute

	// NoDrain, as Node.Drain, cuts open connections at once.
	NoDrain time.Duration = -1

	// NoSurvive, as Node.Survive, has a connection end with its link.
	NoSurvive time.Duration = -1
)

// Node is what all portals of a process share: who it is, whom it trusts, and how much it takes
// on.
type Node struct {
	// Identity is the key file, made on first use. Empty means the user's own,
	// identity.DefaultPath, or one that only relays have: see Config.KeyFile. Field "identity".
	Identity string

	// Trust says whom the node trusts. The zero value trusts its own identity only.
	Trust Trust

	// Credentials are files with a credential each, to be presented to far ends. They are read
	// again when they change. Field "credential".
	Credentials []string

	// Ticket is the text of a ticket to redeem, a secret until then: its issuer is trusted, and
	// gets to see it. Empty means none. Field "ticket".
	Ticket string

	// Suites are the Noise suites to accept, by name; the first is proposed. Empty means
	// channel.DefaultSuites. Field "suite".
	Suites []string

	// ConnectTimeout bounds the making of a connection. 0 means DefaultConnectTimeout.
	// Field "connect-timeout".
	ConnectTimeout time.Duration

	// Keepalive is the time between two pings of the whole way to a far end; three without an
	// answer end a session. 0 means DefaultKeepalive. Field "keepalive".
	Keepalive time.Duration

	// Drain is how long open connections may take to finish when their portal stops. 0 means
	// DefaultDrain, and NoDrain no time at all. Field "drain".
	Drain time.Duration

	// Survive is how long a connection whose link is lost waits for another way; the smaller of the
	// two ends' times holds. 0 means DefaultSurvive, and NoSurvive no time at all. Relays and
	// bridges have no use for it. Field "survive".
	Survive time.Duration

	// NoDirect leaves connections that a relay has joined on it, in place of having them go directly
	// where that can be. It is the opposite of field "direct".
	NoDirect bool

	// SurviveMemory is the most memory for what connections have sent and the far end has not
	// acknowledged, as ParseSurviveMemory reads it. Empty means budget.DefaultKept, or less where
	// memory is short. Field "survive-memory".
	SurviveMemory string

	// SocketMode is the mode of the files of Unix sockets that the node listens at, in octal: its
	// owner, or others too, may read and write. Empty means transport.DefaultSocketMode.
	// Field "socket-mode".
	SocketMode string

	// TLSCert and TLSKey are files with the certificate, and what it is signed by, and its key, to
	// listen over TLS with. They are read again when they change. Fields "tls-cert" and "tls-key".
	TLSCert, TLSKey string

	// ACME has the node get a certificate by itself, in place of TLSCert and TLSKey.
	ACME ACME

	// TLSCA is a file with the certificates of those by whom the certificates of far ends must be
	// signed, where links are made over TLS. Empty means whom the system believes; what is wrong is
	// logged then, and no more: see transport.TLSConfig. Field "tls-ca".
	TLSCA string

	// BrokersFile is a file that says how the node logs in at brokers of queues, as brokers.Parse
	// reads it. Empty means without. Field "brokers".
	BrokersFile string

	// Proxy is through which TCP connections to far ends are made: http://HOST:PORT or
	// socks5://HOST:PORT, perhaps with USER@; or NoProxy. Empty means what Proxies say.
	// Field "proxy".
	Proxy string

	// ProxyPasswordFile is a file with the password for Proxy, which has a user then. It is read
	// again when it changes. Field "proxy-password-file".
	ProxyPasswordFile string

	// Proxies are the proxies that the environment names.
	Proxies EnvironmentProxies

	// Bind is where connections to far ends go out from: an IP address of this machine, or an
	// interface. Empty leaves that to the system. Field "bind".
	Bind string

	// Limits says how much the node takes on. The zero value is the defaults.
	Limits Limits
}

// Validate says which field is wrong, or returns nil.
func (n Node) Validate() error {
	if err := n.Trust.Validate(); err != nil {
		return err
	}
	if _, err := n.ParseSuites(); err != nil {
		return err
	}
	if _, err := n.ParseTicket(); err != nil {
		return err
	}
	if _, err := n.ParseSocketMode(); err != nil {
		return err
	}
	if _, err := n.ParseProxies(); err != nil {
		return err
	}
	if _, err := n.ParseBind(); err != nil {
		return err
	}
	if err := n.ACME.Validate(); err != nil {
		return err
	}
	switch {
	case n.TLSCert != "" && len(n.ACME.Hosts) > 0:
		return fieldError("acme", "{acme} stands beside {tls-cert}: which certificate is it to be?")
	case n.TLSCert != "" && n.TLSKey == "":
		return fieldError("tls-key", "{tls-cert} stands without {tls-key}")
	case n.TLSCert == "" && n.TLSKey != "":
		return fieldError("tls-cert", "{tls-key} stands without {tls-cert}")
	case n.ConnectTimeout < 0:
		return notATime("connect-timeout", n.ConnectTimeout)
	case n.Keepalive < 0:
		return notATime("keepalive", n.Keepalive)
	case n.Drain < 0 && n.Drain != NoDrain:
		return notATime("drain", n.Drain)
	case n.Survive < 0 && n.Survive != NoSurvive:
		return notATime("survive", n.Survive)
	case n.Survive > 0 && n.Survive < channel.MinSurvive:
		return fieldError("survive", "{survive} %v is too short: %v at least, or 0",
			n.Survive, channel.MinSurvive)
	case n.Survive > channel.MaxSurvive:
		return fieldError("survive", "{survive} %v is too long: %v at most",
			n.Survive, channel.MaxSurvive)
	}
	if _, err := n.ParseSurviveMemory(); err != nil {
		return err
	}
	return n.Limits.Validate()
}

func notATime(field string, d time.Duration) error {
	return fieldError(field, "{"+field+"} %v is not a time to wait", d)
}

// DrainTime is Drain with its default filled in, at least 0.
func (n Node) DrainTime() time.Duration {
	if n.Drain == 0 {
		return DefaultDrain
	}
	return max(n.Drain, 0)
}

// SurviveTime is Survive with its default filled in, at least 0.
func (n Node) SurviveTime() time.Duration {
	if n.Survive == 0 {
		return DefaultSurvive
	}
	return max(n.Survive, 0)
}

// ParseSurviveMemory returns how many bytes SurviveMemory says, or 0 if it says none.
func (n Node) ParseSurviveMemory() (int64, error) {
	return parseSize("survive-memory", n.SurviveMemory, 1)
}

// DialTime is ConnectTimeout with its default filled in.
func (n Node) DialTime() time.Duration {
	if n.ConnectTimeout == 0 {
		return DefaultConnectTimeout
	}
	return n.ConnectTimeout
}

// ParseSuites returns the suites that Suites names; nil means the default ones.
func (n Node) ParseSuites() ([]noise.Suite, error) {
	var all []noise.Suite
	for _, name := range n.Suites {
		s, err := noise.ParseSuite(name)
		if err != nil {
			return nil, fieldError("suite", "{suite} %q: %w", name, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// ParseTicket returns the ticket, whose signature is good, or nil if there is none.
func (n Node) ParseTicket() (*identity.Ticket, error) {
	if n.Ticket == "" {
		return nil, nil
	}
	t, err := identity.ParseTicketText(n.Ticket)
	if err == nil {
		err = t.VerifySignature()
	}
	if err != nil {
		return nil, fieldError("ticket", "{ticket}: %w", err)
	}
	return t, nil
}

// ParseSocketMode returns the mode that SocketMode says, or 0 if it says none.
func (n Node) ParseSocketMode() (fs.FileMode, error) {
	if n.SocketMode == "" {
		return 0, nil
	}
	mode, err := strconv.ParseUint(n.SocketMode, 8, 32)
	if err != nil || mode&^0o666 != 0 || mode&0o600 != 0o600 {
		return 0, fieldError("socket-mode", "{socket-mode} %q is not an octal mode "+
			"by which at least its owner reads and writes, like 0600, 0660 or 0666", n.SocketMode)
	}
	return fs.FileMode(mode), nil
}
