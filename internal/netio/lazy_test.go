//go:build unix

package netio

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// slots is a Room of given buffers that keeps what was asked of it.
type slots struct {
	bufs     [][]byte
	acquired int
	waits    chan struct{} // gets one for each Release, if there is room
}

func newSlots(sizes ...int) *slots {
	s := &slots{waits: make(chan struct{}, 1000)}
	for _, n := range sizes {
		s.bufs = append(s.bufs, make([]byte, n))
	}
	return s
}

func (s *slots) Acquire() [][]byte { s.acquired++; return s.bufs }

func (s *slots) Release() {
	s.acquired--
	select {
	case s.waits <- struct{}{}:
	default:
	}
}

func (s *slots) String() string { return string(slices.Concat(s.bufs...)) }

// read is what ReadLazy returned.
type read struct {
	n   int
	err error
}

// readLazy reads in a goroutine.
func readLazy(s *Socket, room Room) <-chan read {
	c := make(chan read, 1)
	go func() {
		n, err := s.ReadLazy(room)
		c <- read{n, err}
	}()
	return c
}

func TestReadLazyHoldsNothingWhileItWaits(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			a, b := socketPair(t, network)
			room := newSlots(10)
			got := readLazy(a, room)
			testkit.Within(t, room.waits, "giving the room back")
			testkit.Write(t, b, "hello")
			if r := testkit.Within(t, got, "reading"); r.n != 5 || r.err != nil ||
				string(room.bufs[0][:5]) != "hello" {
				t.Errorf("read %d bytes, %v", r.n, r.err)
			}
			if room.acquired != 1 {
				t.Errorf("the room was taken %d times more often than given back, want once", room.acquired)
			}
		})
	}
}

func TestReadLazyFillsSlotsInOrder(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("readv is used on Linux only")
	}
	a, b := socketPair(t, "tcp")
	testkit.Write(t, b, "abcdefgh")
	room := newSlots(1, 3, 2)
	if n, err := a.ReadLazy(room); n != 6 || err != nil || room.String() != "abcdef" {
		t.Errorf("read %d bytes, %v, %q", n, err, room)
	}
	if n, err := a.ReadLazy(room); n != 2 || err != nil || room.String()[:2] != "gh" {
		t.Errorf("read %d bytes, %v, %q", n, err, room)
	}
}

func TestReadLazyWithoutRoomIsNoEnd(t *testing.T) {
	a, b := socketPair(t, "tcp")
	testkit.Write(t, b, "x")
	for _, room := range []*slots{newSlots(), newSlots(0), newSlots(0, 5)} {
		if n, err := a.ReadLazy(room); n != 0 || !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%d slots: read %d bytes, %v", len(room.bufs), n, err)
		}
	}
	testkit.Expect(t, a, "x")
}

func TestReadLazyEnds(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			a, b := socketPair(t, network)
			testkit.Write(t, b, "last")
			if err := b.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			room := newSlots(10)
			if n, err := a.ReadLazy(room); n != 4 || err != nil {
				t.Fatalf("read %d bytes, %v", n, err)
			}
			for range 3 { // the end stays the end
				if n, err := a.ReadLazy(room); n != 0 || err != io.EOF {
					t.Fatalf("read %d bytes, %v, want the end", n, err)
				}
			}
			testkit.Write(t, a, "back")
			testkit.Expect(t, b, "back")
		})
	}
}

func TestReadLazyDeadline(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			a, b := socketPair(t, network)
			room := newSlots(10)
			got := readLazy(a, room)
			testkit.Within(t, room.waits, "giving the room back")
			_ = a.SetReadDeadline(time.Unix(1, 0))
			if r := testkit.Within(t, got, "reading"); r.n != 0 ||
				!errors.Is(r.err, os.ErrDeadlineExceeded) {
				t.Fatalf("read %d bytes, %v", r.n, r.err)
			}
			if room.acquired != 0 {
				t.Error("the room is still held")
			}
			testkit.Hurry(t, a)
			testkit.Write(t, b, "later")
			if n, err := a.ReadLazy(room); n != 5 || err != nil {
				t.Errorf("after the deadline was lifted: read %d bytes, %v", n, err)
			}
		})
	}
}

func TestCloseDuringReadLazy(t *testing.T) {
	for _, network := range networks {
		for name, end := range map[string]func(*Socket) error{
			"Close": (*Socket).Close, "Reset": (*Socket).Reset,
		} {
			t.Run(network+" "+name, func(t *testing.T) {
				a, _ := socketPair(t, network)
				room := newSlots(10)
				got := readLazy(a, room)
				testkit.Within(t, room.waits, "giving the room back")
				if err := end(a); err != nil {
					t.Fatal(err)
				}
				if r := testkit.Within(t, got, "reading"); r.n != 0 || !errors.Is(r.err, net.ErrClosed) {
					t.Errorf("read %d bytes, %v", r.n, r.err)
				}
				if room.acquired != 0 {
					t.Error("the room is still held")
				}
			})
		}
	}
}

