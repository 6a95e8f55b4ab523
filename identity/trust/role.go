package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Role is the part in which a peer is taken.
type Role uint8

// The roles.
const (
	// Inlet is whoever comes to use what a node serves.
	Inlet Role = iota + 1
	// Outlet is whoever serves, under a name or under none.
	Outlet
	// Node is a relay or a bridge, as a hop or to register at.
	Node
	// Caller is whoever comes to a relay, before it says what it wants. Whoever then claims a
	// name is asked about again, as an Outlet.
	Caller
	// Passenger is whoever comes to a bridge, to be passed on.
	Passenger
	// Member is another relay of the set that a relay is one of.
	Member
)

// As is what a peer is taken for. It matters for credentials, and for members: whoever is trusted
// by another anchor is trusted as anything but a Member. The zero value is nothing, which no
// credential says.
type As struct {
	Role Role
	Name string // of an Outlet; empty if it was asked for without one
}

// The attributes by which an authority says what the bearer of a credential may be. All others are
// the user's own.
const (
	// RoleAttribute holds one of the reserved words, or a word of the user's own, which says
	// nothing here.
	RoleAttribute = "role"
	// NameAttribute holds the names that the bearer may go by, with commas between them.
	NameAttribute = "relay-name"
)

// The reserved words for RoleAttribute.
const (
	roleInlet  = "inlet"
	roleOutlet = "outlet"
	roleRelay  = "relay"
	roleBridge = "bridge"
)

// ErrNameless says that an outlet was asked for without a name: no credential can say that it is
// the one that is meant.
var ErrNameless = errors.New("a credential counts for an outlet that is asked for by name")

var errNoRole = errors.New("no credential counts for this")

// fits tells why a credential with some attributes does not say that its bearer may be what it is
// taken for, or nil.
func (as As) fits(attributes map[string]string) error {
	switch as.Role {
	case Inlet:
		return fitsInlet(attributes)
	case Outlet:
		return fitsOutlet(attributes, as.Name)
	case Node:
		return fitsNode(attributes)
	case Caller, Passenger:
		return fitsCaller(attributes)
	case Member:
		return fitsMember(attributes)
	}
	return errNoRole
}

func fitsInlet(attributes map[string]string) error {
	if names, ok := attributes[NameAttribute]; ok {
		return fmt.Errorf("attribute %s is %q: its bearer is an outlet, and no inlet",
			NameAttribute, names)
	}
	switch role := attributes[RoleAttribute]; role {
	case roleOutlet, roleRelay, roleBridge:
		return fmt.Errorf("attribute %s is %q: its bearer is no inlet", RoleAttribute, role)
	}
	return nil
}

func fitsOutlet(attributes map[string]string, name string) error {
	if name == "" {
		return ErrNameless
	}
	if err := mayServe(attributes); err != nil {
		return err
	}
	names := attributes[NameAttribute]
	if !slices.Contains(strings.Split(names, ","), name) {
		return fmt.Errorf("attribute %s is %q: its bearer may not go by the name %s",
			NameAttribute, names, name)
	}
	return nil
}

// mayServe tells why the bearer may not go by any name, or nil.
func mayServe(attributes map[string]string) error {
	switch role := attributes[RoleAttribute]; role {
	case roleInlet, roleRelay:
		return fmt.Errorf("attribute %s is %q: its bearer is no outlet", RoleAttribute, role)
	}
	if _, ok := attributes[NameAttribute]; !ok {
		return fmt.Errorf("it has no attribute %s: its bearer goes by no name", NameAttribute)
	}
	return nil
}

func fitsNode(attributes map[string]string) error {
	switch role, ok := attributes[RoleAttribute]; {
	case !ok:
		return fmt.Errorf("it has no attribute %s: its bearer is neither relay nor bridge",
			RoleAttribute)
	case role != roleRelay && role != roleBridge:
		return fmt.Errorf("attribute %s is %q: its bearer is neither relay nor bridge",
			RoleAttribute, role)
	}
	return nil
}

func fitsMember(attributes map[string]string) error {
	if role := attributes[RoleAttribute]; role != roleRelay {
		return fmt.Errorf("attribute %s is %q: its bearer is no relay", RoleAttribute, role)
	}
	return nil
}

// fitsCaller wants the bearer to be one of those who have something to do at a relay or a bridge.
func fitsCaller(attributes map[string]string) error {
	if fitsNode(attributes) == nil || fitsInlet(attributes) == nil {
		return nil
	}
	return mayServe(attributes)
}

// isOfMembers tells whether members are trusted as this: as such, and where they meet each other.
func (as As) isOfMembers() bool {
	return as.Role == Member || as.Role == Node || as.Role == Caller
}

// isRequired tells whether Config.Require is about peers that are taken for this: those who are
// served, those who serve, and those who are passed on. A relay asks it of those who claim names.
func (as As) isRequired() bool {
	return as.Role == Inlet || as.Role == Outlet || as.Role == Passenger
}
