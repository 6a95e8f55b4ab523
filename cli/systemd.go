package cli

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"
)

// ready prints the one line that says that a role can be used, and tells systemd, if it started the process with
// Type=notify. Nothing here fails where there is no systemd.
func ready(c *cli.Context, line string) {
	say(c, "%s", line)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
}

// stopping tells systemd that the process drains.
func stopping() {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
}

// feedWatchdog tells systemd that the process lives, twice in the time after which it would be killed, until ctx ends.
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
