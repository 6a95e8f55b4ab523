package route

import "github.com/secureportal/sp/wire"

// The words of package wire that this package's exported surface speaks. Those who are built on
// route use these, and do not import wire.
type (
	Address = wire.Address // one step of a route
	Flags   = wire.Flags   // of an opening message
	Code    = wire.Code    // of a status
)

// The kinds of Address that callers make or tell apart.
const (
	KindService = wire.Service
	KindDNS     = wire.DNS
	KindSecure  = wire.Secure
	KindIs      = wire.Is
)

// Lazy is the flag of an opening message whose answer may wait for the service's first bytes.
const Lazy = wire.Lazy

// The codes of a status that say more than that the far end was not reached.
const (
	CodeNotTrusted = wire.NotTrusted
	CodeNameTaken  = wire.NameTaken
	CodeNotAllowed = wire.NotAllowed
	CodeRefused    = wire.Refused
	CodeBusy       = wire.Busy

	CodeUnreachable = wire.Unreachable
)

// ErrMalformed is wrapped by the error of bytes, or of an address, that are not as the protocol
// says.
var ErrMalformed = wire.ErrMalformed
