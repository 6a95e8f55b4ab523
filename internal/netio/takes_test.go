package netio

import (
	"io"
	"math"
	"testing"

	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/testkit"
)

// shortOfMemory has others hold all that the process may take, until the test ends.
func shortOfMemory(t testing.TB) {
	all := budget.Process.Most()
	budget.Process.Take(all)
	t.Cleanup(func() { budget.Process.Give(all) })
}

// holds returns how many bytes are held beyond those of shortOfMemory.
func holds() int64 { return budget.Process.Taken() - budget.Process.Most() }

// taker is a destination that takes so many bytes.
type taker struct {
	io.Writer
	n int
}

func (w taker) Takes() int  { return w.n }
func (w taker) AwaitTakes() {}

func TestClassTo(t *testing.T) {
	if got := ClassTo(taker{n: 0}, Huge); got != Huge {
		t.Errorf("class %d while memory is plenty", got)
	}
	part := budget.Process.Most() / 4 // no plenty, and room for more
	budget.Process.Take(part)
	defer budget.Process.Give(part)
	for n, want := range map[int]Class{
		0: Small, 4 << 10: Small, 20 << 10: Medium, 100 << 10: Large, math.MaxInt: Huge,
	} {
		if got := ClassTo(taker{n: n}, Huge); got != want {
			t.Errorf("class %d for a destination that takes %d, want %d", got, n, want)
		}
	}
	if ClassTo(nil, Huge) != Huge || ClassTo(taker{n: 0}, Medium) != Medium {
		t.Error("classes that nobody has to save")
	}
	shortOfMemory(t)
	if got := ClassTo(nil, Huge); got != Small {
		t.Errorf("class %d when nothing is left", got)
	}
}

// With little memory everything is copied as before, and a copy whose reader has stopped holds the
// least that there is.
func TestCopiesWhenMemoryIsShort(t *testing.T) {
	shortOfMemory(t)
	before := holds()
	data := testkit.Pattern(5<<20 + 3)
	forJoins(t, func(t *testing.T, j *joined) {
		sent := send(j.left, data)
		half := make([]byte, len(data)/2)
		if _, err := io.ReadFull(j.right, half); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "stalling with little", func() bool {
			return holds() <= before+4<<10
		})
		rest, err := io.ReadAll(j.right)
		if err != nil || string(half)+string(rest) != string(data) {
			t.Fatalf("%d of %d bytes came, or others: %v", len(half)+len(rest), len(data), err)
		}
		if err := testkit.Within(t, sent, "sending"); err != nil {
			t.Error(err)
		}
		_ = j.right.CloseWrite()
		if err := testkit.Within(t, j.done, "Join"); err != nil {
			t.Error(err)
		}
	})
}
