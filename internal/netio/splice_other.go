//go:build !linux

package netio

// splice is not to be had here.
func splice(_, _ *Socket) (handled bool, err error) {
	return false, nil
}
