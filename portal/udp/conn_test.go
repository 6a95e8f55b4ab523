package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// sink is where a flow's datagrams go.
type sink struct {
	all [][]byte
	err error
}

func (s *sink) send(datagram []byte) error {
	s.all = append(s.all, bytes.Clone(datagram))
	return s.err
}

func newTestConn(idle time.Duration) (*Conn, *sink) {
	s := new(sink)
	c := &Conn{idle: idle, drops: &drops{logger: slog.New(slog.DiscardHandler)}}
	c.send = s.send
	return c.begin(), s
}

func frame(datagram []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(datagram))), datagram...)
}

// someDatagrams are datagrams of all kinds of sizes.
func someDatagrams() (all [][]byte) {
	for _, n := range []int{0, 1, 2, 0, 100, 1400, 4094, 4606, 4608, 16384, MaxDatagram, 0, 3} {
		d := make([]byte, n)
		for i := range d {
			d[i] = byte(n + i)
		}
		all = append(all, d)
	}
	return all
}

// Whatever pieces a stream is written in, the datagrams in it go out as they are.
func TestFramesInPieces(t *testing.T) {
	want := someDatagrams()
	var stream []byte
	for _, d := range want {
		stream = append(stream, frame(d)...)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, most := range []int{1, 2, 3, 1000, 5000, 70000, len(stream)} {
		c, s := newTestConn(0)
		for rest := stream; len(rest) > 0; {
			n := min(1+r.IntN(most), len(rest))
			if _, err := c.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if len(s.all) != len(want) {
			t.Fatalf("in pieces of %d: %d datagrams of %d", most, len(s.all), len(want))
		}
		for i := range want {
			if !bytes.Equal(s.all[i], want[i]) {
				t.Errorf("in pieces of %d: %d bytes in place of %d", most, len(s.all[i]), len(want[i]))
			}
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		_ = c.Close()
	}
}

// What comes is read with its length in front, one datagram at a time, however small the reads are.
func TestReads(t *testing.T) {
	for _, size := range []int{1, 3, 4096, 70000} {
		c, _ := newTestConn(0)
		var got []byte
		b := make([]byte, size)
		for _, d := range someDatagrams() {
			c.arrived(d)
			for want := len(frame(d)); want > 0; {
				n, err := c.Read(b)
				if err != nil || n > want || n == 0 {
					t.Fatalf("%d, %v", n, err)
				}
				got = append(got, b[:n]...)
				want -= n
			}
		}
		var want []byte
		for _, d := range someDatagrams() {
			want = append(want, frame(d)...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("reads of %d bytes differ", size)
		}
		_ = c.Close()
		if _, err := c.Read(b); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
}

// A datagram that is being read is read to its end, whatever else happens.
func TestNothingIsClipped(t *testing.T) {
	c, _ := newTestConn(0)
	c.arrived([]byte("hello"))
	b := make([]byte, 3)
	if n, err := c.Read(b); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	c.arrived([]byte("never read"))
	c.end()
	rest, err := io.ReadAll(c)
	if string(rest) != "ello" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	if n, err := c.Write(frame([]byte("late"))); n != 6 || err != nil {
		t.Error(n, err)
	}
	_ = c.Close()
}

func TestBadStreams(t *testing.T) {
	c, s := newTestConn(0)
	if _, err := c.Write([]byte{0xff, 0xe4, 0}); !errors.Is(err, errTooLarge) {
		t.Error(err)
	}
	_ = c.Close()
	c, _ = newTestConn(0)
	if _, err := c.Write([]byte{0xff}); err != nil {
		t.Error(err)
	}
	if _, err := c.Write([]byte{0xff}); !errors.Is(err, errTooLarge) {
		t.Error(err)
	}
	_ = c.Close()
	c, _ = newTestConn(0)
	if _, err := c.Write([]byte{0, 2, 1}); err != nil {
		t.Error(err)
	}
	if err := c.CloseWrite(); !errors.Is(err, errClipped) {
		t.Error(err)
	}
	_ = c.Close()
	if len(s.all) != 0 {
		t.Error("something went out")
	}
}

// The oldest datagrams go when there are too many, or too many bytes, and the others stay in their
// order. One that is larger than any can be does not count.
func TestOldestAreDropped(t *testing.T) {
	c, _ := newTestConn(0)
	defer c.Close()
	before := dropped[slow].Value()
	const sent = queueDatagrams + 50
	for i := range sent {
		c.arrived([]byte{byte(i)})
	}
	c.arrived(make([]byte, MaxDatagram+1))
	if got := dropped[slow].Value() - before; got != 50 {
		t.Errorf("%d are dropped", got)
	}
	b := make([]byte, 10)
	for i := 50; i < sent; i++ {
		if n, err := c.Read(b); n != 3 || err != nil || b[2] != byte(i) {
			t.Fatalf("%d: %d bytes, %d, %v", i, n, b[2], err)
		}
	}
	for i := range 10 {
		large := make([]byte, MaxDatagram)
		large[0] = byte(i)
		c.arrived(large)
	}
	kept := queueBytes / (MaxDatagram + headerSize)
	if len(c.queue.frames) != kept || c.queue.frames[0][headerSize] != byte(10-kept) {
		t.Errorf("%d large ones are kept", len(c.queue.frames))
	}
}

// slowStream is a stream that has so many bytes to send.
type slowStream struct{ unsent atomic.Int64 }

func (s *slowStream) Unsent() int { return int(s.unsent.Load()) }

// While the stream has not sent what it was given, the datagrams wait where the oldest are dropped;
// what is read then is what has come last. Who waits so hears of the end.
func TestSlowStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newTestConn(0)
		var s slowStream
		s.unsent.Store(mostUnsent + 1)
		c.GoesOn(&s)
		got := make(chan byte, 2*queueDatagrams)
		go func() {
			defer close(got)
			b := make([]byte, 10)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
				got <- b[headerSize]
			}
		}()
		for i := range 200 {
			c.arrived([]byte{byte(i)})
			time.Sleep(time.Millisecond)
		}
		if len(got) != 0 {
			t.Fatal("a slow stream got some")
		}
		s.unsent.Store(mostUnsent)
		for i := 200 - queueDatagrams; i < 200; i++ {
			if n := <-got; n != byte(i) {
				t.Fatalf("%d in place of %d", n, i)
			}
		}
		s.unsent.Store(netio.UnsentForNow)
		c.arrived(nil)
		time.Sleep(time.Second)
		c.end()
		if _, more := <-got; more {
			t.Error("one more came")
		}
		_ = c.Close()
	})
}

// Where the process has no memory left, a small datagram may wait, and no second one.
func TestQueueWithoutMemory(t *testing.T) {
	var q queue
	most := takeAllMemory(t)
	if q.push(make([]byte, alwaysKept)) != 0 || q.push(make([]byte, 100)) != 1 || len(q.frames) != 1 {
		t.Errorf("%d wait", len(q.frames))
	}
	if q.push(make([]byte, alwaysKept+1)) != 2 || len(q.frames) != 0 {
		t.Errorf("%d wait", len(q.frames))
	}
	most()
	if q.push(make([]byte, 1000)) != 0 || q.push(make([]byte, 1001)) != 0 || q.clear() != 2 {
		t.Error("there is no room although there is memory")
	}
}

// A client that only asks, or asks once and is answered, is not kept for as long as one that talks.
func TestIdle(t *testing.T) {
	for name, test := range map[string]struct {
		idle time.Duration
		say  func(*Conn)
		want time.Duration
	}{
		"asked":          {time.Hour, nil, askedIdle},
		"answered":       {time.Hour, func(c *Conn) { _, _ = c.Write(frame(nil)) }, askedIdle},
		"short":          {time.Second, nil, time.Second},
		"talking":        {time.Hour, talkOnce, time.Hour},
		"talking, short": {time.Second, talkOnce, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := newTestConn(test.idle)
				defer c.Close()
				c.arrived(nil)
				said := time.Now()
				time.Sleep(min(test.want, askedIdle) / 2)
				if test.say != nil {
					test.say(c)
					said = time.Now()
				}
				_, _ = io.ReadAll(c)
				if lasted := time.Since(said); lasted != test.want {
					t.Errorf("it ended after %v, not %v", lasted, test.want)
				}
			})
		})
	}
}

