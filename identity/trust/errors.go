package trust

import "errors"

// ErrNotTrusted is in every error of [Policy.Check]; the rest of the error is the reason.
var ErrNotTrusted = errors.New("not trusted")

// ErrSpent says that a ticket has been redeemed before.
var ErrSpent = errors.New("already redeemed")
