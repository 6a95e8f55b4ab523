//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// What is measured if nothing else is said, and of two builds of sp.
const (
	allTopologies      = "*"
	allMeasures        = "cpu,latency,conns,idle,far,scale"
	comparedTopologies = "sp,sp-relay"
	comparedMeasures   = "cpu,latency,conns,idle"
)

// options are what the user asked for.
type options struct {
	reps   int
	effort effort
	only   []string // patterns of topologies
	what   []string // names of measures
	sp     string   // path of sp; "" builds it
	before string   // path of the build that sp is compared with; "" compares nothing
	peers  []string // directories
	out    string   // directory, or ""
	text   string   // as given
}

// given is the flags that have to be looked at together.
type given struct {
	quick             bool
	only, what, peers string
}

func parse(args []string) (options, error) {
	o := options{text: strings.Join(args, " ")}
	var g given
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.reps, "reps", 5, "repetitions, interleaved")
	flags.StringVar(&o.sp, "sp", "", "measure this sp instead of building the module's")
	flags.StringVar(&o.before, "sp-before", "", "compare with this build of sp, in turn")
	flags.StringVar(&o.out, "out", "", "directory for table.md, results.json and plots")
	flags.BoolVar(&g.quick, "quick", false, "shorter: to see that everything works")
	flags.StringVar(&g.only, "only", "", "topologies, as patterns with commas between: "+
		"sp,sp-*,ghostunnel (default all; with -sp-before "+comparedTopologies+")")
	flags.StringVar(&g.what, "what", "", "measures (default "+allMeasures+
		", where scale is streams,sizes,hops,nested; with -sp-before "+comparedMeasures+")")
	flags.StringVar(&g.peers, "peers", "", "where to find peers before PATH, colons between")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() > 0 || o.reps < 1 {
		return o, fmt.Errorf("%w: bench [flags]; -reps is at least 1", errUsage)
	}
	return o, o.resolve(g)
}

// resolve fills in what depends on more than one flag, or on the machine.
func (o *options) resolve(g given) error {
	o.effort = effortFor(g.quick, o.before != "")
	only, what := allTopologies, allMeasures
	if o.before != "" {
		only, what = comparedTopologies, comparedMeasures
	}
	if g.only != "" {
		only = g.only
	}
	if g.what != "" {
		what = g.what
	}
	for _, dir := range filepath.SplitList(g.peers) {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		o.peers = append(o.peers, abs)
	}
	for _, path := range []*string{&o.sp, &o.before} {
		if err := findProgram(path); err != nil {
			return err
		}
	}
	var err error
	if o.what, err = measures(strings.Split(what, ",")); err != nil {
		return err
	}
	o.only = strings.Split(only, ",")
	return checkPatterns(o.only)
}

// findProgram makes the path of a program absolute: it is run from other
// directories.
func findProgram(path *string) error {
	if *path == "" {
		return nil
	}
	abs, err := filepath.Abs(*path)
	if err != nil {
		return err
	}
	if _, err := exec.LookPath(abs); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	*path = abs
	return nil
}
