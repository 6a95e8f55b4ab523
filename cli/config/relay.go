package config

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
}

// Validate says which field is wrong, or returns nil.
func (r Relay) Validate() error {
	if r.Listen == "" {
		return fieldError("listen", "{listen} is missing: where do links come in?")
	}
	if err := r.validateNode(); err != nil {
		return err
	}
	return checkLimits([]limit{
		{"max-names", r.Names}, {"max-names-per-identity", r.NamesPerIdentity},
	})
}
