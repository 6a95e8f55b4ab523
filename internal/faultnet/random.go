package faultnet

import (
	"iter"
	"math/rand/v2"
	"os"
	"strconv"
	"time"
)

// RandomOptions bounds what RandomPlan makes up.
type RandomOptions struct {
	// Kinds to choose from. Empty means every kind.
	Kinds []Kind
	// Faults is how many at most; there is at least one. 0 means 3.
	Faults int
	// Unit that places are counted in.
	Unit Unit
	// Span: places are below it. 0 means 64 messages or 64 KiB.
	Span int64
	// MaxLen bounds Len. 0 means 1024.
	MaxLen int64
	// MaxFor bounds For of Delay and Reorder, and of BlackHole, which is
	// forever in one case of four. 0 means 50 ms.
	MaxFor time.Duration
	// MinRate is the lowest Rate; the highest is 64 times that. 0 means 64 KiB/s.
	MinRate int64
}

func (o RandomOptions) withDefaults() RandomOptions {
	if len(o.Kinds) == 0 {
		for k := Delay; k <= Truncate; k++ {
			o.Kinds = append(o.Kinds, k)
		}
	}
	if o.Faults == 0 {
		o.Faults = 3
	}
	if o.Span == 0 {
		o.Span = 64 << 10
		if o.Unit == Message {
			o.Span = 64
		}
	}
	if o.MaxLen == 0 {
		o.MaxLen = 1024
	}
	if o.MaxFor == 0 {
		o.MaxFor = 50 * time.Millisecond
	}
	if o.MinRate == 0 {
		o.MinRate = 64 << 10
	}
	return o
}

// RandomPlan makes up a valid plan. The same seed and options give the same plan.
func RandomPlan(seed uint64, opts RandomOptions) Plan {
	opts = opts.withDefaults()
	r := rand.New(rand.NewPCG(seed, 0x6661756c746e6574)) // "faultnet"
	var p Plan
	for range 1 + r.IntN(opts.Faults) {
		// A fault that would overlap one before it is left out.
		if q := append(p, randomFault(r, opts)); q.Validate() == nil {
			p = q
		}
	}
	return p
}

func randomFault(r *rand.Rand, o RandomOptions) Fault {
	f := Fault{
		Kind: o.Kinds[r.IntN(len(o.Kinds))],
		Dir:  Direction(r.IntN(2)),
		Unit: o.Unit,
		At:   r.Int64N(o.Span),
	}
	switch f.Kind {
	case Delay, Reorder:
		f.For = 1 + time.Duration(r.Int64N(int64(o.MaxFor)))
	case BlackHole:
		if r.IntN(4) > 0 {
			f.For = 1 + time.Duration(r.Int64N(int64(o.MaxFor)))
		}
	case Bandwidth:
		f.Rate = o.MinRate << r.IntN(7)
	case Flip:
		f.Mask = 1 << r.IntN(8)
	}
	switch {
	case f.Unit == Message && f.takesOff():
		f.Off = r.Int64N(64) - 32
	case f.Unit == Byte && f.span() > 0 && f.Kind != Flip:
		f.Len = 1 + r.Int64N(o.MaxLen)
	}
	return f
}

// takesOff reports whether Off means anything to a message fault of this kind.
func (f Fault) takesOff() bool {
	return f.Kind == Flip || f.Kind == Truncate || f.ends()
}

// SeedVariable is the environment variable that makes Seeds give one seed.
const SeedVariable = "FAULTNET_SEED"

// TB is what Seeds needs of a testing.TB.
type TB interface {
	Helper()
	Name() string
	Failed() bool
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Seeds gives a property test n fresh seeds to range over. When the test fails
// with one, that seed is logged with the way to replay it, and no other
// follows. With SeedVariable set it gives that seed alone.
func Seeds(t TB, n int) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		t.Helper()
		s := os.Getenv(SeedVariable)
		if s == "" {
			for range n {
				if !trySeed(t, rand.Uint64(), yield) {
					return
				}
			}
			return
		}
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", SeedVariable, err)
			return
		}
		trySeed(t, seed, yield)
	}
}

// trySeed reports whether the test wants another seed.
func trySeed(t TB, seed uint64, yield func(uint64) bool) bool {
	defer func() { // FailNow leaves by way of here, and so does a panic, as of a bubble that is stuck
		p := recover()
		if t.Failed() || p != nil {
			t.Logf("failed with seed %d; replay: %s=%d go test -run '^%s$'", seed, SeedVariable,
				seed, t.Name())
		}
		if p != nil {
			panic(p)
		}
	}()
	return yield(seed) && !t.Failed()
}
