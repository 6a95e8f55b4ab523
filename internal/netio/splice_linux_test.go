package netio

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
)

// descriptors returns how many files the process has open, and how many of them are pipes.
func descriptors(t testing.TB) (all, pipes int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil &&
			strings.HasPrefix(to, "pipe:") {
			pipes++
		}
	}
	return len(entries), pipes
}

// onlyHeld has the pool's pipes closed, and tells whether there are only those that joins hold.
func onlyHeld(held int64) bool {
	runtime.GC()
	runtime.GC() // the first makes victims, the second forgets them; then the finalizers run
	return pipesOpen.Load() == held
}

// noPipesLeft waits until no pipe is left, and returns how many descriptors of others' pipes are.
func noPipesLeft(t testing.TB) int {
	t.Helper()
	testkit.Eventually(t, "no pipes are left", func() bool { return onlyHeld(0) })
	_, left := descriptors(t)
	return left
}

// holdPipes waits until joins hold so many pipes, whose descriptors are new. A pipe counts before
// it has them.
func holdPipes(t testing.TB, held int64, before int) {
	t.Helper()
	want := before + 2*int(held)
	testkit.Eventually(t, fmt.Sprintf("%d pipes, and %d descriptors", held, want), func() bool {
		if !onlyHeld(held) {
			return false
		}
		_, left := descriptors(t)
		return left == want
	})
}

func TestIdleJoinsHoldNoPipes(t *testing.T) {
	const pairs = 300
	before := noPipesLeft(t)
	all := make([]*joined, pairs)
	for i := range all {
		j := join(t, "tcp", "tcp")
		testkit.Write(t, j.left, "up")
		testkit.Expect(t, j.right, "up")
		testkit.Write(t, j.right, "down")
		testkit.Expect(t, j.left, "down")
		all[i] = j
	}
	// Those that have been used since the last collection are pooled: a few, whatever the number of
	// joins.
	testkit.Eventually(t, "holding few pipes", func() bool {
		_, now := descriptors(t)
		return now-before <= 2*4*runtime.GOMAXPROCS(0)
	})
	holdPipes(t, 0, before)
	for _, j := range all {
		_, _ = j.left.CloseWrite(), j.right.CloseWrite()
		if err := testkit.Within(t, j.done, "Join"); err != nil {
			t.Error(err)
		}
	}
}

// stall fills what is between the two ends of j, from left to right.
func stall(t *testing.T, j *joined) {
	t.Helper()
	for _, c := range []Conn{j.left, j.a, j.b, j.right} {
		if c, ok := c.(*Socket); ok {
			_ = c.stream.(interface{ SetReadBuffer(int) error }).SetReadBuffer(4096)
			_ = c.stream.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(4096)
		}
	}
	go func() {
		for {
			if _, err := j.left.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}()
}

// A pipe with bytes in it belongs to its join: it must not come to another one.
func TestStalledJoinHoldsOnePipeUntilItEnds(t *testing.T) {
	before := noPipesLeft(t)
	j := join(t, "tcp", "tcp")
	stall(t, j)
	holdPipes(t, 1, before)
	if err := Reset(j.right); err != nil {
		t.Fatal(err)
	}
	if err := testkit.Within(t, j.done, "Join"); !IsReset(err) {
		t.Errorf("Join: %v, want a reset", err)
	}
	for {
		p, ok := pipes.Get().(*pipe)
		if !ok {
			break
		}
		if n, err := unix.IoctlGetInt(p.r, unix.TIOCINQ); n != 0 || err != nil {
			t.Errorf("a pipe with %d bytes in it is in the pool: %v", n, err)
		}
		p.close()
	}
	holdPipes(t, 0, before)
}

// What waits in a pipe counts as held, and is little when memory is short.
func TestStalledPipesCount(t *testing.T) {
	_ = noPipesLeft(t) // and no garbage that still counts
	before := budget.Process.Taken()
	plenty := join(t, "tcp", "tcp")
	stall(t, plenty)
	testkit.Eventually(t, "counting", func() bool { return budget.Process.Taken() > before })
	_ = Reset(plenty.right)
	_ = testkit.Within(t, plenty.done, "Join")
	testkit.Eventually(t, "giving back", func() bool { return budget.Process.Taken() <= before })
	shortOfMemory(t)
	short := join(t, "tcp", "tcp")
	stall(t, short)
	testkit.Eventually(t, "counting", func() bool { return holds() > before })
	if held := holds() - before; held > sparePiece {
		t.Errorf("%d bytes are held", held)
	}
	_ = Reset(short.right)
	_ = testkit.Within(t, short.done, "Join")
}

// withoutDescriptors makes the kernel refuse new ones, until the returned function is called.
func withoutDescriptors(t *testing.T) (restore func()) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	none := was
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	restore = func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(restore)
	return restore
}

