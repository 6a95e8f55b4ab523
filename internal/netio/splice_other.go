//go:build !linux

package netio

// splice is not to be had here.
func splice(dst, src *Socket) (int64, error) { return copyBuffered(dst, src) }
