package netio

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// stuck is what Socket.Stuck remembers: little, since every socket has it.
type stuck struct {
	acked uint32 // the lower half: what matters is whether it changes
	times uint32
}

// Stuck is what Stuck returns of a socket.
func (s *Socket) Stuck() int {
	sending, acked := s.retransmits()
	if !sending || acked != s.stuck.acked {
		s.stuck.times = 0
	} else {
		s.stuck.times++
	}
	s.stuck.acked = acked
	return int(s.stuck.times)
}

// retransmits tells whether the kernel is sending again what has not arrived, and then how much
// has.
func (s *Socket) retransmits() (yes bool, acked uint32) {
	p := probes.Get().(*probe)
	defer probes.Put(p)
	p.yes, p.acked = false, 0
	_ = s.raw.Control(p.look)
	return p.yes, p.acked
}

// probe asks the kernel about sockets, one after the other. There may be many, and it makes no
// garbage for those that are well.
type probe struct {
	look  func(fd uintptr)
	yes   bool
	acked uint32
}

var probes = sync.Pool{New: func() any {
	p := new(probe)
	p.look = p.ask
	return p
}}

func (p *probe) ask(fd uintptr) {
	if tcpInfoStart(fd)[tcpiRetransmits] == 0 {
		return
	}
	if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
		p.yes, p.acked = info.Retransmits > 0, uint32(info.Bytes_acked)
	}
}

// Where tcp_info has what in its first bytes.
const (
	tcpiState       = 0
	tcpiRetransmits = 2
)

// tcpInfoStart returns the first bytes of a TCP socket's tcp_info: what else there is, is not asked
// for. All are zero for another socket.
func tcpInfoStart(fd uintptr) (start [4]byte) {
	info, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err == nil {
		binary.NativeEndian.PutUint32(start[:], uint32(info))
	}
	return start
}
