package netio

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// parking is a socket's place where somebody waits for many. Its goroutine is ready's.
//
//	away ── Park ──▶ parked ── something has come, Close, a deadline is set ──▶ away, and ready
type parking struct {
	now     atomic.Pointer[parked] // nil while it is away
	limited atomic.Bool            // there is a deadline, which nobody waits for here
}

// parked is a socket for which nobody else waits.
type parked struct {
	place uint64
	ready func()
}

var (
	_ Parker    = (*Socket)(nil)
	_ MayParker = (*Socket)(nil)
)

// MayPark implements MayParker.
func (s *Socket) MayPark() bool { return !s.parking.limited.Load() }

// Park implements Parker.
func (s *Socket) Park(ready func()) bool {
	p := &s.parking
	who := &parked{ready: ready}
	if !park.enter(p, who) {
		return false
	}
	p.now.Store(who)
	watched := !p.limited.Load() && park.watch(s.raw, who.place)
	if watched || !p.now.CompareAndSwap(who, nil) {
		return true // ready has been called, or will be
	}
	park.leave(who.place)
	return false
}

// leave has ready called, if the socket is parked.
func (p *parking) leave() {
	if who := p.now.Load(); who != nil && p.now.CompareAndSwap(who, nil) {
		park.leave(who.place)
		go who.ready()
	}
}

// limit takes note of a deadline for reads: who has one waits himself.
func (p *parking) limit(t time.Time) {
	p.limited.Store(!t.IsZero())
	if !t.IsZero() {
		p.leave()
	}
}

// park is where the process's sockets are parked. One goroutine waits for all of them, as long as
// there are any: the runtime's poller wakes it by way of an epoll of its own.
var park parkingLot

type parkingLot struct {
	mu      sync.Mutex
	sockets map[uint64]*parking // by their places
	last    uint64              // place that was given out
	file    *os.File            // the epoll; nil before the first socket
	raw     syscall.RawConn     // of the file
	fd      int                 // of the file
	refused bool                // the system has none for us
	waits   bool                // run is there
}

// enter gives who a place, or reports that there are none.
func (l *parkingLot) enter(p *parking, who *parked) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil && !l.openLocked() {
		return false
	}
	l.last++
	who.place = l.last
	l.sockets[who.place] = p
	if !l.waits {
		l.waits = true
		go l.run()
	}
	return true
}

// openLocked makes the epoll, which is there until the process ends.
func (l *parkingLot) openLocked() bool {
	if l.refused {
		return false
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		l.refused = !isShort(err)
		return false
	}
	l.refused = true
	_ = unix.SetNonblock(fd, true) // or os.NewFile takes it for what cannot be waited for
	file := os.NewFile(uintptr(fd), "epoll")
	raw, err := file.SyscallConn()
	if err != nil || file.SetReadDeadline(time.Time{}) != nil {
		_ = file.Close()
		return false
	}
	l.sockets = make(map[uint64]*parking)
	l.file, l.raw, l.fd, l.refused = file, raw, fd, false
	return true
}

// isShort tells whether the system has no more of something for the moment.
func isShort(err error) bool {
	return err == unix.EMFILE || err == unix.ENFILE || err == unix.ENOMEM
}

// leave gives a place back.
func (l *parkingLot) leave(place uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sockets, place)
	if len(l.sockets) == 0 && l.waits {
		_ = l.file.SetReadDeadline(time.Unix(1, 0)) // run ends
	}
}

// watch has the kernel tell, once, when there is something to read. A socket that is closed is not
// watched any more.
func (l *parkingLot) watch(raw syscall.RawConn, place uint64) (ok bool) {
	event := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT,
		Fd:     int32(place), Pad: int32(place >> 32),
	}
	err := raw.Control(func(fd uintptr) {
		err := unix.EpollCtl(l.fd, unix.EPOLL_CTL_MOD, int(fd), &event)
		if errors.Is(err, unix.ENOENT) {
			err = unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, int(fd), &event)
		}
		ok = err == nil
	})
	return ok && err == nil
}

// parkedAtOnce is how many sockets are looked after with one system call.
const parkedAtOnce = 128

// run waits until there is no socket.
func (l *parkingLot) run() {
	var events [parkedAtOnce]unix.EpollEvent
	for {
		n := 0
		err := l.raw.Read(func(fd uintptr) bool {
			var failed error
			n, failed = unix.EpollWait(int(fd), events[:], 0)
			return n > 0 || failed != nil && !errors.Is(failed, unix.EINTR)
		})
		if !l.told(events[:max(n, 0)], err) {
			return
		}
	}
}

// told has those called who are ready, and reports whether others wait.
func (l *parkingLot) told(events []unix.EpollEvent, err error) bool {
	var ready [parkedAtOnce]*parking
	l.mu.Lock()
	for i, event := range events {
		place := uint64(uint32(event.Fd)) | uint64(uint32(event.Pad))<<32
		ready[i] = l.sockets[place]
		if ready[i] != nil && ready[i].isAt(place) {
			continue
		}
		ready[i] = nil // it has left, or is about to
	}
	if err != nil { // a deadline, so that it ends
		_ = l.file.SetReadDeadline(time.Time{})
	}
	l.waits = len(l.sockets) > 0
	goesOn := l.waits
	l.mu.Unlock()
	for _, p := range ready[:len(events)] {
		if p != nil {
			p.leave()
		}
	}
	return goesOn
}

// isAt tells whether the socket is parked at a place.
func (p *parking) isAt(place uint64) bool {
	who := p.now.Load()
	return who != nil && who.place == place
}
