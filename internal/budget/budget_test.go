package budget

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/metrics"
)

// Whoever takes much leaves less for the next, and never nothing at all: the large requests are
// refused first, and all of it is there again when it is given back.
func TestShares(t *testing.T) {
	const most = 16 << 20
	b := newBudget(most)
	taken := func(n int64) (times int) {
		for b.Fits(n) {
			b.Take(n)
			times++
		}
		return times
	}
	if !b.Plenty() {
		t.Error("nothing is taken, and there is no plenty")
	}
	large, middle, small := taken(512<<10), taken(64<<10), taken(16<<10)
	if large < 16 || middle < 32 || small < 16 {
		t.Errorf("%d large, %d middle and %d small ones fit", large, middle, small)
	}
	if b.Taken() > most || b.Plenty() || b.Fits(512<<10) || !b.Fits(1<<10) {
		t.Errorf("%d of %d bytes are taken", b.Taken(), most)
	}
	b.Give(int64(large)*512<<10 + int64(middle)*64<<10 + int64(small)*16<<10)
	if b.Taken() != 0 || !b.Plenty() {
		t.Errorf("%d bytes are left", b.Taken())
	}
}

// A budget of which more is taken than there is, since somebody needed it, gives no shares.
func TestTakenBeyond(t *testing.T) {
	b := newBudget(1 << 20)
	b.Take(3 << 20)
	if b.Share() != 0 || b.Fits(1) || b.Plenty() || !b.Fits(0) {
		t.Errorf("share %d", b.Share())
	}
	b.Give(3 << 20)
	if b.Share() != 1<<20/sharePart {
		t.Errorf("share %d", b.Share())
	}
}

func TestProcess(t *testing.T) {
	defer SetProcess(0)
	for memory, want := range map[int64]int64{
		0: DefaultMost, 64 << 20: 16 << 20, 8 << 30: DefaultMost,
	} {
		if SetProcess(memory); Process.Most() != want {
			t.Errorf("%d bytes of memory: %d, want %d", memory, Process.Most(), want)
		}
	}
}

// Readers who stop at some time, or never, hold no more together than the budget, however many they
// are; those who read get large pieces again when the others have gone.
func TestStalledReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, readers = 16 << 20, 5000
		b := newBudget(most)
		r := rand.New(rand.NewPCG(1, 2))
		for range readers {
			stops := time.Duration(r.IntN(1000)) * time.Millisecond
			go func() {
				for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
					n := int64(512 << 10)
					for n > 4<<10 && !b.Fits(n) {
						n /= 8
					}
					if n <= 4<<10 {
						n = 0 // the least of all does not count
					}
					b.Take(n)
					if b.Taken() > most {
						t.Errorf("%d bytes are taken", b.Taken())
					}
					if time.Since(began) >= stops {
						time.Sleep(time.Minute)
						b.Give(n)
						return
					}
					b.Give(n)
				}
			}()
		}
		time.Sleep(30 * time.Second)
		if b.Taken() > most || b.Plenty() {
			t.Errorf("%d bytes are held by those who have stopped", b.Taken())
		}
		time.Sleep(time.Minute)
		if b.Taken() != 0 || !b.Fits(512<<10) {
			t.Errorf("%d bytes are left", b.Taken())
		}
	})
}

// What is kept for far ends is bounded by what somebody says, or by the memory that there is.
func TestKept(t *testing.T) {
	defer SetKept(0, 0)
	for _, test := range []struct{ most, memory, want int64 }{
		{0, 0, DefaultKept},
		{0, 64 << 20, 4 << 20},
		{0, 64 << 30, DefaultKept},
		{1 << 20, 64 << 30, 1 << 20},
		{1 << 30, 64 << 20, 1 << 30},
	} {
		if SetKept(test.most, test.memory); Kept.Most() != test.want {
			t.Errorf("%v: %d", test, Kept.Most())
		}
	}
}

// What is kept and what is held for readers is paid out of the same bytes, and something is always
// left to read into.
func TestKeptIsOfProcess(t *testing.T) {
	defer SetProcess(0)
	defer SetKept(0, 0)
	SetProcess(64 << 20)
	SetKept(0, 64<<20)
	Kept.Take(3 << 20)
	defer Kept.Give(3 << 20)
	if Process.Free() != 13<<20 || FreeForUnread() != 1<<20 || !Process.Plenty() || KeptPlenty() {
		t.Errorf("%d and %d bytes are free", Process.Free(), FreeForUnread())
	}
	Process.Take(12 << 20)
	defer Process.Give(12 << 20)
	if Process.Free() != 1<<20 || FreeForUnread() != 1<<20 || IsUnreadTooMuch() {
		t.Errorf("%d and %d bytes are free", Process.Free(), FreeForUnread())
	}
	Kept.Take(20 << 20) // to those who read
	defer Kept.Give(20 << 20)
	if Process.Free() != 0 || FreeForUnread() != 0 || !IsUnreadTooMuch() {
		t.Errorf("%d and %d bytes are free", Process.Free(), FreeForUnread())
	}
	Process.Give(12 << 20)
	defer Process.Take(12 << 20)
	if Process.Free() != 8<<20 {
		t.Errorf("%d bytes are free", Process.Free())
	}
}

// newBudget returns a budget of so many bytes.
func newBudget(most int64) *Budget {
	b := &Budget{taken: new(metrics.Gauge)}
	b.most.Store(most)
	return b
}
