package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifyTimeout is how long systemd may take to take a word. It reads at once, unless it is stopped
// itself, and then what has to be done goes on without it.
const notifyTimeout = 500 * time.Millisecond

// notifyReady tells systemd that the process can be used, if it was started with Type=notify.
// Nothing here fails where there is no systemd. If it does not take that in time, it is told later:
// a unit of which it does not know this is ended.
func (d *Daemon) notifyReady() {
	if notifySystemd(daemon.SdNotifyReady) {
		return
	}
	select {
	case d.owed <- struct{}{}:
	default:
	}
}

// insistReady tells systemd that the process can be used, as soon as it takes that, whenever it did
// not take it in time. It returns when ctx ends.
func (d *Daemon) insistReady(ctx context.Context) {
	for {
		select {
		case <-d.owed:
			_ = sayToSystemd(ctx, daemon.SdNotifyReady, time.Time{})
		case <-ctx.Done():
			return
		}
	}
}

// notifyStopping tells systemd that the process drains.
func notifyStopping() { notifySystemd(daemon.SdNotifyStopping) }

// notifyReloading tells systemd that the process reads its configuration or its files again, until
// notifyReady: that is what Type=notify-reload waits for.
func notifyReloading() {
	text := daemon.SdNotifyReloading
	if now, ok := monotonicMicroseconds(); ok {
		text += fmt.Sprintf("\nMONOTONIC_USEC=%d", now)
	}
	notifySystemd(text)
}

// Reloading tells systemd that the process reads its configuration or its files again, and returns
// what tells that it has, whatever has come of it. Before the process was ready there is nothing to
// tell.
func (d *Daemon) Reloading() (done func()) {
	d.notifying.Lock()
	defer d.notifying.Unlock()
	if !d.told {
		return func() {}
	}
	notifyReloading()
	return d.notifyReady
}

// notifySystemd tells systemd something. It returns false if that was not taken in time.
func notifySystemd(state string) bool {
	err := sayToSystemd(context.Background(), state, time.Now().Add(notifyTimeout))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// sayToSystemd is daemon.SdNotify, which waits for as long as it takes. It fails with
// [os.ErrDeadlineExceeded] when ctx ends as well.
func sayToSystemd(ctx context.Context, state string, by time.Time) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(by)
	defer context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })()
	_, err = conn.Write([]byte(state))
	return err
}

// feedWatchdog tells systemd that the process lives, twice in the time after which it would be
// killed, until ctx ends.
func feedWatchdog(ctx context.Context) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	ticks := time.NewTicker(interval / 2)
	defer ticks.Stop()
	for {
		notifySystemd(daemon.SdNotifyWatchdog)
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}