func TestReadLazyAllocatesNothing(t *testing.T) {
	a, b := socketPair(t, "tcp")
	room := newSlots(100, 100)
	data := []byte("data")
	allocs := testing.AllocsPerRun(200, func() {
		testkit.Write(t, b, data)
		if _, err := a.ReadLazy(room); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for each read", allocs)
	}
}

// A reset is told by the kernel to one system call only. If that is a write's, a read that comes
// afterwards gets 0 bytes, as at an end. No reader may take the one for the other.
func TestResetIsNoEndWhoeverIsTold(t *testing.T) {
	readers := map[string]func(t *testing.T, s *Socket) error{
		"ReadLazy": func(_ *testing.T, s *Socket) error {
			_, err := s.ReadLazy(newSlots(10))
			return err
		},
		"Read": func(_ *testing.T, s *Socket) error {
			_, err := s.Read(make([]byte, 10))
			return err
		},
		"Copy to a socket": func(t *testing.T, s *Socket) error {
			to, _ := socketPair(t, "tcp")
			_, err := copyTo(to, s)
			return orEnd(err)
		},
		"Copy to another conn": func(_ *testing.T, s *Socket) error {
			to, from := net.Pipe()
			defer from.Close()
			_, err := copyTo(to, s)
			return orEnd(err)
		},
	}
	for name, reader := range readers {
		t.Run(name, func(t *testing.T) {
			told := 0
			for range 30 {
				a, b := socketPair(t, "tcp")
				var writing sync.WaitGroup
				begun := make(chan struct{})
				var failed error
				writing.Go(func() {
					for first := true; failed == nil; first = false {
						_, failed = a.Write([]byte("x"))
						if first {
							close(begun)
						}
					}
				})
				result := make(chan error, 1)
				go func() { result <- reader(t, a) }()
				<-begun
				_ = b.Reset()
				if err := testkit.Within(t, result, "reading"); !IsReset(err) {
					t.Fatalf("a reset was read as %v", err)
				}
				writing.Wait()
				if errors.Is(failed, syscall.ECONNRESET) {
					told++
				}
				_ = a.Close()
			}
			t.Logf("the writer was told %d times of 30", told)
		})
		t.Run(name+" after the writer", func(t *testing.T) {
			a, b := socketPair(t, "tcp")
			_ = b.Reset()
			testkit.Eventually(t, "the writer is told", func() bool {
				_, err := a.Write([]byte("x"))
				return IsReset(err)
			})
			if err := reader(t, a); !IsReset(err) {
				t.Errorf("a reset was read as %v", err)
			}
		})
	}
}

// orEnd makes an end of Copy's nil.
func orEnd(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

func TestEndIsNoReset(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			for name, ended := range map[string]func(a, b *Socket) error{
				"half-close": func(_, b *Socket) error { return b.CloseWrite() },
				"close":      func(_, b *Socket) error { return b.Close() },
				"after its own": func(a, b *Socket) error {
					return errors.Join(a.CloseWrite(), b.CloseWrite())
				},
				"close after no own": func(a, b *Socket) error {
					return errors.Join(a.CloseWrite(), b.Close())
				},
			} {
				a, b := socketPair(t, network)
				if err := ended(a, b); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				for range 2 {
					if n, err := a.ReadLazy(newSlots(1)); n != 0 || err != io.EOF {
						t.Errorf("%s: read %d bytes, %v", name, n, err)
					}
					testkit.ExpectEnd(t, a)
				}
			}
		})
	}
}

// pipeOnly is a reader that does not offer ReadLazy, and answers as told.
type pipeOnly func(p []byte) (int, error)

func (f pipeOnly) Read(p []byte) (int, error) { return f(p) }

func TestReadLazyFromOtherReaders(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		n       int
		err     error
		want    int
		wantErr error
	}{
		"data":           {3, nil, 3, nil},
		"data and error": {3, broken, 3, nil}, // which the reader will say again
		"error":          {0, broken, 0, broken},
		"end":            {0, io.EOF, 0, io.EOF},
		"nothing":        {0, nil, 0, io.ErrNoProgress},
	} {
		n, err := ReadLazy(pipeOnly(func([]byte) (int, error) { return test.n, test.err }), newSlots(10))
		if n != test.want || err != test.wantErr {
			t.Errorf("%s: got %d, %v", name, n, err)
		}
	}
}

func BenchmarkReadLazy(b *testing.B) {
	b.ReportAllocs()
	x, y := socketPair(b, "tcp")
	forever(b, x, y)
	room := newSlots(100)
	data := make([]byte, 100)
	for b.Loop() {
		testkit.Write(b, y, data)
		if _, err := x.ReadLazy(room); err != nil {
			b.Fatal(err)
		}
	}
}
