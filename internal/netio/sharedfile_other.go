//go:build !unix

package netio

const (
	readable = 0
	writable = 0
)

func (s *SharedFile) mayGoOn(error, int16) bool { return false }
func (s *SharedFile) shutdown() (bool, error)   { return false, nil }
func (s *SharedFile) lingerNot()                {}
