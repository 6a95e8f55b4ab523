//go:build !unix

package cli

// hasTerminal is about a signal that is not sent here.
func hasTerminal() bool { return false }
