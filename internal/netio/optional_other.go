//go:build !unix

package netio

// isRefusal is of no use where no optional system calls are made.
func isRefusal(error) bool { return false }
