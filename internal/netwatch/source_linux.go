package netwatch

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// What rtnetlink(7) is asked to tell of. Devices are among it because their routes go without a
// word when they are switched off, and rules because a VPN may have a table of its own. The last
// one has no name in package unix.
const noticeGroups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
	unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE |
	unix.RTMGRP_IPV4_RULE | 1<<(unix.RTNLGRP_IPV6_RULE-1)

// noticeBuffer is for one datagram: notices are small, and of one that is not the beginning is
// enough.
const noticeBuffer = 16 << 10

// clockFar is when the timer would expire that is only there to be canceled.
const clockFar = 10 * 365 * 24 * time.Hour

// kernel is a source that the kernel tells of changes.
type kernel struct {
	hint    chan struct{}
	notices *os.File // nil where they cannot be had
	clock   *os.File // the same
	deaf    atomic.Bool
	reading sync.WaitGroup
}

func openSource() source {
	k := &kernel{hint: make(chan struct{}, 1)}
	k.openNotices()
	k.openClock()
	return k
}

func (k *kernel) hints() <-chan struct{} { return k.hint }
func (k *kernel) isDeaf() bool           { return k.deaf.Load() }

func (k *kernel) close() {
	for _, file := range []*os.File{k.notices, k.clock} {
		if file != nil {
			_ = file.Close()
		}
	}
	k.reading.Wait()
}

// look asks the kernel, and in a sandbox whoever answers.
func (k *kernel) look() (view, error) {
	if k.notices == nil {
		return looked{}.look()
	}
	return askNetwork()
}

func (k *kernel) tell() {
	select {
	case k.hint <- struct{}{}:
	default: // told already
	}
}

// openNotices has the kernel tell of addresses and routes. Where a filter forbids that, with
// whatever error, or this cannot be asked, there are none.
func (k *kernel) openNotices() {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK,
		unix.NETLINK_ROUTE)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: noticeGroups})
		if err == nil {
			_, err = askNetwork()
		}
		if err != nil {
			_ = unix.Close(fd)
		}
	}
	if err != nil {
		k.deaf.Store(true)
		return
	}
	k.notices = os.NewFile(uintptr(fd), "rtnetlink")
	k.reading.Go(k.readNotices)
}

// readNotices reads what the kernel tells until the file is closed.
func (k *kernel) readNotices() {
	b := make([]byte, noticeBuffer)
	for {
		n, err := k.notices.Read(b)
		switch {
		case errors.Is(err, unix.ENOBUFS): // there was more than the socket holds
			k.tell()
		case err != nil:
			k.deaf.Store(true)
			return
		case noticesMatter(b[:n]):
			k.tell()
		}
	}
}

// openClock has the kernel tell when the time of day has been set, as it does by itself after a
// sleep: timerfd_create(2). Where that cannot be had, the next look finds out.
func (k *kernel) openClock() {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return
	}
	far := unix.ItimerSpec{Value: unix.NsecToTimespec(time.Now().Add(clockFar).UnixNano())}
	const flags = unix.TFD_TIMER_ABSTIME | unix.TFD_TIMER_CANCEL_ON_SET
	if err := unix.TimerfdSettime(fd, flags, &far, nil); err != nil {
		_ = unix.Close(fd)
		return
	}
	k.clock = os.NewFile(uintptr(fd), "timerfd")
	k.reading.Go(k.readClock)
}

// readClock waits for the timer to be canceled, again and again, until the file is closed.
func (k *kernel) readClock() {
	b := make([]byte, 8)
	for {
		if _, err := k.clock.Read(b); err != nil && !errors.Is(err, unix.ECANCELED) {
			return
		}
		k.tell()
	}
}
