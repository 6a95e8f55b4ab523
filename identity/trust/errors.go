package trust

import (
	"errors"
	"fmt"
)

// Reasons that a program may want to tell apart. There are also [identity.ErrExpired] and
// [identity.ErrNotYetValid].
var (
	// ErrNotTrusted is in every error of [Policy.Check] and [Policy.Accept].
	ErrNotTrusted = errors.New("not trusted")
	// ErrSpent: the ticket has been presented before, or revoked.
	ErrSpent = errors.New("already spent")
	// ErrOlderHistory: the identity is known with a newer key; this one was given up.
	ErrOlderHistory = errors.New("its history is older than one seen before")
	// ErrNoTickets: a ticket was shown where none is redeemed, for there is no allow file.
	ErrNoTickets = errors.New("a ticket was shown, and none is redeemed here without an allow file")
	// ErrForkedHistory: two histories of one identity went different ways.
	ErrForkedHistory = errors.New("its history contradicts one seen before")
)

// join puts errors on one line.
func join(a, b error) error {
	if a == nil {
		return b
	}
	return fmt.Errorf("%w; %w", a, b)
}
