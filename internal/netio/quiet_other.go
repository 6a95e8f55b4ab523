//go:build !unix

package netio

// Quiet implements Quieter: this system cannot tell.
func (s *Socket) Quiet() bool { return true }
