package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
)

// runPortals runs a configuration until ctx ends, and then until its connections have finished.
// SIGHUP has it read its files again, and the log is an audit trail.
func runPortals(ctx context.Context, c config.Config, o daemon.Options) error {
	o.Audit = true
	d, err := daemon.Start(ctx, c, o)
	if err != nil {
		return err
	}
	defer reloadOnHangup(d)()
	<-ctx.Done()
	return d.Shutdown()
}

// runStdio runs a configuration of one inlet, until stdin and stdout, its one connection, have
// ended, or ctx has and they have had their time. That they were not carried to their end is an
// error, for who reads stdout cannot tell.
func runStdio(ctx context.Context, c config.Config, o daemon.Options) error {
	ended := make(chan error, 1)
	others := o.Notify
	o.Notify = func(e daemon.Event) {
		if e.Kind == daemon.Ended {
			ended <- e.Err
		}
		others(e)
	}
	d, err := daemon.Start(ctx, c, o)
	if err != nil {
		return err
	}
	select {
	case err := <-ended:
		_ = d.Close()
		return err
	case <-ctx.Done():
	}
	if err := d.Shutdown(); err != nil {
		return err
	}
	select {
	case err := <-ended:
		if err == nil {
			return nil
		}
	default: // a write that stdout does not take is not waited for
	}
	return daemon.ErrStopped
}

// reloadOnHangup has d read its files again on SIGHUP, until the returned function is called.
func reloadOnHangup(d *daemon.Daemon) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	var task sync.WaitGroup
	task.Go(func() {
		for range signals {
			d.Reload()
		}
	})
	return func() {
		signal.Stop(signals)
		close(signals)
		task.Wait()
	}
}

// sayAddress prints where a portal listens, when it is ready.
func sayAddress(w io.Writer) func(daemon.Event) {
	return func(e daemon.Event) {
		if e.Kind == daemon.Ready {
			say(w, "%s", e.Portal.Address)
		}
	}
}
