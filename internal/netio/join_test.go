package netio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
)

// joined is two connections with a Join between them:
//
//	left ── a │ Join │ b ── right
type joined struct {
	left, right Conn
	a, b        Conn
	restless    bool         // it is asked to park again and again
	done        <-chan error // gets what Join returned
}

// joinKinds are the pairs that a side of a Join may be of. A faultnet.Conn is none of this
// package's sockets.
var joinKinds = map[string]func(t testing.TB) (near, far Conn){
	"tcp":  func(t testing.TB) (near, far Conn) { return socketPair(t, "tcp") },
	"unix": func(t testing.TB) (near, far Conn) { return socketPair(t, "unix") },
	"pipe": func(t testing.TB) (near, far Conn) {
		near, far = faultnet.Pipe()
		testkit.Hurry(t, near, far)
		return near, far
	},
}

// joinPairs are the pairs of kinds that are tested.
var joinPairs = [][2]string{{"tcp", "tcp"}, {"tcp", "unix"}, {"tcp", "pipe"}, {"pipe", "pipe"}}

func join(t testing.TB, left, right string) *joined {
	t.Helper()
	return joinAnd(t, left, right, false)
}

// joinAnd is join, where a restless one is parked again and again.
func joinAnd(t testing.TB, left, right string, restless bool) *joined {
	t.Helper()
	j := joined{restless: restless}
	j.left, j.a = joinKinds[left](t)
	j.right, j.b = joinKinds[right](t)
	j.start(t)
	return &j
}

func (j *joined) start(t testing.TB) {
	done := make(chan error, 1)
	j.done = done
	p := &Proxy{A: j.a, B: j.b}
	if j.restless {
		p.Start(func(err error) { done <- err })
		askAgain(t, p)
	} else {
		go func() { done <- p.Run() }()
	}
	t.Cleanup(func() {
		_ = j.a.Close()
		_ = j.b.Close()
	})
}

// askAgain asks p to park its sources, whatever goes on, until the test ends.
func askAgain(t testing.TB, p *Proxy) {
	over := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for again := time.NewTicker(time.Millisecond); ; {
			select {
			case <-again.C:
				p.mu.Lock()
				p.askLocked(&p.there, p.A)
				p.askLocked(&p.back, p.B)
				p.mu.Unlock()
			case <-over:
				again.Stop()
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(over)
		<-ended
	})
}

// forJoins runs test for each pair of kinds, both ways round, and with and without being parked.
func forJoins(t *testing.T, test func(t *testing.T, j *joined)) {
	run := func(left, right string) {
		t.Run(left+" "+right, func(t *testing.T) { test(t, join(t, left, right)) })
		if left != "pipe" || right != "pipe" {
			t.Run(left+" "+right+" parked", func(t *testing.T) {
				test(t, joinAnd(t, left, right, true))
			})
		}
	}
	for _, pair := range joinPairs {
		run(pair[0], pair[1])
		if pair[0] != pair[1] {
			run(pair[1], pair[0])
		}
	}
}

// send writes data and ends the direction, in a goroutine.
func send(c Conn, data []byte) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		if err == nil {
			err = c.CloseWrite()
		}
		done <- err
	}()
	return done
}

func receive(t *testing.T, c Conn, want []byte) {
	t.Helper()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came of %d, or others", len(got), len(want))
	}
}

func TestJoinBothWays(t *testing.T) {
	up, down := testkit.Pattern(3<<20+7), testkit.Pattern(2<<20 + 1)[1:]
	forJoins(t, func(t *testing.T, j *joined) {
		sentUp, sentDown := send(j.left, up), send(j.right, down)
		received := make(chan struct{})
		go func() {
			defer close(received)
			got, err := io.ReadAll(j.left)
			if err != nil || !bytes.Equal(got, down) {
				t.Errorf("left: %d bytes came of %d, or others: %v", len(got), len(down), err)
			}
		}()
		receive(t, j.right, up)
		testkit.Within(t, received, "reading on the left")
		for _, sent := range []<-chan error{sentUp, sentDown} {
			if err := testkit.Within(t, sent, "sending"); err != nil {
				t.Error(err)
			}
		}
		if err := testkit.Within(t, j.done, "Join"); err != nil {
			t.Errorf("Join: %v", err)
		}
	})
}

