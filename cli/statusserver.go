package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/secureportal/sp/cli/control"
	"github.com/secureportal/sp/cli/daemon"
)

// What a process answers to sp status: see package control.

const (
	statusCommandName     = "status"
	disconnectCommandName = "disconnect"
)

// disconnectArgs say what is to be ended: see daemon.Disconnect.
type disconnectArgs struct {
	What string `json:"what"`
}

// disconnected is the answer.
type disconnected struct {
	Connections int `json:"connections"`
}

// listenForStatus makes the socket at which sp status finds this process, or returns nil: without
// one everything else goes on, unless somebody has said where it is to be.
func listenForStatus(c *call, log *slog.Logger) (*control.Server, error) {
	if c.yes("no-status") {
		return nil, nil
	}
	s, err := control.Listen(c.text("status-socket"))
	if err != nil && c.has("status-socket") {
		return nil, fmt.Errorf("socket for sp status: %w", err)
	}
	if err != nil {
		log.Debug("sp status will not find this process", "error", err)
		return nil, nil
	}
	return s, nil
}

// confineTo has a daemon keep what the socket needs at its end. s may be nil.
func confineTo(o *daemon.Options, s *control.Server) {
	if s != nil {
		o.RemoveIn = append(o.RemoveIn, filepath.Dir(s.Path()))
	}
}

// answerStatus has a socket answer what sp status asks of a daemon.
func answerStatus(s *control.Server, d *daemon.Daemon) {
	s.Handle(statusCommandName, func(ctx context.Context, _ json.RawMessage) (any, error) {
		return d.Report(ctx), nil
	})
	s.Handle(disconnectCommandName, func(_ context.Context, args json.RawMessage) (any, error) {
		var asked disconnectArgs
		if err := json.Unmarshal(args, &asked); err != nil {
			return nil, err
		}
		n, err := d.Disconnect(asked.What)
		return disconnected{n}, err
	})
}

// serveStatus answers until the returned function is called, which may be when the daemon has
// ended. s may be nil.
func serveStatus(s *control.Server, d *daemon.Daemon) (end func()) {
	if s == nil {
		return func() {}
	}
	answerStatus(s, d)
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { s.Serve(ctx) })
	return func() {
		stop()
		serving.Wait()
	}
}

// startDaemon starts a daemon that sp status finds until end is called, and then not any more.
func startDaemon(
	c *call, all []daemon.Named, o daemon.Options,
) (d *daemon.Daemon, end func(), err error) {
	s, err := listenForStatus(c, o.Logger)
	if err != nil {
		return nil, nil, err
	}
	confineTo(&o, s)
	if d, err = daemon.StartAll(c.ctx, all, o); err != nil {
		if s != nil {
			s.Close()
		}
		return nil, nil, err
	}
	return d, serveStatus(s, d), nil
}
