//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/secureportal/sp/bench/internal/proc"
	"github.com/secureportal/sp/bench/internal/report"
	"github.com/secureportal/sp/bench/internal/topology"
)

const (
	jobTimeout   = 5 * time.Minute
	otherFiles   = 200 // that a tunnel has open besides its connections
	filesPerConn = 2   // that a tunnel's end has open for each
	module       = "github.com/secureportal/sp"
)

// A session is one run of the bench.
type session struct {
	o       options
	kit     *topology.Kit
	service *proc.Set
	target  string // where the service listens
	maxIdle int    // connections that the limit of open files leaves room for
	results report.Results
}

// measureAll runs every job in every repetition and writes what came of it, even
// if it was interrupted.
func measureAll(ctx context.Context, o options) (err error) {
	files, err := proc.RaiseFileLimit()
	if err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	dir, err := os.MkdirTemp("", "sp-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	s := &session{
		o:       o,
		maxIdle: (int(files) - otherFiles) / filesPerConn,
		service: &proc.Set{Dir: dir},
	}
	defer func() { err = errors.Join(err, s.service.Close()) }()
	list := jobs(o)
	if len(list) == 0 {
		return fmt.Errorf("%w: nothing to measure", errUsage)
	}
	if err := s.prepare(ctx, dir, list); err != nil {
		return err
	}
	s.repeat(ctx, s.possible(list))
	if o.out != "" {
		err = s.results.Write(o.out)
	}
	return errors.Join(s.results.WriteMarkdown(os.Stdout), err, context.Cause(ctx))
}

// prepare finds the programs and starts the service.
func (s *session) prepare(ctx context.Context, dir string, list []job) error {
	builds := topology.Builds{After: s.o.sp, Before: s.o.before}
	if builds.After == "" && slices.ContainsFunc(list, job.usesSP) {
		builds.After = s.buildSP(ctx, dir)
		if builds.After == "" && builds.Before != "" {
			return errors.New("nothing to compare with")
		}
	}
	var err error
	if s.kit, err = topology.NewKit(dir, builds, s.o.peers); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := s.service.Start(nil, self, "serve")
	if err != nil {
		return err
	}
	s.target, err = p.FirstLine(ctx)
	s.results.Host = host(s.o)
	s.results.Rows = rows(s.o.before != "")
	return err
}

// buildSP returns "" if it cannot be built: the rest is measured all the same.
func (s *session) buildSP(ctx context.Context, dir string) string {
	file := filepath.Join(dir, "sp")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", file, module)
	out, err := build.CombinedOutput()
	if err != nil {
		s.fail(fmt.Sprintf("sp could not be built: %v: %s", err, bytes.TrimSpace(out)))
		return ""
	}
	return file
}

// possible leaves out the jobs whose programs are not here, with a line for each
// topology.
func (s *session) possible(list []job) []job {
	return slices.DeleteFunc(list, func(j job) bool {
		missing := s.kit.Missing(j.topology)
		if missing != "" {
			s.fail(fmt.Sprintf("%s: skipped, there is no %s", j.topology.Name, missing))
		}
		return missing != ""
	})
}

// repeat interleaves: all jobs, then all jobs again.
func (s *session) repeat(ctx context.Context, list []job) {
	for rep := range s.o.reps {
		for i, j := range inTurn(list, rep) {
			if ctx.Err() != nil {
				return
			}
			began := time.Now()
			progress("repetition %d of %d, job %d of %d: %s …", rep+1, s.o.reps, i+1, len(list), j)
			if err := s.do(ctx, j, rep); err != nil && ctx.Err() == nil {
				s.fail(fmt.Sprintf("%s: %v", j, err))
			}
			progress(" %.1f s\n", time.Since(began).Seconds())
		}
	}
}

// do starts the job's topology, measures it and ends it.
func (s *session) do(ctx context.Context, j job, rep int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	running, err := j.topology.Start(ctx, s.kit, s.target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Close()) }()
	// Measures wait for their connections only, and those break.
	stop := context.AfterFunc(ctx, func() { running.Kill() })
	defer stop()
	m := &meter{ctx: ctx, session: s, topology: j.topology, running: running, rep: rep}
	if err := j.do(m); err != nil {
		return fmt.Errorf("%w%s", err, running.Log())
	}
	return nil
}

// fail notes why something is not in the tables, once.
func (s *session) fail(text string) {
	if slices.Contains(s.results.Failures, text) {
		return
	}
	s.results.Failures = append(s.results.Failures, text)
	progress("\n%s\n", text)
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format, args...) }

// rows are those of the tables, in their order; with compare, what is of sp is there
// with both builds.
func rows(compare bool) []report.Row {
	var list []report.Row
	for _, t := range topology.All() {
		row := rowOf(t)
		if !compare || !t.UsesSP() {
			list = append(list, row)
			continue
		}
		before := rowOf(t.Before())
		row.Before = before.Name
		list = append(list, row, before)
	}
	return list
}

func rowOf(t topology.Topology) report.Row {
	return report.Row{Name: t.Name, About: t.About, Cipher: t.Cipher, Relayed: t.Relayed}
}
