package test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
)

// unrest is what goes on in a yard while things break there: connections that say something all the
// time, and somebody who tries new ones all the time.
type unrest struct {
	*yard
	random *rand.Rand // owned by the test
	names  []string
	inlets map[string]string // where the inlet of a name listens
	chorus *chorus

	tried, failed atomic.Int64 // new connections
	killed        returns      // until the first good one after a kill -9
}

// unrestPieces is how much all connections of a yard say a second at most: each piece goes through
// five processes and back, and what breaks needs the machine as well.
const unrestPieces = 500

// survivesUnrest is how long connections of a yard wait for another way.
const survivesUnrest = 5 * time.Minute

func newUnrest(y *yard, seed uint64) *unrest {
	return &unrest{
		yard: y, random: rand.New(rand.NewPCG(seed, 0)), inlets: make(map[string]string),
	}
}

// begins opens so many connections, to one name after the other.
func (u *unrest) begins(connections int) {
	u.t.Helper()
	conns := make([]conn, connections)
	for i := range conns {
		name := u.names[i%len(u.names)]
		conns[i] = tagged(u.t, u.inlets[name], name)
	}
	pace := max(steadyPace(len(conns)), time.Duration(len(conns))*time.Second/unrestPieces)
	u.chorus = newChorusOf(u.t, pace, conns...)
}

func (u *unrest) dialer(name string) func() (conn, error) {
	return func() (conn, error) { return dialWhere(u.inlets[name]) }
}

// aName returns one of the names, by chance.
func (u *unrest) aName() string { return u.names[u.random.IntN(len(u.names))] }

// while has somebody try new connections as long as f takes.
func (u *unrest) while(f func()) {
	trying, stop := context.WithCancel(u.t.Context())
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	const atOnce = 4
	for i := range atOnce {
		tasks.Go(func() { u.keepTrying(trying, rand.New(rand.NewPCG(uint64(i), 1))) })
	}
	f()
}

// keepTrying opens new connections until ctx ends. One may fail; one that leads to another target
// must not be.
func (u *unrest) keepTrying(ctx context.Context, random *rand.Rand) {
	const pace = 50 * time.Millisecond
	for ctx.Err() == nil {
		name := u.names[random.IntN(len(u.names))]
		err := tryTagged(ctx, u.dialer(name), name)
		u.tried.Add(1)
		switch {
		case errors.Is(err, errWrongTarget):
			u.t.Error(err)
		case err != nil && ctx.Err() == nil:
			u.failed.Add(1)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pace):
		}
	}
}

// killsHome kills the first home of a name in a set, notes how long nobody reaches the name, and
// starts the relay again.
func (u *unrest) killsHome(s *relaySet, name string, seeds ...string) {
	u.t.Helper()
	home := s.homes(name)[0]
	home.killed()
	took, _ := firstGood(u.t, u.dialer(name), name)
	u.killed.add(took)
	home.begin(seeds...)
	s.meets()
}

// between waits some time of those between two.
func (u *unrest) between(least, most time.Duration) {
	time.Sleep(least + time.Duration(u.random.Int64N(int64(most-least))))
}

// fault is something that may happen to a C.
type fault[C any] struct {
	what string
	do   func(c C)
}

// roundsEach is how often each fault happens: once in the short form, 50 times in the long one, or
// as often as the variable says that asks for a test's time.
func roundsEach(t testing.TB) int {
	t.Helper()
	text := os.Getenv(chaosVariable)
	if text == "" {
		return testenv.OfFull(1, 50)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s is no number of rounds", chaosVariable, text)
	}
	return n
}

// chaosVariable has tests run that take a machine for themselves.
const chaosVariable = "SP_CHAOS"

// byChance has each of the faults happen so many times, in any order.
func byChance[C any](random *rand.Rand, each int, faults []fault[C], happens func(fault[C])) {
	all := slices.Repeat(faults, each)
	random.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	for _, f := range all {
		happens(f)
	}
}
