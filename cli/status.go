package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/control"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/pause"
)

const (
	statusTimeout = 10 * time.Second       // for a process to answer
	rateTime      = 250 * time.Millisecond // between two looks at how much connections have carried
	watchInterval = time.Second
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show what this user's running processes do: portals, paths, peers, connections",
		UsageText: "sp status [--json] [--watch]\n" +
			"sp status --disconnect IDENTIFIER|CONNECTION",
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "watch", Usage: "show it again and again, until a signal"},
			&cli.BoolFlag{
				Name:  "all",
				Usage: "show all connections, peers and names, however many there are",
			},
			&cli.StringFlag{
				Name: "disconnect",
				Usage: "end a connection, by the `ID` that is shown with it, or everything with the peer " +
					"who has this Identifier; who is trusted may come again",
			},
			&cli.StringFlag{
				Name: "status-socket", TakesFile: true,
				Usage: "ask the process that was started with this `PATH`, and no other",
			},
		},
		Action: action(runStatus),
	}
}

func runStatus(c *call) error {
	if len(c.args) > 0 {
		return usage("unexpected argument %q", c.args[0])
	}
	if c.has("disconnect") {
		return disconnect(c, c.text("disconnect"))
	}
	find := func() []control.Process { return statusProcesses(c.text("status-socket")) }
	v := view{w: c.stdout, json: c.yes("json"), all: c.yes("all")}
	if !c.yes("watch") {
		first := takeSample(c.ctx, find())
		if len(first.processes) == 0 {
			return errNothingRuns
		}
		if first.hasConnections() {
			pause.For(c.ctx, rateTime)
			first = takeSample(c.ctx, find()).since(first)
		}
		return v.show(first)
	}
	v.again, v.screen = true, c.process.screen
	last := takeSample(c.ctx, find())
	if !pause.For(c.ctx, rateTime) {
		return nil
	}
	for {
		next := takeSample(c.ctx, find()).since(last)
		if c.ctx.Err() != nil {
			return nil
		}
		if err := v.show(next); err != nil {
			return err
		}
		last = next
		if !pause.For(c.ctx, watchInterval) {
			return nil
		}
	}
}

var errNothingRuns = withHint(errors.New("no process of this user's was found"),
	"those of other users, and those started with --no-status, are not shown")

func statusProcesses(socket string) []control.Process {
	if socket != "" {
		return []control.Process{{Path: socket}}
	}
	return control.Find()
}

// sample is what processes have said at one moment.
type sample struct {
	at        time.Time
	processes []processStatus
}

// processStatus is what one has said, or why it has not.
type processStatus struct {
	Socket string `json:"socket"`
	Error  string `json:"error,omitempty"`
	*daemon.Report
	Connections []connectionStatus `json:"connections"`
}

// connectionStatus is a connection, and how fast it is: bytes a second.
type connectionStatus struct {
	daemon.ConnectionReport
	ToServiceRate float64 `json:"to_service_rate"`
	ToClientRate  float64 `json:"to_client_rate"`
}

// takeSample asks processes, all at once. Those that have ended meanwhile are left out.
func takeSample(ctx context.Context, all []control.Process) sample {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	answers := make([]*processStatus, len(all))
	var asking sync.WaitGroup
	for i, p := range all {
		asking.Go(func() { answers[i] = askStatus(ctx, p) })
	}
	asking.Wait()
	s := sample{at: time.Now()}
	for _, a := range answers {
		if a != nil {
			s.processes = append(s.processes, *a)
		}
	}
	return s
}

func askStatus(ctx context.Context, p control.Process) *processStatus {
	answer := processStatus{Socket: p.Path, Report: new(daemon.Report)}
	err := p.Call(ctx, statusCommandName, nil, answer.Report)
	var other *control.Refusal // a process that does not answer this command at all
	switch {
	case err == nil:
		for _, c := range answer.Report.Connections {
			answer.Connections = append(answer.Connections, connectionStatus{ConnectionReport: c})
		}
		answer.Report.Connections = nil
		return &answer
	case errors.As(err, &other) && p.PID != 0:
		return nil
	case p.PID == 0, errors.Is(err, context.DeadlineExceeded):
		answer.Error, answer.Report.PID = err.Error(), p.PID
		if errors.Is(err, context.DeadlineExceeded) {
			answer.Error = "it does not answer"
		}
		return &answer
	}
	return nil
}

func (s sample) hasConnections() bool {
	for _, p := range s.processes {
		if len(p.Connections) > 0 {
			return true
		}
	}
	return false
}

// since fills in how fast connections are, by an earlier sample.
func (s sample) since(before sample) sample {
	took := s.at.Sub(before.at).Seconds()
	type key struct {
		socket string
		id     uint64
	}
	earlier := make(map[key]connectionStatus)
	for _, p := range before.processes {
		for _, c := range p.Connections {
			earlier[key{p.Socket, c.ID}] = c
		}
	}
	for _, p := range s.processes {
		for i := range p.Connections {
			c := &p.Connections[i]
			was, took := earlier[key{p.Socket, c.ID}], took
			if was.ID == 0 { // it is new
				took = min(took, max(c.Age, 0.001))
			}
			c.ToServiceRate = float64(c.ToService-was.ToService) / took
			c.ToClientRate = float64(c.ToClient-was.ToClient) / took
		}
	}
	return s
}

// disconnect ends what is named, in the process that has it.
func disconnect(c *call, what string) error {
	all := statusProcesses(c.text("status-socket"))
	asked := what
	if pid, number, ok := strings.Cut(what, "."); ok {
		asked = number
		all = withPID(all, pid)
	} else if _, err := identity.ParseIdentifier(what); err != nil {
		return usage("--disconnect %q is neither a connection, as sp status shows it, "+
			"nor an Identifier", what)
	}
	ctx, cancel := context.WithTimeout(c.ctx, statusTimeout)
	defer cancel()
	ended, answered := 0, false
	for _, p := range all {
		var done disconnected
		err := p.Call(ctx, disconnectCommandName, disconnectArgs{asked}, &done)
		if err != nil && len(all) == 1 {
			return err
		}
		answered = answered || err == nil
		ended += done.Connections
	}
	switch {
	case !answered:
		return errNothingRuns
	case ended == 0 && asked != what:
		return fmt.Errorf("there is no connection %s", what)
	}
	if c.yes("json") {
		return json.NewEncoder(c.stdout).Encode(disconnected{ended})
	}
	say(c.stdout, "connections ended: %d", ended)
	return nil
}

// withPID returns the process with a number. One that was named by its socket has none here.
func withPID(all []control.Process, pid string) (some []control.Process) {
	for _, p := range all {
		if p.PID == 0 || strconv.Itoa(p.PID) == pid {
			some = append(some, p)
		}
	}
	return some
}
