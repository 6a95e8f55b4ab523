package trust

import (
	"time"

	"github.com/secureportal/sp/identity"
)

// The limits of this implementation.
const (
	// MaxListFile is the size of an allow or deny file, in bytes: some 60 000 identities.
	MaxListFile = 4 << 20

	// MaxListLine is the length of a line of an allow or deny file, in bytes.
	MaxListLine = 1024

	// maxComment is the length of a comment AddToAllowFile writes, in bytes.
	maxComment = 256

	// MaxKnownHistories is the number of identities that [KnownHistories] remembers.
	MaxKnownHistories = 4096

	// maxSeenLine is the length of a line of a seen file, in bytes: an Identifier and a
	// hash in hexadecimal for each change.
	maxSeenLine = (1 + 64) + identity.MaxChanges*(1+64)

	// maxSeenFile is the size of a seen file, in bytes: twice MaxKnownHistories of the
	// longest lines.
	maxSeenFile = 2*MaxKnownHistories*maxSeenLine + 64

	// MaxSpent is the number of redeemed tickets that are remembered: those that have
	// not expired yet.
	MaxSpent = 10_000

	// spentKept is how long a redeemed ticket is remembered after it has expired, for
	// the case that the clock is set back.
	spentKept = 24 * time.Hour
)
