package netio

import (
	"time"

	"golang.org/x/sys/unix"
)

// Idle implements Idler: the kernel knows, and nobody has to count.
func (s *Socket) Idle() (since time.Duration, known bool) {
	_ = s.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if known = err == nil; known {
			since = time.Duration(min(info.Last_data_sent, info.Last_data_recv)) * time.Millisecond
		}
	})
	return since, known
}
