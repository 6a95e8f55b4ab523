package netio

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// stuck is what Socket.Stuck remembers: little, since every socket has it.
type stuck struct {
	acked   uint32 // the lower half: what matters is whether it changes
	times   uint32
	unended uint32 // times
}

// Stuck is what Stuck returns of a socket.
func (s *Socket) Stuck() int {
	found := s.look()
	if !found.sending || found.acked != s.stuck.acked {
		s.stuck.times = 0
	} else {
		s.stuck.times++
	}
	if found.unended {
		s.stuck.unended++
	} else {
		s.stuck.unended = 0
	}
	s.stuck.acked = found.acked
	return int(s.stuck.times)
}

// Unended is what Unended returns of a socket.
func (s *Socket) Unended() int { return int(s.stuck.unended) }

// look asks the kernel about the socket.
func (s *Socket) look() found {
	p := probes.Get().(*probe)
	defer probes.Put(p)
	p.found = found{}
	_ = s.raw.Control(p.look)
	return p.found
}

// found is what the kernel knows of a socket.
type found struct {
	sending bool   // again, what has not arrived
	acked   uint32 // how much has, if sending
	unended bool   // only the other end has not ended its direction
}

// probe asks the kernel about sockets, one after the other. There may be many, and it makes no garbage for those that
// are well.
type probe struct {
	look  func(fd uintptr)
	found found
}

var probes = sync.Pool{New: func() any {
	p := new(probe)
	p.look = p.ask
	return p
}}

func (p *probe) ask(fd uintptr) {
	start := tcpInfoStart(fd)
	p.found.unended = start[tcpiState] == tcpFinWait2
	if start[tcpiRetransmits] == 0 {
		return
	}
	if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
		p.found.sending, p.found.acked = info.Retransmits > 0, uint32(info.Bytes_acked)
	}
}

// Where tcp_info has what in its first bytes.
const (
	tcpiState       = 0
	tcpiRetransmits = 2
)

// States of a TCP socket (net/tcp_states.h).
const (
	tcpFinWait2 = 5
	tcpClose    = 7
)

// tcpInfoStart returns the first bytes of a TCP socket's tcp_info: what else there is, is not asked for. All are zero for
// another socket.
func tcpInfoStart(fd uintptr) (start [4]byte) {
	info, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err == nil {
		binary.NativeEndian.PutUint32(start[:], uint32(info))
	}
	return start
}
