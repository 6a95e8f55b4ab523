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
//	                 │    ▲
//	                 └────┘ a glance at what has come was enough
type parking struct {
	now     atomic.Pointer[parked] // nil while it is away
	limited atomic.Bool            // there is a deadline, which nobody waits for here
	glanced atomic.Int64           // when it was, last, on the process's clock; 0: never
}

// parked is a socket for which nobody else waits.
type parked struct {
	place  uint64
	glance func() bool // nil: it has none
	ready  func()

	mu sync.Mutex // held while glance is called; ready comes after that
}

// glancePause is how long after a glance at a socket the next one may be: what comes sooner has a
// goroutine of its own, for all others wait for who glances.
const glancePause = time.Second

// began is what the process's clock counts from.
var began = time.Now()

var (
	_ Parker    = (*Socket)(nil)
	_ MayParker = (*Socket)(nil)
	_ Glancer   = (*Socket)(nil)
)

// MayPark implements MayParker.
func (s *Socket) MayPark() bool { return !s.parking.limited.Load() }

// Park implements Parker.
func (s *Socket) Park(ready func()) bool { return s.ParkAndGlance(nil, ready) }

// ParkAndGlance implements Glancer.
func (s *Socket) ParkAndGlance(glance func() bool, ready func()) bool {
	p := &s.parking
	who := &parked{glance: glance, ready: ready}
	if !park.enter(s, who) {
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
		go who.call()
	}
}

func (w *parked) call() {
	w.awaitGlance()
	w.ready()
}

// awaitGlance returns when nobody glances.
func (w *parked) awaitGlance() {
	w.mu.Lock()
	defer w.mu.Unlock()
}

// come is called when something has come to a socket that may be parked at a place.
func (s *Socket) come(place uint64, events uint32) {
	p := &s.parking
	who := p.now.Load()
	if who == nil || who.place != place {
		return // it has left, or is about to
	}
	if who.glance == nil || events != unix.EPOLLIN || !s.glance(who) {
		p.leave()
	}
}

// glance has who glance at what has come, and reports whether the socket stays parked, or has left
// meanwhile.
func (s *Socket) glance(who *parked) bool {
	who.mu.Lock()
	defer who.mu.Unlock()
	if s.parking.now.Load() != who {
		return true
	}
	now, last := time.Since(began), time.Duration(s.parking.glanced.Load())
	if last > 0 && now-last < glancePause {
		return false
	}
	s.parking.glanced.Store(int64(now))
	return who.glance() && park.watch(s.raw, who.place)
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
	sockets map[uint64]*Socket // by their places
	last    uint64             // place that was given out
	file    *os.File           // the epoll; nil before the first socket
	raw     syscall.RawConn    // of the file
	fd      int                // of the file
	refused bool               // the system has none for us
	waits   bool               // run is there
}

// enter gives who a place, or reports that there are none.
func (l *parkingLot) enter(s *Socket, who *parked) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil && !l.openLocked() {
		return false
	}
	l.last++
	who.place = l.last
	l.sockets[who.place] = s
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
	l.sockets = make(map[uint64]*Socket)
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

// run waits until there is no socket. What has come is looked after before the runtime's poller is
// asked again, which remembers what comes meanwhile.
func (l *parkingLot) run() {
	var events [parkedAtOnce]unix.EpollEvent
	for {
		err := l.raw.Read(func(fd uintptr) bool {
			n, err := len(events), error(nil)
			for n == len(events) && err == nil {
				n, err = lookNow(fd, events[:])
				l.told(events[:n])
			}
			return err != nil
		})
		if !l.goesOn(err) {
			return
		}
	}
}

// told has those looked after to whom something has come.
func (l *parkingLot) told(events []unix.EpollEvent) {
	var ready [parkedAtOnce]*Socket
	l.mu.Lock()
	for i, event := range events {
		ready[i] = l.sockets[placeOf(event)]
	}
	l.mu.Unlock()
	for i, s := range ready[:len(events)] {
		if s != nil {
			s.come(placeOf(events[i]), events[i].Events)
		}
	}
}

func placeOf(event unix.EpollEvent) uint64 {
	return uint64(uint32(event.Fd)) | uint64(uint32(event.Pad))<<32
}

// goesOn reports whether there are sockets to wait for. err is why waiting has come to an end.
func (l *parkingLot) goesOn(err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil { // a deadline, so that it ends
		_ = l.file.SetReadDeadline(time.Time{})
	}
	l.waits = len(l.sockets) > 0
	return l.waits
}
