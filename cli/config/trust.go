package config

import (
	"errors"
	"strings"

	"github.com/secureportal/sp/identity"
)

// Trust says whom a node trusts. One of Allow, AllowFiles, AllowAnyone and Authorities is
// enough to be trusted by. If none is set, only the node's own identity is trusted, that of a
// relay's user, and the user's friends: see Config.TrustsOwner and Config.TrustsFriends. If one is,
// these must be named as well.
type Trust struct {
	// Allow names identities that are trusted, each an Identifier. Field "allow".
	Allow []string

	// NoFriends has the user's friends not be trusted where the default is: a file of portals says it
	// by an empty allow.
	NoFriends bool

	// AllowFiles are files that name them, one a line. They must exist, and are read again
	// when they change. An outlet puts those who redeem a ticket into the first.
	// Field "allow-file".
	AllowFiles []string

	// AllowAnyone trusts every identity that proves itself. Field "allow-anyone".
	AllowAnyone bool

	// Authorities names those whose credentials are believed, each an Identifier.
	// Field "authority".
	Authorities []string

	// Require is the attributes that one credential must have, all of them, each KEY=VALUE.
	// It needs Authorities. Field "require".
	Require []string

	// Deny names identities that are not trusted, whatever else is said. Field "deny".
	Deny []string

	// DenyFiles are files that do, and are treated as AllowFiles are. Field "deny-file".
	DenyFiles []string

	// Seen is the file of known histories, which remembers who has rotated keys. Empty means
	// trust.DefaultKnownHistoriesPath. Field "seen".
	Seen string
}

// namesAnybody tells whether somebody is trusted by another anchor than the node's own identity.
func (t Trust) namesAnybody() bool {
	return t.AllowAnyone || len(t.Allow)+len(t.AllowFiles)+len(t.Authorities) > 0
}

// Validate says which field is wrong, or returns nil.
func (t Trust) Validate() error {
	for _, f := range []struct {
		name  string
		texts []string
	}{{"allow", t.Allow}, {"deny", t.Deny}, {"authority", t.Authorities}} {
		if _, err := ParseIdentifiers(f.name, f.texts); err != nil {
			return err
		}
	}
	if _, err := ParseAttributes("require", t.Require); err != nil {
		return err
	}
	if len(t.Require) > 0 && len(t.Authorities) == 0 {
		return fieldError("require",
			"{require} stands without {authority}: nobody is named whose word counts")
	}
	return nil
}

// ParseIdentifiers reads the Identifiers that a field holds. An error is a *FieldError.
func ParseIdentifiers(field string, texts []string) ([]identity.Identifier, error) {
	var all []identity.Identifier
	for _, text := range texts {
		id, err := identity.ParseIdentifier(text)
		if err == nil && id.IsZero() {
			err = errors.New("that Identifier is nobody's")
		}
		if err != nil {
			return nil, fieldError(field, "{"+field+"} %q: %w", text, err)
		}
		all = append(all, id)
	}
	return all, nil
}

// ParseAttributes reads the attributes that a field holds, each KEY=VALUE. An error is a
// *FieldError.
func ParseAttributes(field string, texts []string) (map[string]string, error) {
	all := make(map[string]string)
	for _, text := range texts {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fieldError(field, "{"+field+"} %q is not KEY=VALUE", text)
		}
		if before, twice := all[key]; twice && before != value {
			return nil, fieldError(field,
				"{"+field+"} %s is given twice, as %q and %q", key, before, value)
		}
		all[key] = value
		if err := identity.CheckAttribute(key, value); err != nil {
			return nil, fieldError(field, "{"+field+"} %q: %w", text, err)
		}
	}
	return all, nil
}
