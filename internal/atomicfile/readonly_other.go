//go:build unix && !linux

package atomicfile

// isReadOnly does not know.
func isReadOnly(string) bool { return false }