// Whoever wants to go does not wait for a client that says nothing.
func TestEndWhenQuiet(t *testing.T) {
	for _, idle := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := newTestConn(idle)
			defer c.Close()
			talkOnce(c)
			_, _ = c.Read(make([]byte, headerSize))
			time.Sleep(time.Minute)
			c.arrived(nil)
			said := time.Now()
			time.Sleep(quiet / 2)
			c.EndWhenQuiet()
			_, _ = io.ReadAll(c)
			if lasted := time.Since(said); lasted != quiet {
				t.Errorf("it ended after %v", lasted)
			}
		})
	}
}

func talkOnce(c *Conn) {
	_, _ = c.Write(frame(nil))
	c.arrived(nil)
}

// What the system says of a datagram ends no flow; that the socket is gone does.
func TestSendErrors(t *testing.T) {
	c, s := newTestConn(0)
	for _, err := range []error{
		syscall.EMSGSIZE, syscall.EPERM, syscall.ENETUNREACH, syscall.ECONNREFUSED,
	} {
		s.err = err
		before := dropped[unsent].Value()
		if _, err := c.Write(frame([]byte("x"))); err != nil || dropped[unsent].Value() != before+1 {
			t.Errorf("%v, %d dropped", err, dropped[unsent].Value()-before)
		}
	}
	s.err = net.ErrClosed
	if _, err := c.Write(frame([]byte("x"))); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	_ = c.Reset()
}

