//go:build !unix || netbsd || openbsd || solaris || illumos

package daemon

// freeDescriptor is not known here.
func freeDescriptor() (int, error) { return 0, nil }

// freeSpace is not known here.
func freeSpace(string) (bytes uint64, known bool) { return 0, false }
