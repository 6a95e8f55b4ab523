package netio

import "net"

// tryReader is a connection that can be read without waiting.
type tryReader interface {
	// tryReadInto reads what is there, and returns 0 if nothing is or it cannot be read.
	tryReadInto(p []byte) int
}

// WriteReady writes to dst what src has to read now, with one call, and writes nothing at all, which is a call as
// well, if there is nothing.
func WriteReady(dst, src net.Conn) error {
	r, ok := src.(tryReader)
	if !ok {
		_, err := dst.Write(nil)
		return err
	}
	b := GetBuffer(Small)
	defer b.Free()
	_, err := dst.Write(b.Bytes[:r.tryReadInto(b.Bytes)])
	return err
}
