//go:build linux

package main

import (
	"fmt"
	"path"
	"slices"

	"github.com/secureportal/sp/bench/internal/topology"
)

// A job is one topology, started anew, and one thing measured of it.
type job struct {
	measure  string
	topology topology.Topology
	before   bool // with the build before; the job in front of it is with the build after
	do       func(m *meter) error
}

func (j job) String() string { return j.measure + ", " + j.topology.Name }

func (j job) usesSP() bool { return j.topology.UsesSP() }

// scaled are the topologies whose growth is of interest by themselves.
var scaled = []string{"none", "copy", "copy+aead", "sp", "ghostunnel"}

// measureNames is their order in every repetition.
var measureNames = []string{
	"cpu", "latency", "conns", "idle", "far", "streams", "sizes", "hops", "nested",
}

// measures resolves what was asked for, in measureNames' order.
func measures(asked []string) ([]string, error) {
	if slices.Contains(asked, "scale") {
		asked = append(asked, "streams", "sizes", "hops", "nested")
	}
	for _, name := range asked {
		if name != "scale" && !slices.Contains(measureNames, name) {
			return nil, fmt.Errorf("%w: no measure %q (%v, scale)", errUsage, name, measureNames)
		}
	}
	return slices.DeleteFunc(slices.Clone(measureNames), func(name string) bool {
		return !slices.Contains(asked, name)
	}), nil
}

// checkPatterns wants each pattern to name something.
func checkPatterns(patterns []string) error {
	var names []string
	for _, t := range everything() {
		names = append(names, t.Name)
	}
	for _, p := range patterns {
		known := func(name string) bool { return matches([]string{p}, name) }
		if !slices.ContainsFunc(names, known) {
			return fmt.Errorf("%w: no topology %q (%v)", errUsage, p, slices.Compact(names))
		}
	}
	return nil
}

// everything is all topologies, those of the families with their least n.
func everything() []topology.Topology {
	all := topology.All()
	for _, f := range append(topology.Hops(), topology.Nested()...) {
		all = append(all, f.Make(1))
	}
	return all
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}

// jobs are those of one repetition.
func jobs(o options) []job {
	var list []job
	for _, measure := range o.what {
		list = append(list, jobsOf(measure, o.effort)...)
	}
	list = slices.DeleteFunc(list, func(j job) bool { return !matches(o.only, j.topology.Name) })
	if o.before != "" {
		return paired(list)
	}
	return list
}

// paired adds, behind each job of sp, the same with the build before.
func paired(list []job) []job {
	var pairs []job
	for _, j := range list {
		pairs = append(pairs, j)
		if j.topology.UsesSP() {
			j.topology, j.before = j.topology.Before(), true
			pairs = append(pairs, j)
		}
	}
	return pairs
}

// inTurn is the jobs of a repetition. In every other one, the build before goes
// first, so that neither has the advantage of its place.
func inTurn(list []job, rep int) []job {
	list = slices.Clone(list)
	for i := range list {
		if list[i].before && rep%2 == 1 {
			list[i-1], list[i] = list[i], list[i-1]
		}
	}
	return list
}

func jobsOf(measure string, e effort) []job {
	switch measure {
	case "hops":
		return ofFamilies(measure, topology.Hops(), e.hops, hopMetrics)
	case "nested":
		return ofFamilies(measure, topology.Nested(), e.nested, nestMetrics)
	}
	simple := map[string]func(*meter) error{
		"cpu":     func(m *meter) error { return m.transfers([]int{1, 8}) },
		"latency": (*meter).latency,
		"conns":   (*meter).connections,
		"idle":    (*meter).idle,
		"far":     (*meter).far,
		"streams": func(m *meter) error { return m.transfers(e.streams) },
		"sizes":   (*meter).sizes,
	}
	all := topology.All()
	if measure == "far" {
		all = topology.Far()
	}
	var list []job
	for _, t := range all {
		grows := measure == "streams" || measure == "sizes"
		if grows && !slices.Contains(scaled, t.Name) || measure == "idle" && len(t.Needs) == 0 {
			continue // what has no processes has no memory either
		}
		list = append(list, job{measure: measure, topology: t, do: simple[measure]})
	}
	return list
}

func ofFamilies(
	measure string, families []topology.Family, ns []int, metrics familyMetrics,
) []job {
	var list []job
	for _, f := range families {
		for _, n := range ns {
			list = append(list, job{
				measure:  fmt.Sprintf("%s %d", measure, n),
				topology: f.Make(n),
				do:       func(m *meter) error { return m.member(metrics, n) },
			})
		}
	}
	return list
}
