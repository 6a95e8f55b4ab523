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