// A flow that is carried by a proxy ends in order on both sides when either has had enough.
func TestThroughAProxy(t *testing.T) {
	for name, stop := range map[string]func(a, b *Conn){
		"client":  func(a, _ *Conn) { a.end() },
		"service": func(_, b *Conn) { b.end() },
	} {
		t.Run(name, func(t *testing.T) {
			a, toClient := newTestConn(0)
			b, toService := newTestConn(0)
			done := make(chan error, 1)
			proxy := netio.Proxy{A: a, B: b}
			go func() { done <- proxy.Run() }()
			for _, d := range someDatagrams() {
				a.arrived(d)
				b.arrived(d)
			}
			for drained := false; !drained; {
				a.mu.Lock()
				b.mu.Lock()
				drained = len(a.queue.frames)+len(b.queue.frames) == 0
				b.mu.Unlock()
				a.mu.Unlock()
			}
			stop(a, b)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if len(toClient.all)+len(toService.all) < 2*len(someDatagrams())-2 {
				t.Errorf("%d and %d arrived", len(toClient.all), len(toService.all))
			}
		})
	}
}

func FuzzWrite(f *testing.F) {
	f.Add([]byte{0, 1, 7, 0, 0, 0, 2, 1, 2}, uint8(3))
	f.Add([]byte{0xff, 0xe3, 0}, uint8(1))
	f.Add([]byte{0xff, 0xe4}, uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		whole, all := newTestConn(0)
		pieces, some := newTestConn(0)
		defer whole.Close()
		defer pieces.Close()
		_, err := whole.Write(stream)
		var errInPieces error
		for rest := stream; len(rest) > 0 && errInPieces == nil; {
			n := min(int(piece)+1, len(rest))
			_, errInPieces = pieces.Write(rest[:n])
			rest = rest[n:]
		}
		if !errors.Is(errInPieces, err) || len(all.all) != len(some.all) {
			t.Fatalf("%v and %v, %d and %d", err, errInPieces, len(all.all), len(some.all))
		}
		var again []byte
		for i := range all.all {
			again = append(again, frame(all.all[i])...)
			if !bytes.Equal(all.all[i], some.all[i]) {
				t.Fatal("pieces differ")
			}
		}
		if !bytes.HasPrefix(stream, again) {
			t.Fatal("what went out is not what was written")
		}
	})
}
