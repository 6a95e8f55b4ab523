package set

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/wire"
)

// Limits of a list. A decoder checks each before it allocates.
const (
	MaxNodes     = 64        // of a list
	MaxAddresses = 4         // of a node
	MaxWeight    = 16        // of a node
	MaxList      = 1<<16 - 1 // bytes of an encoded list: what a length of two bytes can say
)

// Sizes of the encoding, in bytes.
const (
	listVersion    = 1                  // the first byte of a list
	listHeaderSize = 1 + 8 + 1          // that, the list's own version, how many nodes
	nodeHeaderSize = nodeIDSize + 8 + 3 // id, epoch; state, weight, how many addresses
	minAddressSize = 2 + 2 + 1          // kind and length, port, the shortest host
	minNodeSize    = nodeHeaderSize + minAddressSize
	nodeIDSize     = 8
)

// ErrMalformed is wrapped by every error for what no list or record can be.
var ErrMalformed = errors.New("malformed")

// NodeID names a node of a set: the first bytes of its Identifier. Whoever has a session with a
// node knows that it is the one.
type NodeID [nodeIDSize]byte

// NodeIDOf returns the id of the node with that Identifier.
func NodeIDOf(who identity.Identifier) NodeID { return NodeID(who[:nodeIDSize]) }

// String returns the id as it begins the Identifier's text.
func (id NodeID) String() string { return "I" + hex.EncodeToString(id[:]) }

// Compare orders ids, byte by byte.
func (id NodeID) Compare(other NodeID) int { return bytes.Compare(id[:], other[:]) }

// State is what a node says of itself.
type State uint8

// The states, as on the wire.
const (
	Up       State = 1
	Draining State = 2 // it takes no new claims, and will be gone
)

// String returns the word for s.
func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Draining:
		return "draining"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Node is one node of a set, as it describes itself.
type Node struct {
	ID NodeID

	// Epoch grows with each start of the node and with each change of what it says here. Of two
	// descriptions of a node, the one with the greater epoch holds.
	Epoch uint64

	State     State
	Weight    uint8          // 1 to MaxWeight: how many nodes it counts as
	Addresses []wire.Address // 1 to MaxAddresses, of the kinds IP4, IP6 and DNS, the best first
}

