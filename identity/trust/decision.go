package trust

import (
	"fmt"
	"time"

	"github.com/secureportal/sp/identity"
)

// Decision says by what, and until when, a peer is trusted.
type Decision struct {
	// Anchor is what the peer is trusted by.
	Anchor Anchor
	// Where is the file and line, "path:line", of AnchorAllowFile; else empty.
	Where string
	// Until is when trust ends by itself, because the credential expires; zero is never.
	// From that instant on the policy refuses the peer.
	Until time.Time
	// Credential is the one that convinced, of AnchorAuthority; else nil.
	Credential *identity.Credential
	// Attributes are the credential's, verified; else nil. The map is the caller's.
	Attributes map[string]string

	authority *identity.History // of the Credential's authority, verified; else nil
}

// Anchor is the rule of a policy by which a peer is trusted.
type Anchor uint8

// The anchors, in the order in which they are tried.
const (
	AnchorSelf      Anchor = iota + 1 // it has the node's own identity
	AnchorAllow                       // Config.Allow names it
	AnchorAllowFile                   // one of Config.AllowFiles names it
	AnchorAuthority                   // it presents a credential of one of Config.Authorities
	AnchorAnyone                      // Config.AllowAnyone is set
)

// String returns "self", "allow", "allow-file", "authority" or "anyone".
func (a Anchor) String() string {
	names := [...]string{"none", "self", "allow", "allow-file", "authority", "anyone"}
	if int(a) < len(names) {
		return names[a]
	}
	return fmt.Sprintf("anchor %d", uint8(a))
}
