package route

// LinkCounts tells, for tests of other packages, how many links a node has and how many of them are
// of known sources.
func LinkCounts(n *Node) (links, known int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.openings.proven.by {
		known += s.links
	}
	return len(n.links), known
}
