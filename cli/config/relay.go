package config

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

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
	// Directory is servers of one cluster of NATS, each nats://HOST[:PORT], by which names are found
	// that are held on relays of other sets. A relay without Set has to say where it is for others.
	// How to log in there stands in the node's BrokersFile, which is read again for each connection.
	// Field "directory".
	Directory []string

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
	if err := r.validateDirectory(); err != nil {
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
	if !r.IsOfSet() {
		switch {
		case len(r.Advertise) > 0:
			return fieldError("advertise", "{advertise} stands without {set} or {directory}")
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

// IsOfSet tells whether the relay is one of a set, if only of itself: what others find it by has to
// know whose names are.
func (r Relay) IsOfSet() bool { return len(r.Set) > 0 || len(r.Directory) > 0 }

func (r Relay) validateDirectory() error {
	switch {
	case len(r.Directory) == 0:
		return nil
	case r.Private:
		return fieldError("directory", "{directory} does not go with {private}: what others pass on to "+
			"this relay comes without a channel to it")
	case len(r.Set) == 0 && len(r.Advertise) == 0:
		return fieldError("directory", "{directory} takes {advertise} HOST:PORT, or {set}: others "+
			"have to know where this relay is")
	case len(r.Directory) > maxDirectory:
		return fieldError("directory", "{directory} stands at most %d times", maxDirectory)
	}
	_, err := r.DirectoryServers()
	return err
}

// maxDirectory is how many servers of the directory may be named.
const maxDirectory = 16

// natsPort is the usual one of a server of NATS.
const natsPort = 4222

// DirectoryServer is where a server of the directory listens.
type DirectoryServer struct{ Address }

// HostPort returns its host, and both as they are dialed.
func (s DirectoryServer) HostPort() (host, both string) {
	name, ip := s.Host()
	if name == "" {
		name = ip.String()
	}
	return name, net.JoinHostPort(name, strconv.Itoa(int(s.Port)))
}

// DirectoryServers is where Directory says.
func (r Relay) DirectoryServers() (all []DirectoryServer, err error) {
	for _, text := range r.Directory {
		at, ok := strings.CutPrefix(text, "nats://")
		switch {
		case !ok:
			return nil, fieldError("directory", "{directory} %q: it is nats://HOST[:PORT]", text)
		case strings.Contains(at, "@"):
			return nil, fieldError("directory", "{directory}: who logs in, and by what, stands in the file "+
				"of {brokers}, where others cannot see it")
		}
		a, err := transport.Parse(strings.TrimSuffix(at, "/"))
		if err != nil {
			a, err = transport.Parse(fmt.Sprintf("%s:%d", strings.TrimSuffix(at, "/"), natsPort))
		}
		if err == nil && (transport.Scheme(a) != "tcp" || a.Port == 0) {
			err = errors.New("it is nats://HOST[:PORT]")
		}
		if err != nil {
			return nil, fieldError("directory", "{directory} %q: %w", text, err)
		}
		all = append(all, DirectoryServer{a})
	}
	return all, nil
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
