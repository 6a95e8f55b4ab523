//go:build !unix

package cli

// maxOpenFiles returns how many files the process may open.
func maxOpenFiles() (n int, known bool) { return 0, false }
