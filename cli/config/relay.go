package config

import (
	"errors"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/route/transport"
)

// Relay forwards links to the nodes that have claimed a name on it. It has a node of its own.
type Relay struct {
	Entrance

	// Private leads to names only what comes through a secure channel with this relay, of a peer
	// that the node trusts. Otherwise names are for whoever asks. Field "private".
	Private bool

	// Names is the most names at once. 0 means DefaultMaxNames. Field "max-names".
	Names int
	// NamesPerIdentity is the most names at once of one identity. 0 means
	// DefaultMaxNamesPerOwner. Field "max-names-per-identity".
	NamesPerIdentity int

	// Set is where relays are of the set that this one is one of, each host:port, or a host whose SRV
	// records say it; a host may stand for several, and this relay may be among them. Who may be one
	// of the set is who has one of RelayIdentities, and whom the node's authorities call a relay.
	// Field "set".
	Set []string
	// Advertise is where this relay is for others, each host:port. Empty means where it answers
	// itself, of Set. Field "advertise".
	Advertise []string
	// Weight is how many relays of the set this one counts as, 1 to set.MaxWeight. 0 means 1.
	// Field "weight".
	Weight int
}

// Validate says which field is wrong, or returns nil.
func (r Relay) Validate() error {
	if len(r.Listens()) == 0 {
		return fieldError("listen", "{listen} is missing: where do links come in?")
	}
	if err := r.validateNode(); err != nil {
		return err
	}
	if err := r.validateSet(); err != nil {
		return err
	}
	return checkLimits([]limit{
		{"max-names", r.Names}, {"max-names-per-identity", r.NamesPerIdentity},
	})
}

func (r Relay) validateSet() error {
	if len(r.Set) == 0 {
		switch {
		case len(r.Advertise) > 0:
			return fieldError("advertise", "{advertise} stands without {set}")
		case r.Weight != 0:
			return fieldError("weight", "{weight} stands without {set}")
		}
		return nil
	}
	if _, err := r.Seeds(); err != nil {
		return err
	}
	if r.Weight < 0 || r.Weight > set.MaxWeight {
		return fieldError("weight", "{weight} is 1 to %d", set.MaxWeight)
	}
	if len(r.Advertise) > set.MaxAddresses {
		return fieldError("advertise", "{advertise} stands at most %d times", set.MaxAddresses)
	}
	_, err := r.Addresses()
	return err
}

// Seeds is where Set says.
func (r Relay) Seeds() ([]Address, error) {
	var named []Address
	var others []string
	for _, text := range r.Set {
		if a, err := transport.Parse(text + ":1"); err == nil && a.Kind == route.KindDNS {
			a.Port = 0 // what transport.LookUp takes for a name with SRV records
			named = append(named, a)
			continue
		}
		others = append(others, text)
	}
	all, err := parseNodes("set", others)
	return append(named, all...), err
}

// Addresses is where Advertise says.
func (r Relay) Addresses() ([]Address, error) { return parseNodes("advertise", r.Advertise) }

// parseNodes reads where relays are.
func parseNodes(field string, texts []string) (all []Address, err error) {
	for _, text := range texts {
		a, err := transport.Parse(text)
		if err == nil && transport.Scheme(a) != "tcp" {
			err = errors.New("it is not HOST:PORT")
		}
		if err != nil {
			return nil, fieldError(field, "{"+field+"} %q: %w", text, err)
		}
		all = append(all, a)
	}
	return all, nil
}