// Validate returns an error that says what keeps n from being encoded, or nil.
func (n *Node) Validate() error {
	switch {
	case n.State != Up && n.State != Draining:
		return fmt.Errorf("%w: a node in %s", ErrMalformed, n.State)
	case n.Weight < 1 || n.Weight > MaxWeight:
		return fmt.Errorf("%w: a node's weight is 1 to %d", ErrMalformed, MaxWeight)
	case len(n.Addresses) < 1 || len(n.Addresses) > MaxAddresses:
		return fmt.Errorf("%w: a node has 1 to %d addresses", ErrMalformed, MaxAddresses)
	}
	for _, a := range n.Addresses {
		if !IsNodeAddress(a) {
			return fmt.Errorf("%w: an address of kind %d for a node", ErrMalformed, a.Kind)
		}
		if err := a.Validate(); err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	return nil
}

// IsNodeAddress tells whether others can dial a, from wherever they are.
func IsNodeAddress(a wire.Address) bool {
	return a.Kind == wire.IP4 || a.Kind == wire.IP6 || a.Kind == wire.DNS
}

// Equal tells whether both say the same.
func (n *Node) Equal(other *Node) bool {
	return n.ID == other.ID && n.Epoch == other.Epoch && n.State == other.State &&
		n.Weight == other.Weight && slices.Equal(n.Addresses, other.Addresses)
}

// List is the nodes of a set, as one of them sees it. The zero value has none. It is safe for
// concurrent use as long as nobody changes it.
type List struct {
	// Version is for those who ask the same node again: it grows with each change there. Lists
	// of different nodes are not compared by it.
	Version uint64

	Nodes []Node // at most MaxNodes, ascending by ID, each ID once
}

// Validate returns an error that says what keeps l from being encoded, or nil. It does not look at
// the size of the encoding, which only host names of unusual length bring above MaxList.
func (l *List) Validate() error {
	if len(l.Nodes) > MaxNodes {
		return fmt.Errorf("%w: a set has at most %d nodes", ErrMalformed, MaxNodes)
	}
	for i := range l.Nodes {
		if i > 0 && l.Nodes[i-1].ID.Compare(l.Nodes[i].ID) >= 0 {
			return fmt.Errorf("%w: nodes out of order", ErrMalformed)
		}
		if err := l.Nodes[i].Validate(); err != nil {
			return err
		}
	}
	return nil
}

// Find returns the node with that id. Its addresses are the list's.
func (l *List) Find(id NodeID) (Node, bool) {
	if i, ok := l.search(id); ok {
		return l.Nodes[i], true
	}
	return Node{}, false
}

func (l *List) search(id NodeID) (int, bool) {
	return slices.BinarySearchFunc(l.Nodes, id, func(n Node, id NodeID) int {
		return n.ID.Compare(id)
	})
}

// Put takes n into the list, or in place of what the list has of that node if n's epoch is greater,
// and tells whether it did. It does not where n is not valid, or the list is full. The version is
// left to the caller.
func (l *List) Put(n Node) bool {
	if n.Validate() != nil {
		return false
	}
	i, known := l.search(n.ID)
	switch {
	case known && l.Nodes[i].Epoch >= n.Epoch, !known && len(l.Nodes) >= MaxNodes:
		return false
	case known:
		l.Nodes[i] = n
	default:
		l.Nodes = slices.Insert(l.Nodes, i, n)
	}
	return true
}

// Remove takes the node with that id out of the list, and tells whether it was there.
func (l *List) Remove(id NodeID) bool {
	i, known := l.search(id)
	if known {
		l.Nodes = slices.Delete(l.Nodes, i, i+1)
	}
	return known
}

// Clone returns a copy that shares nothing which Put and Remove change.
func (l *List) Clone() *List { return &List{Version: l.Version, Nodes: slices.Clone(l.Nodes)} }

// AppendTo appends l's encoding to dst. It gives an error that wraps ErrMalformed, and no bytes,
// for a list that ParseList would refuse.
func (l *List) AppendTo(dst []byte) ([]byte, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	start := len(dst)
	dst = append(dst, listVersion)
	dst = binary.BigEndian.AppendUint64(dst, l.Version)
	dst = append(dst, byte(len(l.Nodes)))
	for i := range l.Nodes {
		var err error
		if dst, err = l.Nodes[i].appendTo(dst); err != nil {
			return nil, err
		}
	}
	if len(dst)-start > MaxList {
		return nil, fmt.Errorf("%w: a list has at most %d bytes", ErrMalformed, MaxList)
	}
	return dst, nil
}

func (n *Node) appendTo(dst []byte) ([]byte, error) {
	dst = append(dst, n.ID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, n.Epoch)
	dst = append(dst, byte(n.State), n.Weight, byte(len(n.Addresses)))
	for _, a := range n.Addresses {
		var err error
		if dst, err = wire.AppendAddress(dst, a); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	return dst, nil
}

// ParseList decodes b, which is one whole list and shares no memory with it. Its errors wrap
// ErrMalformed.
func ParseList(b []byte) (*List, error) {
	switch {
	case len(b) > MaxList:
		return nil, fmt.Errorf("%w: a list of %d bytes", ErrMalformed, len(b))
	case len(b) < listHeaderSize:
		return nil, fmt.Errorf("%w: a list cut short", ErrMalformed)
	case b[0] != listVersion:
		return nil, fmt.Errorf("%w: a list of another version", ErrMalformed)
	}
	l := &List{Version: binary.BigEndian.Uint64(b[1:])}
	count := int(b[listHeaderSize-1])
	b = b[listHeaderSize:]
	if count > MaxNodes || count*minNodeSize > len(b) {
		return nil, fmt.Errorf("%w: a list of %d nodes in %d bytes", ErrMalformed, count, len(b))
	}
	l.Nodes = make([]Node, count)
	for i := range l.Nodes {
		var err error
		if b, err = l.Nodes[i].parse(b); err != nil {
			return nil, err
		}
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind a list", ErrMalformed, len(b))
	}
	if err := l.Validate(); err != nil {
		return nil, err
	}
	return l, nil
}

// parse takes a node off the front of b. Whether it is valid is for the caller to ask.
func (n *Node) parse(b []byte) (rest []byte, err error) {
	if len(b) < nodeHeaderSize {
		return nil, fmt.Errorf("%w: a node cut short", ErrMalformed)
	}
	n.ID = NodeID(b)
	n.Epoch = binary.BigEndian.Uint64(b[nodeIDSize:])
	n.State, n.Weight = State(b[nodeIDSize+8]), b[nodeIDSize+9]
	count := int(b[nodeHeaderSize-1])
	b = b[nodeHeaderSize:]
	if count > MaxAddresses || count*minAddressSize > len(b) {
		return nil, fmt.Errorf("%w: a node of %d addresses in %d bytes", ErrMalformed, count, len(b))
	}
	n.Addresses = make([]wire.Address, count)
	for i := range n.Addresses {
		if n.Addresses[i], b, err = wire.ParseAddress(b); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	return b, nil
}
