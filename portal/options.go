package portal

import (
	"log/slog"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
)

// Options say who this side is and whom it trusts. The zero value is the user's own identity,
// trusting itself: one person, two machines, one key file.
type Options struct {
	// Identity is who this side is. Nil means the key file at identity.DefaultPath, which is made
	// if it is not there.
	Identity *identity.Identity

	// Trust decides who the far end may be, whatever lies between. Nil means only Identity
	// itself. Its files are read again only with its Poll, which its owner calls.
	Trust *trust.Policy

	// RelayIdentities are who a relay may be where Listen claims a name, and whoever is entered
	// through a channel on the way to it. Empty means anybody: a relay is trusted with nothing, and
	// can do no more than the network. It is for nothing else: whom Dial reaches by a relay or a
	// bridge does not hang on who they are.
	RelayIdentities []identity.Identifier

	Logger *slog.Logger // nil means slog.Default
}

// self returns who this side is.
func (o Options) self() (*identity.Identity, error) {
	if o.Identity != nil {
		return o.Identity, nil
	}
	path, err := identity.DefaultPath()
	if err != nil {
		return nil, err
	}
	id, _, err := identity.LoadOrCreate(path)
	return id, err
}

// newNode returns a node that trusts whom Trust says.
func (o Options) newNode(id *identity.Identity) (*route.Node, error) {
	if o.Trust != nil {
		return o.nodeTrusting(id, o.Trust)
	}
	return o.nodeAllowing(id, trust.Config{})
}

// newRelayDialer returns a node that trusts whom a relay may be.
func (o Options) newRelayDialer(id *identity.Identity) (*route.Node, error) {
	return o.nodeAllowing(id, trust.Config{
		Allow: o.RelayIdentities, AllowAnyone: len(o.RelayIdentities) == 0,
	})
}

func (o Options) nodeAllowing(id *identity.Identity, whom trust.Config) (*route.Node, error) {
	whom.Self = id.Identifier()
	policy, err := trust.NewPolicy(whom)
	if err != nil {
		return nil, err
	}
	return o.nodeTrusting(id, policy)
}

func (o Options) nodeTrusting(id *identity.Identity, policy *trust.Policy) (*route.Node, error) {
	return route.NewNode(route.Config{
		Channel: channel.Config{Identity: id, Trust: policy}, ByName: true, Logger: o.Logger,
	})
}
