package netio

import "golang.org/x/sys/unix"

// stuck is what Socket.Stuck remembers.
type stuck struct {
	acked uint64
	times int
}

// Stuck is what Stuck returns of a socket.
func (s *Socket) Stuck() int {
	var info *unix.TCPInfo
	err := s.raw.Control(func(fd uintptr) { info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err != nil || info == nil { // closed, or no TCP
		s.stuck = stuck{}
		return 0
	}
	if info.Retransmits == 0 || info.Bytes_acked != s.stuck.acked {
		s.stuck.times = 0
	} else {
		s.stuck.times++
	}
	s.stuck.acked = info.Bytes_acked
	return s.stuck.times
}
