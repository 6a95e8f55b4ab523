package netio

import "net"

// tryReader is a connection that can be read without waiting.
type tryReader interface {
	// tryReadInto reads what is there, and returns 0 if nothing is or it cannot be read.
	tryReadInto(p []byte) int
}

// WriteReady writes to dst what src has to read now, with one call, and writes nothing at all,
// which is a call as well, if there is nothing. It returns how many bytes dst has taken.
func WriteReady(dst, src net.Conn) (int, error) {
	r, ok := src.(tryReader)
	if !ok {
		return dst.Write(nil)
	}
	b := GetBuffer(Small)
	defer b.Free()
	return dst.Write(b.Bytes[:r.tryReadInto(b.Bytes)])
}
