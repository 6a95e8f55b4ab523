package daemon

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifyReady tells systemd that the process can be used, if it was started with Type=notify.
// Nothing here fails where there is no systemd.
func notifyReady() {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
}

// notifyStopping tells systemd that the process drains.
func notifyStopping() {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
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
		_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}
