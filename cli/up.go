package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/control"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/cli/keyfile"
	"github.com/secureportal/sp/cli/page"
	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/internal/confine"
	"github.com/secureportal/sp/internal/filewatch"
)

// defaultFile is the file of portals where none is named.
const defaultFile = "sp.toml"

const upWord = "up"

func upCommand() *cli.Command {
	return &cli.Command{
		Name:  upWord,
		Usage: "run the portals of a file: many inlets, outlets, relays and bridges in one process",
		UsageText: "sp up [--config FILE] [--watch]\n" +
			"sp up FILE                               (the same, shorter)",
		Description: "Each table of the file is a role, [outlet.db], and its keys are the flags of " +
			"that role; what stands\nat the top is for all. SIGHUP, or --watch, has the file read again: " +
			"what is different is changed,\nand what is not goes on, connections included. If " +
			"something of it cannot be done, nothing is.\n" +
			"When a portal can be used, its kind, its name and the line of its role are printed.\n" +
			"sp check tells what is wrong with a file, and what it would change; sp config prints what " +
			"runs.",
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "config", TakesFile: true, Value: defaultFile,
				Usage: "the `FILE` of the portals",
			},
			&cli.BoolFlag{
				Name: "watch", Usage: "read the file again when it changes, and not only on SIGHUP",
			},
			&cli.StringFlag{
				Name: "status-socket", TakesFile: true,
				Usage:       "answer sp check and sp config at this `PATH`, for whoever names it",
				DefaultText: "in sp in the user's folder for what runs, where they look",
			},
		},
		Action: action(runUp),
	}
}

// up is a process that runs a file of portals.
type up struct {
	ctx    context.Context
	path   string // absolute
	logger *slog.Logger
	say    func(format string, args ...any)
	daemon *daemon.Daemon // once it runs

	reloading sync.Mutex // held while the file is applied

	mu      sync.Mutex // guards what follows
	running *portalFile
	tried   string // the text that was applied or refused last
}

func runUp(c *call) error {
	path, err := filepath.Abs(c.text("config"))
	if err != nil {
		return err
	}
	file, err := loadPortals(path, true)
	if err != nil {
		return err
	}
	logger, err := newLogger(
		file.processText("log-format", "text"), file.processText("log-level", "info"), c.stderr)
	if err != nil {
		return err
	}
	u := &up{
		ctx: c.ctx, path: path, logger: logger, running: file, tried: file.text,
		say: func(format string, args ...any) { say(c.stdout, format, args...) },
	}
	return u.run(c, c.yes("watch"))
}

// loadPortals reads a file of portals, and looks at the files that it names if that is asked for.
// An error is a *fileError, or that it cannot be read.
func loadPortals(path string, files bool) (*portalFile, error) {
	text, _, err := atomicfile.ReadDeciding(path, keyfile.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(fmt.Errorf("file %s: %w", path, atomicfile.WithoutPath(err)),
			"name the file behind the command; docs/config.md tells what is in it")
	}
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", path, atomicfile.WithoutPath(err))
	}
	return readPortals(path, string(text), files)
}

// options are the daemon's. server is the process's socket, or nil.
func (u *up) options(c *call, server *control.Server) daemon.Options {
	o := daemon.Options{
		Logger: u.logger, Hint: hintFor, Audit: true, ReadyAtOnce: true, Notify: u.notify,
		Confine: u.running.keys["no-sandbox"].Value != true,
		Changes: &daemon.Folders{Read: confine.Folders(u.path)},
	}
	// It was checked when the file was read.
	o.LogConnections, _ = parseLogPolicy(u.running.processText("log-connections", ""))
	o.Version, o.Page = c.flags.App.Version, page.New
	o.Metrics = u.running.metrics()
	if server != nil {
		o.Changes.Write = []string{filepath.Dir(server.Path())}
	}
	if c.process.terminal {
		o.Waiting = sayWaiting(c.stderr)
	}
	return o
}

