//go:build !windows

package atomicfile

// makePrivate does nothing: the mode with which the file was made says it.
func makePrivate(string) error { return nil }
