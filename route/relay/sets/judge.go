package sets

import "github.com/secureportal/sp/route/relay/set"

// Judges tells whether self decides, and not other, between claims of a name that came too soon
// after each other to tell which was first. Both are the judges of the name in their sets. All come
// to the same order of judges, so there is one that decides for all of them.
func Judges(self, other set.NodeID, name string) bool {
	both := set.List{Nodes: []set.Node{{ID: self, Weight: 1}, {ID: other, Weight: 1}}}
	return both.Homes(name)[0].ID == self
}
