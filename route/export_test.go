package route

// LinkCounts tells, for tests of other packages, how many links a node has and how many of them are
// of authenticated peers, whose sources are known.
func LinkCounts(n *Node) (links, authenticated int) {
	_, authenticated = n.admission.Links()
	n.links.mu.Lock()
	defer n.links.mu.Unlock()
	return len(n.links.links), authenticated
}
