//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/secureportal/sp/bench/internal/forward"
	"github.com/secureportal/sp/bench/internal/load"
)

// endless is more than any bulk transfer moves before it is stopped.
const endless = 1 << 60

// helpers are the commands that the bench starts itself with. Each prints a line
// on stdout when it is ready; for those that listen, it is the address.
var helpers = map[string]func(ctx context.Context, args []string) error{
	"forward": runForward,
	"serve":   runServe,
	"bulk":    runBulk,
	"kafka":   runKafka,
}

func runForward(ctx context.Context, args []string) error {
	var cfg forward.Config
	flags := flag.NewFlagSet("forward", flag.ContinueOnError)
	flags.StringVar(&cfg.Mode, "mode", "", "splice, copy, seal, open or delay")
	flags.StringVar(&cfg.Target, "to", "", "host:port")
	flags.IntVar(&cfg.Buffer, "buffer", 0, "bytes, for copy")
	flags.IntVar(&cfg.Batch, "batch", 0, "records, for seal and open")
	flags.Int64Var(&cfg.Bits, "bits", 0, "bits a second, for delay")
	flags.DurationVar(&cfg.Delay, "delay", 0, "each way, for delay")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ln, err := listen()
	if err != nil {
		return err
	}
	return forward.Run(ctx, ln, cfg)
}

func runServe(ctx context.Context, _ []string) error {
	ln, err := listen()
	if err != nil {
		return err
	}
	return load.Serve(ctx, ln)
}

// runBulk moves bytes until it is killed or its time is over.
func runBulk(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bulk", flag.ContinueOnError)
	to := flags.String("to", "", "host:port")
	up := flags.Bool("up", false, "upload instead of download")
	limit := flags.Duration("for", time.Minute, "at most")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	fmt.Println("started")
	_, err := load.Transfer{Up: *up, Streams: 1, Bytes: endless}.Run(ctx, *to)
	return err
}

// listen is on loopback, and prints where.
func listen() (*net.TCPListener, error) {
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintln(os.Stdout, ln.Addr())
	return ln, err
}
