package cli

import (
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
)

// runPortals runs a configuration until its context ends, and then until its connections have
// finished. The log is an audit trail.
//
// SIGHUP is what a terminal sends to what was started there when it is closed, and what a service
// manager sends to have files read again. So to a process that had a controlling terminal at its
// start it means what SIGTERM does, except that a second one changes nothing. To another, as one
// under systemd, setsid or cron, it means to read files again. If it was ignored at the start, as
// nohup has it, it stays so.
func runPortals(c *call, all config.Config, o daemon.Options) error {
	c.process.out.detach()
	hangups := make(chan os.Signal, 1)
	notify(hangups, syscall.SIGHUP) // now: who is told that the role is ready may send one
	defer signal.Stop(hangups)
	fromTerminal := hasTerminal()
	if fromTerminal {
		defer onEach(hangups, c.process.stop)()
	}
	o.Audit = true
	d, end, err := startDaemon(c, all, o)
	if err != nil {
		return err
	}
	defer end()
	if !fromTerminal {
		defer onEach(hangups, d.Reload)()
	}
	<-c.ctx.Done()
	return d.Shutdown()
}

// runStdio runs a configuration of one inlet, until stdin and stdout, its one connection, have
// ended, or the context has and they have had their time. That they were not carried to their end
// is an error, for who reads stdout cannot tell.
func runStdio(c *call, all config.Config, o daemon.Options) error {
	ended := make(chan error, 1)
	others := o.Notify
	o.Notify = func(e daemon.Event) {
		if e.Kind == daemon.Ended {
			ended <- e.Err
		}
		others(e)
	}
	d, end, err := startDaemon(c, all, o)
	if err != nil {
		return err
	}
	defer end()
	select {
	case err := <-ended:
		_ = d.Close()
		return err
	case <-c.ctx.Done():
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

// onEach calls do on each signal, until the returned function is called.
func onEach(signals chan os.Signal, do func()) (unwatch func()) {
	var task sync.WaitGroup
	task.Go(func() {
		for range signals {
			do()
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
			at := append([]string{e.Portal.Address}, e.Portal.AlsoAt...)
			say(w, "%s", strings.Join(at, " "))
		}
	}
}