func TestJoinHalfClose(t *testing.T) {
	data := testkit.Pattern(300_000)
	forJoins(t, func(t *testing.T, j *joined) {
		if err := j.left.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		testkit.ExpectEnd(t, j.right)
		sent := send(j.right, data) // only now
		receive(t, j.left, data)
		if err := testkit.Within(t, sent, "sending"); err != nil {
			t.Error(err)
		}
		if err := testkit.Within(t, j.done, "Join"); err != nil {
			t.Errorf("Join: %v", err)
		}
	})
}

// When Join has returned, both conns are closed, whatever had ended them.
func TestJoinClosesBoth(t *testing.T) {
	for name, end := range map[string]func(j *joined) error{
		"ends":  func(j *joined) error { return errors.Join(j.left.CloseWrite(), j.right.CloseWrite()) },
		"reset": func(j *joined) error { return Reset(j.left) },
	} {
		forJoins(t, func(t *testing.T, j *joined) {
			if err := end(j); err != nil {
				t.Fatal(err)
			}
			if name == "reset" && j.left.LocalAddr().Network() == "unix" {
				_ = j.right.Close() // over a Unix socket a reset is a close
			}
			_ = testkit.Within(t, j.done, "Join")
			for _, c := range []net.Conn{j.a, j.b} {
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("%s: a read of what Join was given fails with %v", name, err)
				}
			}
		})
	}
}

// resettable tells whether a reset of a conn of this kind is not a mere close.
func resettable(c Conn) bool { return c.LocalAddr().Network() != "unix" }

func TestJoinReset(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, j *joined){
		"idle": func(*testing.T, *joined) {},
		"after data": func(t *testing.T, j *joined) {
			testkit.Write(t, j.left, "data")
			testkit.Expect(t, j.right, "data")
		},
		"after the other side's half-close": func(t *testing.T, j *joined) {
			if err := j.right.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			testkit.ExpectEnd(t, j.left)
		},
		"in the middle of data from the other side": func(t *testing.T, j *joined) {
			go func() {
				for {
					if _, err := j.right.Write(make([]byte, 1<<16)); err != nil {
						return
					}
				}
			}()
			testkit.Expect(t, j.left, "\x00\x00\x00")
		},
	} {
		forJoins(t, func(t *testing.T, j *joined) {
			if !resettable(j.left) || !resettable(j.right) {
				t.Skip("a Unix socket cannot be reset")
			}
			before(t, j)
			if err := Reset(j.left); err != nil {
				t.Fatal(err)
			}
			if err := testkit.Within(t, j.done, "Join"); !IsReset(err) {
				t.Errorf("%s: Join: %v, want a reset", name, err)
			}
			if _, err := io.Copy(io.Discard, j.right); !IsReset(err) {
				t.Errorf("%s: the other side got %v, want a reset", name, err)
			}
		})
	}
}

// errConn is a conn that fails as told.
type errConn struct {
	Conn
	read, closeWrite error
}

func (c errConn) Read(p []byte) (int, error) {
	if c.read != nil {
		return 0, c.read
	}
	return c.Conn.Read(p)
}

func (c errConn) CloseWrite() error {
	if c.closeWrite != nil {
		return c.closeWrite
	}
	return c.Conn.CloseWrite()
}

func TestJoinReturnsTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		conn errConn
		act  func(j *joined) error
	}{
		"read":       {errConn{read: broken}, func(*joined) error { return nil }},
		"CloseWrite": {errConn{closeWrite: broken}, func(j *joined) error { return j.left.CloseWrite() }},
	} {
		t.Run(name, func(t *testing.T) {
			var j joined
			j.left, j.a = joinKinds["tcp"](t)
			j.right, test.conn.Conn = joinKinds["pipe"](t)
			j.b = test.conn
			j.start(t)
			if err := test.act(&j); err != nil {
				t.Fatal(err)
			}
			if err := testkit.Within(t, j.done, "Join"); err != broken {
				t.Errorf("Join: %v", err)
			}
			expectReset(t, j.left)
		})
	}
}

// counting is a conn that copies by itself, as a channel's flow does.
type counting struct {
	*faultnet.Conn
	readFrom, writeTo atomic.Int64
}

func (c *counting) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(struct{ io.Writer }{c.Conn}, struct{ io.Reader }{r})
	c.readFrom.Add(n)
	return n, err
}

func (c *counting) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{c.Conn})
	c.writeTo.Add(n)
	return n, err
}

// A conn that is no socket may know a better way to copy than through memory that is not its own.
func TestJoinAsksTheConn(t *testing.T) {
	var j joined
	var near *faultnet.Conn
	j.left, j.a = joinKinds["tcp"](t)
	j.right, near = faultnet.Pipe()
	testkit.Hurry(t, j.right)
	c := &counting{Conn: near}
	j.b = c
	j.start(t)
	sent := send(j.left, make([]byte, 3))
	receive(t, j.right, make([]byte, 3))
	back := send(j.right, make([]byte, 5))
	receive(t, j.left, make([]byte, 5))
	for _, done := range []<-chan error{sent, back, j.done} {
		if err := testkit.Within(t, done, "ending"); err != nil {
			t.Error(err)
		}
	}
	if up, down := c.readFrom.Load(), c.writeTo.Load(); up != 3 || down != 5 {
		t.Errorf("%d and %d bytes by the conn's own methods", up, down)
	}
}

func TestCopyCounts(t *testing.T) {
	data := testkit.Pattern(100_000)
	for _, kinds := range joinPairs {
		from, near := joinKinds[kinds[0]](t)
		far, to := joinKinds[kinds[1]](t)
		sent := send(from, data)
		got := make(chan []byte, 1)
		go func() {
			b, _ := io.ReadAll(to)
			got <- b
		}()
		n, err := io.Copy(far, near)
		_ = far.CloseWrite()
		if n != int64(len(data)) || err != nil {
			t.Errorf("%v: copied %d bytes, %v", kinds, n, err)
		}
		if err := testkit.Within(t, sent, "sending"); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(testkit.Within(t, got, "reading"), data) {
			t.Errorf("%v: other bytes came", kinds)
		}
	}
}

func BenchmarkCopy(b *testing.B) {
	for name, run := range map[string]func(dst, src *Socket){
		"Join":    func(dst, src *Socket) { _, _ = copyTo(dst, src) },
		"io.Copy": func(dst, src *Socket) { _, _ = io.Copy(dst.stream, src.stream) },
		"buffers": func(dst, src *Socket) { _, _ = copyBuffered(dst, src) },
	} {
		b.Run(name, func(b *testing.B) {
			left, x := socketPair(b, "tcp")
			y, right := socketPair(b, "tcp")
			forever(b, left, x, y, right)
			done := make(chan struct{})
			go func() {
				run(y, x)
				_ = y.CloseWrite()
				close(done)
			}()
			received := make(chan struct{})
			go func() {
				_, _ = io.Copy(io.Discard, struct{ io.Reader }{right})
				close(received)
			}()
			data := make([]byte, 256<<10)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			user, system := cpuTime()
			for b.Loop() {
				testkit.Write(b, left, data)
			}
			_ = left.CloseWrite()
			<-done
			<-received
			userNow, systemNow := cpuTime()
			gib := float64(b.N) * float64(len(data)) / (1 << 30)
			b.ReportMetric((userNow-user).Seconds()/gib, "user-s/GiB")
			b.ReportMetric((systemNow-system).Seconds()/gib, "sys-s/GiB")
		})
	}
}
