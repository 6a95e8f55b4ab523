package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	files := c.life
	if err := files.begin(); err != nil {
		return err
	}
	c.process.atLast = append(c.process.atLast, files.end)
	if !c.has("log-file") {
		ignoreReopen()
	}
	o.Audit, o.Files = true, files.paths()
	var once *oneConnection
	if isOnce(all) {
		once = watchOne(&o, c.process.stop)
	}
	idle := endWhenIdle(&o, c.process.stop)
	d, endStatus, err := startDaemon(c, []daemon.Named{{Config: all}}, o)
	if err != nil {
		return err
	}
	defer endStatus()
	if !fromTerminal {
		defer onEach(hangups, d.Reload)()
	}
	<-c.ctx.Done()
	if err := d.Shutdown(); err != nil || once == nil {
		return err
	}
	return once.result(idle.Load())
}

// endWhenIdle has end be called when no connection has been open for long enough, besides what o
// does. It tells whether that has happened.
func endWhenIdle(o *daemon.Options, end func()) *atomic.Bool {
	var idle atomic.Bool
	others := o.Notify
	o.Notify = func(e daemon.Event) {
		if e.Kind == daemon.Idle {
			o.Logger.Info("no connection has been open for as long as --idle-exit says")
			idle.Store(true)
			end()
		}
		others(e)
	}
	return &idle
}

// isOnce tells whether a configuration is for one connection.
func isOnce(c config.Config) bool {
	return slices.ContainsFunc(c.Inlets, config.Inlet.IsOnce) ||
		slices.ContainsFunc(c.Outlets, config.Outlet.IsOnce)
}

// oneConnection is how the one connection of a process ends. That it was not carried to its end is
// an error, for whoever waits for the process cannot tell otherwise.
type oneConnection struct{ ended chan error }

// watchOne has ended be called when the one connection has ended, besides what o does.
func watchOne(o *daemon.Options, ended func()) *oneConnection {
	one := &oneConnection{make(chan error, 1)}
	others := o.Notify
	o.Notify = func(e daemon.Event) {
		if e.Kind == daemon.Ended {
			one.ended <- e.Err
			ended()
		}
		others(e)
	}
	return one
}

// result is how the connection has ended, if it has, or else why there is no more of it.
func (one *oneConnection) result(idle bool) error {
	select {
	case err := <-one.ended:
		return err
	default: // a write that stdout does not take is not waited for
	}
	if idle {
		return errNobodyCame
	}
	return daemon.ErrStopped
}

// errNobodyCame is the end of a role for one connection that has not come.
var errNobodyCame = errors.New("nobody has connected for as long as --idle-exit says")

// runStdio runs a configuration whose one connection is stdin and stdout, until that has ended, or
// its context has and it has had its time.
func runStdio(c *call, all config.Config, o daemon.Options) error {
	files := c.life
	if err := files.begin(); err != nil {
		return err
	}
	c.process.atLast = append(c.process.atLast, files.end)
	if !c.has("log-file") {
		ignoreReopen()
	}
	o.Files = files.paths()
	over, end := context.WithCancel(c.ctx)
	defer end()
	one := watchOne(&o, end)
	idle := endWhenIdle(&o, end)
	d, endStatus, err := startDaemon(c, []daemon.Named{{Config: all}}, o)
	if err != nil {
		return err
	}
	defer endStatus()
	<-over.Done()
	if c.ctx.Err() == nil && len(all.Outlets) == 0 {
		_ = d.Close()
	} else if err := d.Shutdown(); err != nil {
		return err
	}
	err = one.result(idle.Load())
	if err != nil && c.ctx.Err() != nil {
		return daemon.ErrStopped
	}
	return err
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
func sayAddress(c *call, o daemon.Options) func(daemon.Event) {
	return func(e daemon.Event) {
		if e.Kind == daemon.Ready {
			c.sayReady(c.stdout, o, strings.Join(e.Portal.Everywhere(), " "))
		}
	}
}
