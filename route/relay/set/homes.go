package set

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// homeContext stands in front of what is hashed for a score.
const homeContext = "sp home 1"

// Homes returns all nodes in the order in which a name is at home on them, the best first: the
// outlet claims it at the first ones, and the inlet asks them first. Only the ids and the weights
// of the nodes and the name count, so whoever has the same list computes the same. When a node
// comes or goes, only names move that it gets or had. The addresses are the list's. It costs a hash
// for each node and unit of weight.
func (l *List) Homes(name string) []Node {
	scored := make([]scoredNode, len(l.Nodes))
	for i := range l.Nodes {
		scored[i] = scoredNode{score(l.Nodes[i].ID, l.Nodes[i].Weight, name), i}
	}
	slices.SortFunc(scored, func(a, b scoredNode) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return bytes.Compare(l.Nodes[a.index].ID[:], l.Nodes[b.index].ID[:])
	})
	homes := make([]Node, len(scored))
	for i, s := range scored {
		homes[i] = l.Nodes[s.index]
	}
	return homes
}

// Claims returns the nodes where a name is to be claimed: the first k of its homes that are up, or
// fewer where fewer are.
func (l *List) Claims(name string, k int) []Node {
	homes := slices.DeleteFunc(l.Homes(name), func(n Node) bool { return n.State != Up })
	return homes[:min(max(k, 0), len(homes))]
}

type scoredNode struct {
	score uint64
	index int // of the node in the list
}

// score is how much a name is at home on a node: the greatest that one of the nodes of weight 1
// would have which it counts as.
func score(id NodeID, weight uint8, name string) uint64 {
	var space [len(homeContext) + nodeIDSize + 1 + 80]byte // what names have room in
	b := append(append(space[:0], homeContext...), id[:]...)
	at := len(b)
	b = append(append(b, 0), name...)
	var best uint64
	for i := range weight {
		b[at] = i
		sum := sha256.Sum256(b)
		best = max(best, binary.BigEndian.Uint64(sum[:]))
	}
	return best
}

// Judge returns the node that decides between claims of a name which came too soon after each other
// to tell which was first (Owners): the first of its homes that is up, or the first one if none is.
// It is the zero id where the list has no nodes.
func (l *List) Judge(name string) (judge NodeID) {
	homes := l.Homes(name)
	if len(homes) == 0 {
		return judge
	}
	for _, n := range homes {
		if n.State == Up {
			return n.ID
		}
	}
	return homes[0].ID
}
