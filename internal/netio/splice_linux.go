package netio

import (
	"cmp"
	"io"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/budget"
)

// spliceChunk is the most that one system call moves, and the size asked for a pipe.
const spliceChunk = 256 << 10

// sparePiece is what is moved into a pipe when memory is short and the destination takes nothing.
const sparePiece = 4 << 10

// pipe is the kernel's buffer between two sockets. One is held only while bytes are in it: io.Copy,
// which also splices, holds one for as long as it waits, and with it two descriptors for each idle
// direction.
type pipe struct {
	r, w int
}

const (
	pipesPart  = 16 // pipes take two of so many descriptors, an eighth of them, at most,
	pipesLeast = 4  // but there may be so many pipes
)

var (
	pipes     sync.Pool
	pipesMost = pipesAllowed // asked for each new one: the limit changes
	pipesOpen atomic.Int64   // the pool's too, and what it has dropped and waits to be closed
)

// pipesAllowed returns how many pipes there may be at once, as things are: without a bound, copies
// whose destinations take nothing would hold the descriptors that new connections need.
func pipesAllowed() int64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt64
	}
	return max(int64(min(limit.Cur/pipesPart, math.MaxInt32)), pipesLeast)
}

// getPipe returns an empty pipe, or nil if none is to be had.
func getPipe() *pipe {
	if p, ok := pipes.Get().(*pipe); ok {
		return p
	}
	var fds [2]int
	if pipesOpen.Add(1) > pipesMost() ||
		unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		pipesOpen.Add(-1)
		return nil
	}
	// A smaller pipe works as well, only slower.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, spliceChunk)
	p := &pipe{r: fds[0], w: fds[1]}
	runtime.SetFinalizer(p, (*pipe).close) // the pool drops what is not used
	return p
}

func putPipe(p *pipe) { pipes.Put(p) }

func (p *pipe) close() {
	runtime.SetFinalizer(p, nil)
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
	pipesOpen.Add(-1)
}

// splicer moves bytes one way. Its callbacks are made once, so that moving allocates nothing.
type splicer struct {
	pipe  *pipe
	held  int // bytes in the pipe
	most  int // that are moved into it at once
	taken int // of the process's budget, while the pipe waits for the destination
	moved int
	err   error
	state spliceState
	room  *PooledRoom // while no pipe is to be had; nil before
}

// spliceState says what is in the way of splicing.
type spliceState int

const (
	spliceReady   spliceState = iota
	spliceNoPipe              // just now: no descriptors, or too many pipes
	spliceUnknown             // ever: the system does not do it, or not for this socket
)

// splice copies from src to dst in the kernel until src ends. What comes while no pipe is to be had
// goes through pooled memory.
func splice(dst, src *Socket) (total int64, err error) {
	var s splicer
	defer s.drop()
	fill, drain := s.fill, s.drain
	for {
		s.most = spliceChunk
		if !budget.Process.Plenty() {
			s.most = min(spliceChunk, max(dst.Takes(), sparePiece))
		}
		if err := src.raw.Read(fill); err != nil {
			return total, err
		}
		switch {
		case s.state == spliceUnknown:
			n, err := copyBuffered(dst, src)
			return total + n, err
		case s.state == spliceNoPipe:
			if s.room == nil {
				s.room = new(PooledRoom)
			}
			n, err := copyOnce(dst, src, s.room)
			total += int64(n)
			s.room.Release()
			if err != nil {
				return total, endToNil(err)
			}
			continue
		case s.err != nil:
			return total, src.readError(s.err)
		case s.held == 0:
			return total, endToNil(src.endOfData())
		}
		src.received.Add(uint64(s.held))
		dst.noteSent()
		for s.held > 0 {
			if err := dst.raw.Write(drain); err != nil {
				return total, ToDestination(err)
			}
			if isRefusal(s.err) {
				n, err := s.carry(dst)
				total += int64(n)
				if err != nil {
					return total, ToDestination(err)
				}
				continue
			}
			dst.noteSent()
			if s.err != nil {
				return total, ToDestination(dst.opError("write", s.err))
			}
			dst.sent.Add(uint64(s.moved))
			total += int64(s.moved)
		}
		s.settle(0)
	}
}

// settle takes n bytes of the process's budget in place of what is taken.
func (s *splicer) settle(n int) {
	if n != s.taken {
		budget.Process.Take(int64(n - s.taken))
		s.taken = n
	}
}

func endToNil(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// fill moves what the source has into a pipe. It reports false, and holds no pipe, when there is
// nothing yet.
func (s *splicer) fill(fd uintptr) bool {
	if s.pipe == nil {
		if s.pipe = getPipe(); s.pipe == nil {
			s.state = spliceNoPipe
			return true
		}
	}
	s.state = spliceReady
	s.held, s.err = spliceOnce(int(fd), s.pipe.w, s.most)
	switch s.err {
	case unix.EAGAIN:
		putPipe(s.pipe)
		s.pipe = nil
		return false
	default:
		if isRefusal(s.err) {
			s.state = spliceUnknown
		}
	}
	return true
}

// drain moves what the pipe holds to the destination. It reports false when the destination takes
// nothing yet.
func (s *splicer) drain(fd uintptr) bool {
	s.moved, s.err = spliceOnce(s.pipe.r, int(fd), s.held)
	if s.err == unix.EAGAIN {
		s.settle(s.held)
		return false
	}
	if s.err == nil && s.moved == 0 {
		s.err = unix.EIO // or trying would go on for ever
	}
	s.held -= s.moved
	return true
}

// carry moves what the pipe holds to the destination by hand.
func (s *splicer) carry(dst *Socket) (moved int, err error) {
	b := GetBuffer(Large)
	defer b.Free()
	for s.held > 0 && err == nil {
		var n int
		if n, err = unix.Read(s.pipe.r, b.Bytes); n <= 0 {
			return moved, cmp.Or(err, error(unix.EIO))
		}
		s.held -= n
		n, err = dst.Write(b.Bytes[:n])
		moved += n
	}
	return moved, err
}

// drop gives the pipe back if it is empty and closes it otherwise.
func (s *splicer) drop() {
	s.settle(0)
	switch {
	case s.pipe == nil:
	case s.held == 0:
		putPipe(s.pipe)
	default:
		s.pipe.close()
	}
	s.pipe = nil
}

func spliceOnce(from, to, limit int) (int, error) {
	for {
		n, err := unix.Splice(from, nil, to, nil, limit, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if err != unix.EINTR {
			return int(max(n, 0)), err
		}
	}
}