func TestJoinWithoutDescriptors(t *testing.T) {
	before := noPipesLeft(t)
	j := join(t, "tcp", "tcp")
	restore := withoutDescriptors(t)
	data := string(testkit.Pattern(300_000))
	got := make(chan string, 1)
	go func() {
		b := make([]byte, len(data))
		_, _ = io.ReadFull(j.right, b)
		got <- string(b)
	}()
	testkit.Write(t, j.left, []byte(data))
	if testkit.Within(t, got, "reading without pipes") != data {
		t.Error("other bytes came")
	}
	testkit.Write(t, j.right, "down")
	testkit.Expect(t, j.left, "down")
	restore()
	stall(t, j) // in a pipe, now that there are some
	holdPipes(t, 1, before)
	_ = Reset(j.right)
	if err := testkit.Within(t, j.done, "Join"); !IsReset(err) {
		t.Errorf("Join: %v, want a reset", err)
	}
}

// Copies whose destinations take nothing hold as many pipes as there may be, and no more
// descriptors. Others go on without.
func TestPipesAreBounded(t *testing.T) {
	before := noPipesLeft(t)
	const most = 2
	var limit atomic.Int64
	limit.Store(math.MaxInt64)
	was := pipesMost
	pipesMost = limit.Load
	t.Cleanup(func() { pipesMost = was })
	var stalled []*joined
	for n := range 5 {
		j := join(t, "tcp", "tcp")
		stall(t, j)
		stalled = append(stalled, j)
		if n < most {
			// Until a join is stalled it gives pipes back, which the pool may forget, and does with the
			// race detector: these count until they are collected, and who finds none stalls without.
			holdPipes(t, int64(n)+1, before)
		}
		if n+1 == most {
			limit.Store(most)
		}
	}
	holdPipes(t, most, before)
	j := join(t, "tcp", "tcp")
	testkit.Write(t, j.left, "up")
	testkit.Expect(t, j.right, "up")
	testkit.Write(t, j.right, "down")
	testkit.Expect(t, j.left, "down")
	if _, now := descriptors(t); now > before+2*most {
		t.Errorf("%d descriptors are pipes', want %d", now-before, 2*most)
	}
	for _, s := range append(stalled, j) {
		_ = Reset(s.right)
		if err := testkit.Within(t, s.done, "Join"); !IsReset(err) {
			t.Errorf("Join: %v, want a reset", err)
		}
	}
	holdPipes(t, 0, before)
}

func TestJoinEndsWithoutDescriptors(t *testing.T) {
	_ = noPipesLeft(t)
	j := join(t, "tcp", "tcp")
	withoutDescriptors(t)
	sent := send(j.left, []byte("up"))
	receive(t, j.right, []byte("up"))
	back := send(j.right, []byte("down"))
	receive(t, j.left, []byte("down"))
	for _, done := range []<-chan error{sent, back, j.done} {
		if err := testkit.Within(t, done, "ending"); err != nil {
			t.Error(err)
		}
	}
}

// One side has ended its direction, the other has nothing to say, and then the first one dies.
func TestJoinResetAfterHalfClose(t *testing.T) {
	forJoins(t, func(t *testing.T, j *joined) {
		if _, ok := j.left.(*faultnet.Conn); ok || !resettable(j.left) || !resettable(j.right) {
			t.Skip("told of TCP sockets only")
		}
		if err := j.left.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		testkit.ExpectEnd(t, j.right)
		if err := Reset(j.left); err != nil {
			t.Fatal(err)
		}
		if err := testkit.Within(t, j.done, "Join"); !IsReset(err) {
			t.Errorf("Join: %v, want a reset", err)
		}
		if _, err := j.right.Write([]byte("x")); err != nil && !IsReset(err) {
			t.Errorf("the other side: %v", err)
		}
	})
}

func TestSpliceAllocatesNothingPerChunk(t *testing.T) {
	j := join(t, "tcp", "tcp")
	data, back := make([]byte, 1000), make([]byte, 1000)
	allocs := testing.AllocsPerRun(200, func() {
		testkit.Write(t, j.left, data)
		if _, err := io.ReadFull(j.right, back); err != nil {
			t.Fatal(err)
		}
	})
	if allocs >= 1 {
		t.Errorf("%v allocations for each piece", allocs)
	}
}
