package netio

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// stuck is what Socket.Stuck remembers: little, since every socket has it.
type stuck struct {
	acked uint32      // the lower half: what matters is whether it changes
	times uint32      // that it has not, in a row
	sent  atomic.Bool // something, since it was last seen that nothing was on its way

	tell atomic.Pointer[Note] // NoteSends
}

// Stuck is what Stuck returns of a socket.
func (s *Socket) Stuck() (times int, sending bool) {
	if !s.stuck.sent.Swap(false) || !s.isSending() {
		s.stuck.times = 0
		return 0, s.stuck.sent.Load()
	}
	s.stuck.sent.Store(true)
	again, acked := s.retransmits()
	if !again || acked != s.stuck.acked {
		s.stuck.times = 0
	} else {
		s.stuck.times++
	}
	s.stuck.acked = acked
	return int(s.stuck.times), true
}

// isSending tells whether the kernel has anything that the other end has not acknowledged.
func (s *Socket) isSending() bool {
	sending := false
	_ = s.raw.Control(func(fd uintptr) {
		n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		sending = err == nil && n > 0
	})
	return sending
}

// NoteSends is what NoteSends does.
func (s *Socket) NoteSends(n *Note) {
	s.stuck.tell.Store(n)
	if s.stuck.sent.Load() {
		n.Do()
	}
}

// noteSent is called before and after something is sent: what Stuck has seen in between may be
// neither.
func (s *Socket) noteSent() {
	if s.stuck.sent.Load() {
		return
	}
	s.stuck.sent.Store(true)
	if n := s.stuck.tell.Load(); n != nil {
		n.Do()
	}
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
		p.yes = info.Retransmits > 0 && !answersShut(info)
		p.acked = uint32(info.Bytes_acked)
	}
}

// answersShut tells whether the other end has answered what was sent last, and takes nothing: its
// reader does not read. Where something was lost just before it had no room any more, the kernel
// goes on counting retransmits, although they only ask for room. (Linux before 5.4 does not tell
// the window. There, whoever answers is alive.)
func answersShut(info *unix.TCPInfo) bool {
	return info.Snd_wnd == 0 && info.Last_ack_recv <= info.Last_data_sent
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
