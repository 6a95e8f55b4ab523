//go:build linux

// Pairs compares what inlets and outlets that differ in a flag or a build take of the processor, in
// turns of a fraction of a second on connections that stay open: where other work disturbs the
// machine, it disturbs the turns beside each other alike.
//
//	go run ./bench/internal/pairs -what 8d,1d 'sp --survive 0' sp
//
// Each argument is a program and its flags; both ends get them. What is measured is how many
// streams go which way. The figures are CPU seconds per GiB of both ends, and the ratio to the
// first one in the same round: medians with quartiles, and the median's standard error.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/secureportal/sp/bench/internal/proc"
)

const (
	startTimeout = 20 * time.Second
	gib          = 1 << 30
	// errorOfQuartiles times what lies between the quartiles, by the root of how many there are, is
	// about the standard error of a median.
	errorOfQuartiles = 0.93
)

// ends are an inlet and an outlet.
type ends struct {
	command string
	set     *proc.Set
	entry   string
	conns   map[load][]net.Conn
	costs   map[load][]float64 // CPU seconds per GiB, in each round
}

func main() {
	limit := flag.Duration("limit", 5*time.Minute, "how long to measure")
	size := flag.Int64("mib", 96, "MiB of a turn")
	what := flag.String("what", "8d,8u,1d,1u", "streams and their direction")
	flag.Parse()
	if err := run(*limit, *size<<20, strings.Split(*what, ","), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "pairs:", err)
		os.Exit(1)
	}
}

func run(limit time.Duration, size int64, what, commands []string) (err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	go serve(ln)
	dir, err := os.MkdirTemp("", "pairs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var all []*ends
	for i, command := range commands {
		set := &proc.Set{Dir: filepath.Join(dir, fmt.Sprint(i))}
		defer set.Close()
		e := &ends{command: command, set: set}
		e.conns, e.costs = map[load][]net.Conn{}, map[load][]float64{}
		if err := e.start(ln.Addr().String()); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		all = append(all, e)
	}
	loads := make([]load, len(what))
	for i, w := range what {
		if loads[i], err = parseLoad(w); err != nil {
			return err
		}
	}
	if err := measure(all, loads, size, limit); err != nil {
		return err
	}
	for _, l := range loads {
		for _, e := range all {
			fmt.Println(e.row(l, all[0]))
		}
	}
	return nil
}

// start starts both ends, with an identity of their own.
func (e *ends) start(target string) error {
	if err := os.Mkdir(e.set.Dir, 0o700); err != nil {
		return err
	}
	outlet, err := proc.FreeAddr()
	if err != nil {
		return err
	}
	if e.entry, err = proc.FreeAddr(); err != nil {
		return err
	}
	for _, role := range [][]string{
		{"outlet", "--listen", outlet, "--target", target},
		{"inlet", "--listen", e.entry, "--to", outlet},
	} {
		fields := strings.Fields(e.command)
		env := []string{"SP_IDENTITY=" + filepath.Join(e.set.Dir, "identity")}
		p, err := e.set.Start(env, fields[0], append(role, fields[1:]...)...)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		_, err = p.FirstLine(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, e.set.Log())
		}
	}
	return nil
}

// measure takes turns, the other way round in every second round. The first round does not count.
func measure(all []*ends, loads []load, size int64, limit time.Duration) error {
	end := time.Now().Add(limit)
	for round := 0; round < 2 || time.Now().Before(end); round++ {
		for _, l := range loads {
			order := slices.Clone(all)
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, e := range order {
				if err := e.turn(l, size, round > 0); err != nil {
					return fmt.Errorf("%s: %w", e.command, err)
				}
			}
		}
	}
	return nil
}

// turn moves so many bytes on all of a load's connections together, which it opens if need be.
func (e *ends) turn(l load, size int64, counts bool) error {
	for len(e.conns[l]) < l.streams {
		c, err := net.Dial("tcp", e.entry)
		if err != nil {
			return err
		}
		e.conns[l] = append(e.conns[l], c)
	}
	before, err := e.set.CPU()
	if err != nil {
		return err
	}
	errs := make([]error, l.streams)
	var streams sync.WaitGroup
	for i, c := range e.conns[l] {
		streams.Go(func() { errs[i] = l.move(c, size/int64(l.streams)) })
	}
	streams.Wait()
	after, err := e.set.CPU()
	if err = cmp.Or(append(errs, err)...); err != nil {
		return err
	}
	if counts {
		took := after.Sub(before).Total.Seconds()
		e.costs[l] = append(e.costs[l], took*gib/float64(size))
	}
	return nil
}

// row is what there is to say of a load.
func (e *ends) row(l load, first *ends) string {
	costs := e.costs[l]
	ratios := make([]float64, len(costs))
	for i := range costs {
		ratios[i] = costs[i] / first.costs[l][i]
	}
	c, r := quartiles(costs), quartiles(ratios)
	wrong := errorOfQuartiles * (r[2] - r[0]) / math.Sqrt(float64(len(ratios)))
	return fmt.Sprintf("%v  %.3f (%.3f–%.3f)  × %.3f ± %.3f (%.3f–%.3f), %d rounds  %s",
		l, c[1], c[0], c[2], r[1], wrong, r[0], r[2], len(ratios), e.command)
}

func quartiles(values []float64) (q [3]float64) {
	s := slices.Sorted(slices.Values(values))
	for i := range q {
		q[i] = s[len(s)*(i+1)/4]
	}
	return q
}
