package trust

import (
	"errors"
	"fmt"
	"slices"

	"github.com/secureportal/sp/identity"
)

var errZero = errors.New("the zero Identifier names nobody")

// Config says whom to trust. The fields from Allow to Authorities are anchors, and one
// that holds is enough. If none of them is set but AllowLater, Self is trusted as well, and nobody
// else. If any is set, Self is trusted only if it is named there too.
type Config struct {
	// Self is the node's own Identifier. It may be zero if there is an anchor. No authority
	// vouches for it: whoever has a node's key is not somebody else to that node.
	Self identity.Identifier

	// Allow names identities that are trusted.
	Allow []identity.Identifier

	// AllowFiles are files that name some more, one a line. They must exist when the
	// policy is made. Reload and Poll read them again.
	AllowFiles []string

	// AllowLater are files like AllowFiles that need not exist yet: until one does, it names
	// nobody. From then on it is as they are. They are looked at without Reload or Poll
	// as well, before somebody is refused. What is wrong with one that is there is an error when
	// the policy is made.
	AllowLater []string

	// AllowAnyone trusts every identity that proves itself.
	AllowAnyone bool

	// Authorities names those whose credentials are believed: an identity is trusted
	// while it presents one that is valid, is about itself, fits what the identity is taken
	// for ([As]), and has all that Require asks.
	Authorities []identity.Identifier

	// Members names the relays of a set: they are trusted as a [Member], a [Node] and a [Caller],
	// and as nothing else. Nobody but they, and those of whom an authority says that they are
	// relays, is trusted as a Member. They are no anchor.
	Members []identity.Identifier

	// Require is the attributes that a credential must have beside those that say what its
	// bearer may be, all of them. It is about an [Inlet], an [Outlet] and a [Passenger]. It
	// needs Authorities.
	Require map[string]string

	// Deny and DenyFiles name identities that are not trusted, whatever else is said.
	// The credentials of an authority named there are not believed. The files are
	// treated as AllowFiles are; a line of theirs may also begin with the serial number of
	// a credential, 32 hexadecimal digits, which is not believed then.
	Deny      []identity.Identifier
	DenyFiles []string

	// TicketIssuer returns the history of the node's own identity. If it is set, tickets
	// that this identity issued are redeemed: whoever presents one, and is trusted by
	// nothing else, is put into the first of AllowFiles, which must be there. Beside it,
	// in a folder of its name and ".spent", is remembered what is spent: every ticket that
	// has been presented, also by somebody who is trusted anyway or denied. Nil redeems no
	// tickets.
	TicketIssuer func() *identity.History

	// TicketRoute returns an error, which is the reason, if the route in a ticket does
	// not lead to this node but to another one of the same identity. Nil means that
	// every route does.
	TicketRoute func(route string) error

	// Spent is told of each ticket that is spent, while its bearer waits. Nil is told nothing.
	Spent func(Spent)

	// Known remembers who has rotated keys. Only those who are trusted are remembered,
	// and the authorities who vouched for them. Several policies may share it. Nil means
	// one of the policy's own, without a file.
	Known *KnownHistories
}

// anchored reports whether anybody is named, so that Self is not implied.
func (cfg *Config) anchored() bool {
	return len(cfg.Allow) > 0 || len(cfg.AllowFiles) > 0 || cfg.AllowAnyone ||
		len(cfg.Authorities) > 0
}

func (cfg *Config) check() error {
	switch {
	case !cfg.anchored() && cfg.Self.IsZero():
		return errors.New("nobody to trust: no identity of one's own, and none is named")
	case anyZero(cfg.Allow), anyZero(cfg.Authorities), anyZero(cfg.Members), anyZero(cfg.Deny):
		return errZero
	case cfg.TicketIssuer != nil && len(cfg.AllowFiles) == 0:
		return errors.New("tickets are redeemed but " +
			"there is no allow file to put their bearers into")
	case len(cfg.Require) > 0 && len(cfg.Authorities) == 0:
		return errors.New("attributes are required but no authority is named whose word counts")
	case len(cfg.Require) > identity.MaxAttributes:
		return fmt.Errorf("%d attributes are required, a credential has at most %d",
			len(cfg.Require), identity.MaxAttributes)
	}
	for key, value := range cfg.Require {
		if err := identity.CheckAttribute(key, value); err != nil {
			return err
		}
	}
	return nil
}

func anyZero(ids []identity.Identifier) bool {
	return slices.ContainsFunc(ids, identity.Identifier.IsZero)
}
