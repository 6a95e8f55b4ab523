package netio

import (
	"runtime"
	"testing"

	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/testkit"
)

func TestClasses(t *testing.T) {
	last := 0
	for c := Small; c <= Huge; c++ {
		b := GetBuffer(c)
		if len(b.Bytes) <= last || b.Class() != c {
			t.Errorf("class %d: %d bytes, the class before it has %d", c, len(b.Bytes), last)
		}
		last = len(b.Bytes)
		b.Free()
	}
	(*Buffer)(nil).Free()
}

// A buffer that is lost, as with a connection that ends while it is read, is given back to the
// budget by the collector of garbage, and one that has been freed is not given back twice.
func TestLostBuffers(t *testing.T) {
	testkit.Eventually(t, "what others have lost is given back", func() bool {
		runtime.GC()
		return budget.Process.Taken() == 0
	})
	kept := GetBuffer(Huge)
	lost := make([]*Buffer, 10)
	for k := range lost {
		GetBuffer(Large).Free()
		lost[k] = GetBuffer(Huge)
	}
	if budget.Process.Taken() < 10*int64(classSize[Huge]) {
		t.Error("buffers in use do not count")
	}
	runtime.KeepAlive(lost)
	lost = nil
	testkit.Eventually(t, "giving lost buffers back", func() bool {
		runtime.GC()
		return budget.Process.Taken() <= int64(classSize[Huge])
	})
	kept.Free()
	if left := budget.Process.Taken(); left != 0 {
		t.Errorf("%d bytes are left", left)
	}
}

func TestClassFor(t *testing.T) {
	for n, want := range map[int]Class{
		0: Small, 1: Small, 4096: Small, classSize[Small]: Small, classSize[Small] + 1: Medium,
		16 << 10: Medium, classSize[Large]: Large, classSize[Large] + 1: Huge,
		256 << 10: Huge, 1 << 30: Huge,
	} {
		if got := ClassFor(n); got != want {
			t.Errorf("ClassFor(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestAdapt(t *testing.T) {
	for _, test := range []struct {
		c    Class
		n    int
		want Class
	}{
		{Small, 1, Small},
		{Small, 4095, Small},
		{Small, 4096, Medium},
		{Small, classSize[Small], Medium},
		{Medium, classSize[Small] / 2, Medium},
		{Medium, classSize[Small]/2 - 1, Small},
		{Medium, 16 << 10, Large},
		{Large, 64 << 10, Huge},
		{Large, classSize[Medium]/2 - 1, Medium},
		{Huge, classSize[Huge], Huge},
		{Huge, 1, Large},
	} {
		if got := Adapt(test.c, test.n); got != test.want {
			t.Errorf("Adapt(%d, %d) = %d, want %d", test.c, test.n, got, test.want)
		}
	}
}

// A class that a read moved to must be one that the same read would not move away from again.
func TestAdaptSettles(t *testing.T) {
	for n := 1; n <= classSize[Huge]; n += 97 {
		c := Small
		for range Classes {
			c = Adapt(c, min(n, classSize[c]))
		}
		if again := Adapt(c, min(n, classSize[c])); again != c {
			t.Errorf("reads of %d bytes change between the classes %d and %d", n, c, again)
		}
	}
}

func TestPooledRoomGrowsAndShrinks(t *testing.T) {
	var room PooledRoom
	fill := func(size int) Class {
		t.Helper()
		bufs := room.Acquire()
		if len(bufs) != 1 {
			t.Fatalf("%d buffers", len(bufs))
		}
		n := min(size, len(bufs[0]))
		bufs[0][n-1] = 7
		filled := room.Filled(n)
		if len(filled) != n || filled[n-1] != 7 {
			t.Errorf("Filled(%d) is not what was acquired", n)
		}
		return ClassFor(len(bufs[0]))
	}
	for i, want := range []Class{Small, Medium, Large, Huge, Huge} {
		if got := fill(1 << 20); got != want {
			t.Errorf("read %d of much: class %d, want %d", i, got, want)
		}
		if i%2 == 0 {
			room.Release() // as a wait in between would
		}
	}
	for i, want := range []Class{Huge, Large, Medium, Small, Small} {
		if got := fill(1); got != want {
			t.Errorf("read %d of little: class %d, want %d", i, got, want)
		}
	}
	room.Release()
	room.Release()
}

// What is read into and what is kept are not taken for one another while memory is plenty: what was
// kept is in nobody's caches any more.
func TestKeptApart(t *testing.T) {
	testkit.Eventually(t, "what others have lost is given back", func() bool {
		runtime.GC()
		return budget.Process.Taken() == 0
	})
	read, kept := GetBuffer(Huge), GetToKeep(Huge)
	read.Free()
	for range 3 {
		if again := GetToKeep(Huge); again == read {
			t.Fatal("what was read into is to be kept")
		} else {
			defer again.Free()
		}
	}
	kept.Free()
	if again := GetToKeep(Huge); again != kept {
		t.Error("what was kept last is not kept first")
	}

	read = GetBuffer(Huge)
	little := budget.Process.Most()
	budget.Process.Take(little)
	read.Free() // where there is a bound on what nobody has
	budget.Process.Give(little)
	if again := GetToKeep(Huge); again != read {
		t.Error("what was read into when memory was short is not in the stack")
	} else {
		again.Free()
	}
	kept.Free()
}