// run runs the portals until the context ends. What SIGHUP means is as for runPortals.
func (u *up) run(c *call, watch bool) error {
	c.process.out.detach()
	hangups := make(chan os.Signal, 1)
	notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	fromTerminal := hasTerminal()
	if fromTerminal {
		defer onEach(hangups, c.process.stop)()
	}
	server, err := control.Listen(c.text("status-socket"))
	if err != nil && c.has("status-socket") {
		return fmt.Errorf("--status-socket: %w", err)
	}
	if err != nil {
		u.logger.Warn("sp check and sp config will not find this process", "error", err)
	} else {
		defer server.Close()
	}
	if u.daemon, err = daemon.StartAll(c.ctx, u.running.named(), u.options(c, server)); err != nil {
		return err
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	working, rest := context.WithCancel(c.ctx)
	defer rest()
	if server != nil {
		u.answer(server)
		tasks.Go(func() { server.Serve(working) })
	}
	if watch {
		u.watch(working, &tasks)
	}
	if !fromTerminal {
		defer onEach(hangups, u.reload)()
	}
	<-c.ctx.Done()
	return u.daemon.Shutdown()
}

// watch has the file applied whenever it is another, until ctx ends.
func (u *up) watch(ctx context.Context, tasks *sync.WaitGroup) {
	file := filewatch.New(u.path)
	look := func() {
		if !file.Changed() {
			return
		}
		next, err := u.readChanged()
		if err != nil { // it may be half written
			file.Again()
			err = file.Twice(err)
		} else {
			_, err = file.Twice(nil), u.applyChanged(next)
		}
		if err != nil {
			u.refused(err)
		}
	}
	w := filewatch.NewWatcher(func() []string { return []string{u.path} }, look)
	tasks.Go(func() { w.Run(ctx) })
}

// reload applies the file as it is, and has all other files read again.
func (u *up) reload() {
	defer u.daemon.Reloading()()
	file, err := loadPortals(u.path, false) // what is not there, the daemon says
	if err == nil {
		err = u.apply(file)
	}
	if err != nil {
		u.refused(err)
	}
	u.daemon.Reread()
}

// readChanged reads the file, and returns nil if its text is the one that was tried last.
func (u *up) readChanged() (*portalFile, error) {
	next, err := loadPortals(u.path, false)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil || next.text == u.tried {
		return nil, err
	}
	return next, nil
}

// applyChanged applies what readChanged has returned, and tells systemd.
func (u *up) applyChanged(next *portalFile) error {
	if next == nil {
		return nil
	}
	defer u.daemon.Reloading()()
	return u.apply(next)
}

// apply has another file run in place of the one that does, or changes nothing.
func (u *up) apply(next *portalFile) error {
	u.reloading.Lock()
	defer u.reloading.Unlock()
	u.mu.Lock()
	before := u.running
	u.tried = next.text
	u.mu.Unlock()
	if err := before.processChange(next); err != nil {
		return err
	}
	u.setRunning(next) // now: what becomes ready is looked up in it
	change, err := u.daemon.ApplyAll(u.ctx, next.named())
	if err != nil {
		u.setRunning(before)
		return err
	}
	if change.IsEmpty() {
		u.logger.Info("the file has been read again: the portals are the same")
	} else {
		u.logger.Info("the file has been read again", "portals", change)
	}
	return nil
}

func (u *up) setRunning(f *portalFile) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.running = f
}

func (u *up) current() *portalFile {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.running
}

// refused logs why a file was not applied.
func (u *up) refused(err error) {
	const text = "the file is not applied, and what ran before goes on"
	var bad *fileError
	if errors.As(err, &bad) {
		for i, line := range bad.lines() {
			u.logger.Error(text, withHintOf(bad.faults[i].hint, "error", line)...)
		}
		return
	}
	u.logger.Error(text, withHintOf(hintFor(err), "error", err)...)
}

func withHintOf(hint string, more ...any) []any {
	if hint == "" {
		return more
	}
	return append(more, "hint", hint)
}

// notify prints the line of a portal that can be used.
func (u *up) notify(e daemon.Event) {
	p := u.current().portal(e.Config)
	switch {
	case p == nil:
	case e.Kind == daemon.Redeemed:
		u.logger.Info("the ticket is redeemed, and not needed any more: take it out of the file",
			"portal", e.Config, "to", p.config.Inlets[0].To, "allow", p.ticketIssuer())
	case e.Kind != daemon.Ready:
	case p.role.kind == "outlet":
		for line := range strings.SplitSeq(inletCommands(p.config.Outlets[0], e), "\n") {
			u.say("%s %s", e.Config, line)
		}
	default:
		u.say("%s %s", e.Config, strings.Join(e.Portal.Everywhere(), " "))
	}
}

// processChange returns why a file cannot take the place of this one in the same process, or nil.
func (f *portalFile) processChange(next *portalFile) error {
	flags := topFlags()
	for _, name := range []string{
		"log-format", "log-level", "no-sandbox", "metrics", "metrics-token-file", "metrics-pprof",
		"log-connections",
	} {
		was, is := f.valueOf(flags[name]), next.valueOf(flags[name])
		if fmt.Sprint(was) != fmt.Sprint(is) {
			line := max(next.keys[name].Line(), 1)
			return withHint(&fileError{next.path, []fileFault{{
				Fault: keyfile.Faultf(line, "%s is another: that takes a restart", name),
			}}}, "restart the process")
		}
	}
	return nil
}

// valueOf is what a key at the top says, or what holds without it.
func (f *portalFile) valueOf(flag cli.Flag) any {
	if k, ok := f.keys[flag.Names()[0]]; ok {
		return k.Value
	}
	value, _ := defaultOf(flag)
	return value
}

// ticketIssuer is who is trusted in place of an inlet's ticket.
func (p *filePortal) ticketIssuer() string {
	t, err := p.config.Node.ParseTicket()
	if err != nil || t == nil {
		return ""
	}
	return t.Issuer().String()
}
