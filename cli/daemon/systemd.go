package daemon

import (
	"context"
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
// Nothing here fails where there is no systemd.
func notifyReady() { notifySystemd(daemon.SdNotifyReady) }

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
	return notifyReady
}

// notifySystemd is daemon.SdNotify, which waits for as long as it takes.
func notifySystemd(state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(notifyTimeout))
	_, _ = conn.Write([]byte(state))
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
