package netio

import "golang.org/x/sys/unix"

// sioCOutQNSD is SIOCOUTQNSD: how many bytes a TCP socket has not sent at all.
const sioCOutQNSD = 0x894b

// Unsent implements Unsenter.
func (s *Socket) Unsent() (n int) {
	_ = s.raw.Control(func(fd uintptr) {
		if found, err := unix.IoctlGetInt(int(fd), sioCOutQNSD); err == nil {
			n = found
		}
	})
	return n
}
