package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/route"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "find out what keeps a route from working, step by step, and say what to do",
		UsageText: "sp doctor --to ROUTE\n" +
			"sp doctor --relay ROUTE --name NAME      (for an outlet that is to have a name)\n" +
			"sp doctor                                (this machine and what runs on it)",
		ArgsUsage: "[ROUTE]",
		Description: "It looks at this machine, and then goes the way that an inlet's connection " +
			"goes: a line for each step,\nwith ok, warn, FAIL or skipped, and what to do where it " +
			"fails. At the end of a route it has the\noutlet connect to its service once, and says " +
			"nothing there, unless --no-service is set. Then it\nfinds out whether connections go " +
			"past a relay on the way.\n" +
			"The exit code is 0 if no step fails, and else that of the first that " +
			"does, as sp inlet's would be.",
		Flags: slices.Concat([]cli.Flag{
			toFlag(),
			&cli.StringFlag{
				Name:  "relay",
				Usage: "go to this relay as an outlet would: host:port or a `ROUTE` to it",
			},
			&cli.StringFlag{
				Name: "name", Usage: "find out who has this `NAME` on that relay; it is not claimed",
			},
			&listFlag{
				Name: "relay-identity", Category: whoCategory,
				Usage: "the relay must have this `IDENTIFIER`; repeatable",
			},
			&cli.BoolFlag{
				Name: "no-service", Usage: "do not have the outlet connect to its service",
			},
			directFlag(),
			jsonFlag(),
			timeoutFlag("how long each step may take"),
		}, loggingFrom("error", nodeFlags(ownKeyText))),
		Action: action(runDoctor),
	}
}

// The states of a step.
const (
	stepOK      = "ok"
	stepWarn    = "warn" // it works, and is not well
	stepFailed  = "FAIL"
	stepSkipped = "skipped"
)

// step is one thing that was looked at. Programs read it: fields may be added.
type step struct {
	Step   string `json:"step"`
	State  string `json:"state"`
	Said   string `json:"said"`
	Advice string `json:"advice,omitempty"`

	err error
}

// doctor is one examination. It belongs to one goroutine.
type doctor struct {
	call    *call
	timeout time.Duration // of each step
	config  config.Node
	options daemon.Options
	node    *route.Node
	self    string // this side's Identifier, if it is known

	steps []step
	tell  func(step) // shows one
}

func runDoctor(c *call) error {
	if len(c.args) > 0 {
		if err := routeArgument(c); err != nil {
			return err
		}
	}
	d := &doctor{
		call: c, timeout: c.duration("timeout"), config: nodeConfig(c), tell: func(step) {},
	}
	if err := d.checkFlags(); err != nil {
		return err
	}
	var err error
	if d.options, err = daemonOptions(c); err != nil {
		return err
	}
	if !c.yes("json") {
		d.tell = func(s step) { showStep(c.stdout, s) }
	}
	if err := d.examine(); err != nil {
		return err
	}
	if ended := c.process.signals.ended(); ended != nil {
		return ended
	}
	if c.yes("json") {
		if err := printJSON(c.stdout, map[string]any{"steps": d.steps}); err != nil {
			return err
		}
	}
	return d.verdict()
}

func (d *doctor) checkFlags() error {
	c := d.call
	switch {
	case c.has("to") && c.has("relay"):
		return usage("both --to and --relay: one way at a time, please")
	case c.has("relay") && !c.has("name"):
		return usage("--relay stands without --name")
	case c.has("name") && !c.has("relay"):
		return usage("--name stands without --relay")
	case len(c.list("relay-identity")) > 0 && !c.has("relay"):
		return usage("--relay-identity stands without --relay")
	}
	return d.config.Validate()
}

// examine takes all steps. An error is of wrong usage.
func (d *doctor) examine() error {
	c := d.call
	var to route.Route
	var err error
	switch {
	case c.has("to"):
		to, _, err = readRoute(c.text("to"), c.stdin)
		if err == nil {
			err = route.CheckDialable(to)
		}
	case c.has("relay"):
		to, err = config.ParseRelay(c.text("relay"))
	}
	if err != nil {
		return err
	}
	d.examineMachine(to == nil)
	switch {
	case c.has("to"):
		d.examineRoute(to)
	case c.has("relay"):
		d.examineName(to, c.text("name"))
	}
	return nil
}

// ok says that a step is well.
func (d *doctor) ok(name, format string, args ...any) {
	d.add(step{Step: name, State: stepOK, Said: fmt.Sprintf(format, args...)})
}

// skip says why a step is not taken.
func (d *doctor) skip(name, format string, args ...any) {
	d.add(step{Step: name, State: stepSkipped, Said: fmt.Sprintf(format, args...)})
}

// warn says that something is not well, and does not keep the route from working.
func (d *doctor) warn(name string, err error) {
	d.add(step{Step: name, State: stepWarn, Said: err.Error(), Advice: adviceFor(err), err: err})
}

// fail says what keeps the route from working.
func (d *doctor) fail(name string, err error) {
	d.add(step{Step: name, State: stepFailed, Said: err.Error(), Advice: adviceFor(err), err: err})
}

func (d *doctor) add(s step) {
	s.Said, s.Advice = plain(oneLine(s.Said)), plain(oneLine(s.Advice))
	d.steps = append(d.steps, s)
	d.tell(s)
}

// showStep prints a step: what to do stands below it.
func showStep(w io.Writer, s step) {
	say(w, "%-8s %-12s %s", s.State, s.Step, s.Said)
	if s.Advice != "" {
		say(w, "%s do: %s", strings.Repeat(" ", len("skipped  ")+len("credential  ")-1), s.Advice)
	}
}

// verdict is the error of the first step that has failed, or nil.
func (d *doctor) verdict() error {
	var first *step
	failed := 0
	for i := range d.steps {
		if d.steps[i].State == stepFailed {
			failed++
			if first == nil {
				first = &d.steps[i]
			}
		}
	}
	if first == nil {
		return nil
	}
	return &stepError{first.err, fmt.Sprintf("steps that failed: %d; the first is %s: %s",
		failed, first.Step, first.Said)}
}

// stepError is the error of a step, in the words in which it has been said. What to do has been
// said as well.
type stepError struct {
	err  error
	text string
}

func (e *stepError) Error() string { return e.text }
func (e *stepError) Unwrap() error { return e.err }

// adviceFor says what to do about an error.
func adviceFor(err error) string {
	if a, ok := errors.AsType[*advised](err); ok {
		return a.advice
	}
	return hintFor(err)
}

// advised is an error together with what to do about it, where a step knows that better than
// hintFor.
type advised struct {
	err    error
	advice string
}

func (e *advised) Error() string { return e.err.Error() }
func (e *advised) Unwrap() error { return e.err }

func advise(err error, format string, args ...any) error {
	return &advised{err, fmt.Sprintf(format, args...)}
}
