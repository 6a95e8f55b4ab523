//go:build linux

// Package topology starts what is measured: nothing at all, plain forwarders,
// sp, and the tunnels that people would use instead. Each is a [Topology], in a
// file of its own, and listens on loopback only.
package topology

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/secureportal/sp/bench/internal/load"
	"github.com/secureportal/sp/bench/internal/proc"
)

const (
	// pollIdleMax is for tunnels that look at all connections whenever one has
	// something: at 10,000, asking each once takes them minutes.
	pollIdleMax = 5000

	startTimeout = 20 * time.Second
	probeTimeout = 2 * time.Second
	probePause   = 20 * time.Millisecond
)

// A Topology is one way to reach a service.
type Topology struct {
	Name    string
	About   string   // for the reader of a table
	Cipher  string   // of bulk data, where the processor has AES; "" for none
	Relayed bool     // through a process in the middle
	Needs   []string // programs it is made of
	IdleMax int      // idle connections it is asked to hold at most; 0: as many as are measured

	// start brings its processes up and returns the address to connect to.
	start func(s *site, target string) (entry string, err error)
}

// Running is a topology that answers.
type Running struct {
	Entry string

	dir string
	set *proc.Set
}

// Start brings the topology up in front of target and waits until a byte has
// gone there and back.
func (t Topology) Start(ctx context.Context, kit *Kit, target string) (*Running, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	dir, err := os.MkdirTemp(kit.Dir, "run-")
	if err != nil {
		return nil, err
	}
	r := &Running{dir: dir, set: &proc.Set{Dir: dir}}
	r.Entry, err = t.start(&site{ctx: ctx, kit: kit, set: r.set, dir: dir, sp: spAfter}, target)
	if err == nil {
		err = r.answers(ctx)
	}
	if err != nil {
		err = fmt.Errorf("start %s: %w%s", t.Name, err, r.set.Log())
		r.Close()
		return nil, err
	}
	return r, nil
}

// answers tries the entry until the service answers through it.
func (r *Running) answers(ctx context.Context) error {
	for {
		try, cancel := context.WithTimeout(ctx, probeTimeout)
		err := load.Probe(try, r.Entry, 0)
		cancel()
		if err == nil {
			return nil
		}
		if name, ended := r.set.Ended(); ended {
			return fmt.Errorf("%s ended early", name)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer through it: %w", err)
		case <-time.After(probePause):
		}
	}
}

// CPU is what its processes have used so far.
func (r *Running) CPU() (proc.CPU, error) { return r.set.CPU() }

// Memory is what its processes hold.
func (r *Running) Memory() (proc.Memory, error) { return r.set.Memory() }

// Log is the end of what its processes wrote to stderr.
func (r *Running) Log() string { return r.set.Log() }

// Kill breaks everything that goes through it.
func (r *Running) Kill() error { return r.set.Kill() }

// Close ends all its processes and removes their files.
func (r *Running) Close() error {
	err := r.set.Close()
	if rmErr := os.RemoveAll(r.dir); err == nil {
		err = rmErr
	}
	return err
}
