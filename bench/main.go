//go:build linux

// Command bench measures sp beside the tunnels that people would use instead,
// on this machine and over loopback only. README.md says how to run it and what
// each figure means.
//
// It starts copies of itself for the service behind every tunnel, for the plain
// forwarders and for background load, so that what is counted as a tunnel's cost
// is the tunnel's alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	exitFailed = 1
	exitUsage  = 2
)

var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(exitUsage)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(exitFailed)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) > 0 {
		if helper, ok := helpers[args[0]]; ok {
			return helper(ctx, args[1:])
		}
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	return measureAll(ctx, o)
}

// options are what the user asked for.
type options struct {
	reps   int
	effort effort
	only   []string // patterns of topologies
	what   []string // names of measures
	sp     string   // path of sp; "" builds it
	peers  []string // directories
	out    string   // directory, or ""
	text   string   // as given
}

func parse(args []string) (options, error) {
	o := options{effort: full, text: strings.Join(args, " ")}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.reps, "reps", 5, "repetitions, interleaved")
	flags.StringVar(&o.sp, "sp", "", "measure this sp instead of building the module's")
	flags.StringVar(&o.out, "out", "", "write table.md, results.json and plots into this directory")
	quick := flags.Bool("quick", false, "shorter: to see that everything works")
	only := flags.String("only", "*", "topologies, as patterns with commas between: sp,sp-*,ghostunnel")
	what := flags.String("what", "cpu,latency,conns,idle,far,scale", "measures; scale is streams,sizes,hops,nested")
	peers := flags.String("peers", "", "directories to find peers in before PATH, with colons between")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() > 0 || o.reps < 1 {
		return o, fmt.Errorf("%w: bench [flags]; -reps is at least 1", errUsage)
	}
	if *quick {
		o.effort = quickly
	}
	for _, dir := range filepath.SplitList(*peers) {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return o, err
		}
		o.peers = append(o.peers, abs)
	}
	var err error
	if o.sp, err = absolute(o.sp); err != nil {
		return o, err
	}
	if o.what, err = measures(strings.Split(*what, ",")); err != nil {
		return o, err
	}
	o.only = strings.Split(*only, ",")
	return o, checkPatterns(o.only)
}

// absolute is for paths of programs, which are run from other directories.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}
