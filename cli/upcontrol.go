package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/secureportal/sp/cli/control"
	"github.com/secureportal/sp/cli/daemon"
)

// What a process that runs a file of portals answers to others of its user: see package control.

const (
	configCommandName = "config" // what it runs
	checkCommandName  = "check"  // what another file would change
)

// controlTimeout is how long a process may take to answer.
const controlTimeout = 20 * time.Second

// upConfig is the answer to configCommandName.
type upConfig struct {
	File string `json:"file"` // which it was started with
	Text string `json:"text"` // what runs, as printPortals prints it
}

// upCheck is what checkCommandName is asked: a file's text, and where it is.
type upCheck struct {
	File string `json:"file"`
	Text string `json:"text"`
}

// upChange is the answer to it.
type upChange struct {
	New     []string `json:"new,omitempty"`
	Changed []string `json:"changed,omitempty"`
	Gone    []string `json:"gone,omitempty"`
	// Refused is why it would not be applied; empty if it would.
	Refused string `json:"refused,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// answer has the process's socket answer.
func (u *up) answer(s *control.Server) {
	answerStatus(s, u.daemon)
	s.Handle(configCommandName, func(context.Context, json.RawMessage) (any, error) {
		return upConfig{File: u.path, Text: printPortals(u.current())}, nil
	})
	s.Handle(checkCommandName, func(ctx context.Context, args json.RawMessage) (any, error) {
		var asked upCheck
		if err := json.Unmarshal(args, &asked); err != nil {
			return nil, err
		}
		return u.try(ctx, asked), nil
	})
}

// try tells what another file would change.
func (u *up) try(ctx context.Context, asked upCheck) (a upChange) {
	next, err := readPortals(asked.File, asked.Text, false)
	if err == nil {
		err = u.current().processChange(next)
	}
	if err == nil {
		var c daemon.Change
		c, err = u.daemon.Try(ctx, next.named())
		a.New, a.Changed, a.Gone = c.New, c.Changed, c.Gone
	}
	if err != nil {
		a.Refused, a.Hint = oneLine(strings.ReplaceAll(err.Error(), "\n", "; ")), hintFor(err)
	}
	return a
}

// upProcess is a process that runs a file of portals.
type upProcess struct {
	control.Process
	runs upConfig
}

func (p upProcess) String() string {
	if p.PID == 0 { // it was named by its socket
		return fmt.Sprintf("the process at %s (%s)", p.Path, p.runs.File)
	}
	return fmt.Sprintf("process %d (%s)", p.PID, p.runs.File)
}

// errNoUp is that there is no process that runs a file of portals.
var errNoUp = errors.New("no sp up of this user runs here")

// findUp returns the process that wanted names by its number or its socket, whatever it runs. If
// that is empty, it is the one that runs the file at a path, or any if that is empty too.
func findUp(ctx context.Context, wanted, path string) (upProcess, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	if _, err := strconv.Atoi(wanted); wanted != "" && err != nil {
		p := upProcess{Process: control.Process{Path: wanted}}
		err := p.Call(ctx, configCommandName, nil, &p.runs)
		return p, err
	}
	var found []upProcess
	for _, one := range control.Find() {
		p := upProcess{Process: one}
		if wanted != "" && wanted != strconv.Itoa(p.PID) {
			continue
		}
		if err := p.Call(ctx, configCommandName, nil, &p.runs); err != nil {
			continue // it is a role of its own, or about to end
		}
		if wanted != "" || path == "" || p.runs.File == path {
			found = append(found, p)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0 && wanted != "":
		return upProcess{}, withHint(fmt.Errorf("process %s is no sp up of this user", wanted),
			"sp status prints the numbers of those that run")
	case len(found) == 0:
		return upProcess{}, errNoUp
	}
	var all []string
	for _, p := range found {
		all = append(all, p.String())
	}
	return upProcess{}, usage("there are several: %s: name one by its number with --against",
		strings.Join(all, ", "))
}
