package config

import "github.com/secureportal/sp/route/transport"

// Bridge forwards links to the next hops that it is given, and nowhere else. It has a node of
// its own.
type Bridge struct {
	Entrance

	// Next is where links may be forwarded to: host:port, host:first-last, or CIDR:ports. A
	// host name is compared with the name that a route has, and not looked up. At least one.
	// Field "next".
	//
	// A network is without loopback, unspecified, link-local, multicast and metadata addresses,
	// unless it lies within those; nor is a name dialed that stands for one, unless that address is
	// written here as well, or the name is localhost.
	Next []string

	// Open forwards for whoever comes. Otherwise only what comes through a secure channel with this
	// bridge, of a peer that the node trusts, is forwarded. Field "open".
	Open bool
}

// Validate says which field is wrong, or returns nil.
func (b Bridge) Validate() error {
	if len(b.Listens()) == 0 {
		return fieldError("listen", "{listen} is missing: where do links come in?")
	}
	if err := b.validateNode(); err != nil {
		return err
	}
	_, err := b.NextHops()
	return err
}

// NextHops returns what Next holds.
func (b Bridge) NextHops() (NextHops, error) {
	var hops NextHops
	for _, text := range b.Next {
		hop, err := transport.ParsePattern(text)
		if err != nil {
			return nil, fieldError("next", "{next} %q: %w", text, err)
		}
		hops = append(hops, hop)
	}
	if len(hops) == 0 {
		return nil, fieldError("next", "{next} is missing: where may links be forwarded to?")
	}
	return hops, nil
}
