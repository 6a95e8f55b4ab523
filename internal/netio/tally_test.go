package netio

import (
	"io"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

// TestTally counts what is copied while it is, whatever the conns are and however it is done, and
// what has ended as well.
func TestTally(t *testing.T) {
	for _, pair := range joinPairs {
		t.Run(pair[0]+" and "+pair[1], func(t *testing.T) {
			left, a := joinKinds[pair[0]](t)
			right, b := joinKinds[pair[1]](t)
			testkit.Write(t, left, "before")
			testkit.Expect(t, a, "before") // is none of the Proxy's business
			var tally Tally
			p := Proxy{A: a, B: b, Tally: &tally}
			done := make(chan error, 1)
			p.Start(func(err error) { done <- err })
			testkit.Write(t, left, "hello")
			testkit.Expect(t, right, "hello")
			testkit.Write(t, right, "good day")
			testkit.Expect(t, left, "good day")
			_, _, known := Moved(a)
			if known {
				testkit.Eventually(t, "counting", func() bool {
					there, back := tally.Bytes()
					return there == 5 && back == 8
				})
				if there, back, _ := p.Moved(); there != 5 || back != 8 {
					t.Errorf("the Proxy itself has %d and %d", there, back)
				}
			}
			if tally.Open() != 1 || tally.All() != 1 {
				t.Errorf("%d of %d open", tally.Open(), tally.All())
			}
			_ = left.CloseWrite()
			testkit.Write(t, right, "!")
			_ = right.CloseWrite()
			if b, err := io.ReadAll(left); string(b) != "!" || err != nil {
				t.Fatalf("%q, %v", b, err)
			}
			if err := testkit.Within(t, done, "end"); err != nil {
				t.Error(err)
			}
			there, back := tally.Bytes()
			if there != 5 || back != 9 || tally.Open() != 0 || tally.All() != 1 {
				t.Errorf("in the end %d and %d, %d open", there, back, tally.Open())
			}
		})
	}
}

// TestTallyOfMany has those in the middle end before the others.
func TestTallyOfMany(t *testing.T) {
	var tally Tally
	type one struct {
		left, right Conn
		done        chan error
	}
	var all []one
	for range 5 {
		var o one
		var p Proxy
		o.left, p.A = socketPair(t, "tcp")
		o.right, p.B = socketPair(t, "tcp")
		p.Tally, o.done = &tally, make(chan error, 1)
		p.Start(func(err error) { o.done <- err })
		testkit.Write(t, o.left, "12")
		testkit.Expect(t, o.right, "12")
		all = append(all, o)
	}
	for i, n := range []int{2, 0, 4, 1, 3} {
		o := all[n]
		_, _ = o.left.CloseWrite(), o.right.CloseWrite()
		testkit.Within(t, o.done, "end")
		if there, _ := tally.Bytes(); there != 10 || tally.Open() != 4-i {
			t.Errorf("%d bytes, %d open after %d ended", there, tally.Open(), i+1)
		}
	}
}

// stub is a conn that only counts.
type stub struct {
	Conn
	n uint64
}

func (s *stub) Moved() (received, sent uint64) { return s.n, 2 * s.n }

// manyTallied is a Tally of ten thousand that have carried 3 bytes there, and 6 back.
func manyTallied() *Tally {
	tally := new(Tally)
	for range 10_000 {
		p := &Proxy{A: new(stub), B: new(stub), Tally: tally}
		tally.begin(p)
		p.A.(*stub).n = 3
	}
	return tally
}

func TestTallyOfTenThousand(t *testing.T) {
	if there, back := manyTallied().Bytes(); there != 30_000 || back != 60_000 {
		t.Error(there, back)
	}
}

// BenchmarkTally sums what ten thousand connections have carried. A scrape of the metrics does it
// twice, and may cost 20 ms in all.
func BenchmarkTally(b *testing.B) {
	tally := manyTallied()
	for b.Loop() {
		tally.Bytes()
	}
}
