//go:build linux

package load

import "fmt"

// failures says how many of many connections failed, and why the first did: most
// likely they all have the same reason.
type failures struct {
	count, of int
	first     error
}

func (f *failures) Error() string {
	return fmt.Sprintf("%d of %d connections failed: %v", f.count, f.of, f.first)
}

func (f *failures) Unwrap() error { return f.first }
