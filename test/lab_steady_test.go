//go:build unix

package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// A steady connection says something all the time until it is told to end, and every byte and both
// ends of it are checked:
//
//	client: seed (8) | pieces of the seed's stream | last
//	target: for each piece one of the same size of another stream | last
//
//	piece = size (2), not 0 | bytes
//	last  = 0 (2) | end
const (
	steadyHeader = 8
	steadySize   = 2
	steadySmall  = 4 << 10  // bytes of most connections' pieces, at most
	steadyLarge  = 60 << 10 // and of one in steadyRare
	steadyRare   = 16
)

// steadyReader reads pieces of a seed's stream.
type steadyReader struct {
	in        io.Reader
	words     io.Reader
	got, want []byte
}

// piece reads one piece and returns its size, 0 for the last.
func (r *steadyReader) piece() (int, error) {
	size := make([]byte, steadySize)
	if n, err := io.ReadFull(r.in, size); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, fmt.Errorf("%w, with %d bytes of a size", errFalseEnd, n)
		}
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(size))
	if n == 0 {
		return 0, onlyEnd(r.in)
	}
	r.got, r.want = slices.Grow(r.got[:0], n)[:n], slices.Grow(r.want[:0], n)[:n]
	got, want := r.got, r.want
	if read, err := io.ReadFull(r.in, got); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, fmt.Errorf("%w, after %d bytes of %d", errFalseEnd, read, n)
		}
		return 0, err
	}
	_, _ = r.words.Read(want)
	if !bytes.Equal(got, want) {
		return 0, errWrong
	}
	return n, nil
}

// steadyWriter writes pieces of a seed's stream.
type steadyWriter struct {
	out   netio.Conn
	words io.Reader
	b     []byte
}

func (w *steadyWriter) piece(size int) error {
	w.b = slices.Grow(w.b[:0], steadySize+size)[:steadySize+size]
	b := w.b
	binary.BigEndian.PutUint16(b, uint16(size))
	_, _ = w.words.Read(b[steadySize:])
	_, err := w.out.Write(b)
	return err
}

func (w *steadyWriter) last() error {
	if _, err := w.out.Write([]byte{0, 0}); err != nil {
		return err
	}
	return w.out.CloseWrite()
}

// errNothingSaid is that a client has ended before it has said anything.
var errNothingSaid = errors.New("nothing was said")

// answerSteady is the target's side.
func answerSteady(tcp *net.TCPConn) error {
	_ = tcp.SetLinger(0) // what has not been ended is not to look so
	c := netio.Wrap(tcp)
	defer c.Close()
	var seed [steadyHeader]byte
	if _, err := io.ReadFull(c, seed[:]); err != nil {
		return fmt.Errorf("%w: %w", errNothingSaid, err)
	}
	k := binary.BigEndian.Uint64(seed[:])
	r := &steadyReader{in: c, words: pseudorandom(k)}
	w := &steadyWriter{out: c, words: pseudorandom(^k)}
	for {
		n, err := r.piece()
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := w.piece(n); err != nil {
			return err
		}
	}
	if err := w.last(); err != nil {
		return err
	}
	_ = tcp.SetLinger(-1)
	return nil
}

// answerSteadyOrComplain answers a steady connection, and says on stderr what must not happen: that
// is any error.
func answerSteadyOrComplain(c conn) {
	if err := answerSteady(c.(*net.TCPConn)); err != nil {
		fmt.Fprintln(os.Stderr, complaint, err)
	}
}

// steadyService answers steady connections, and fails the test for whatever goes wrong.
func steadyService(t testing.TB) string {
	t.Helper()
	return service(t, answeringSteady(t))
}

func answeringSteady(t testing.TB) func(conn) {
	return func(c conn) {
		if err := answerSteady(c.(*net.TCPConn)); err != nil {
			t.Error(complaint, err)
		}
	}
}

// chorus is many steady connections.
type chorus struct {
	t       testing.TB
	pace    time.Duration // between two pieces of one connection
	voices  []*voice
	stop    context.CancelFunc
	tasks   sync.WaitGroup
	carried atomic.Int64 // bytes that have come back
}

// voice is one of them.
type voice struct {
	arrived atomic.Int64 // pieces that have come back
	over    atomic.Bool  // it has ended
	stood   []stand      // guarded by being looked at when that is so, or all is over
	err     error        // likewise
}

// stand is a time in which nothing came back.
type stand struct{ from, to time.Time }

// newChorus opens n steady connections through inlets, in turn, and waits until all carry
// something.
func newChorus(t testing.TB, n int, pace time.Duration, inlets ...string) *chorus {
	t.Helper()
	conns := make([]conn, n)
	for i := range conns {
		conns[i] = dial(t, inlets[i%len(inlets)])
	}
	return newChorusOf(t, pace, conns...)
}

// newChorusOf is newChorus with connections that are there already.
func newChorusOf(t testing.TB, pace time.Duration, conns ...conn) *chorus {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	c := &chorus{t: t, pace: pace, stop: stop}
	t.Cleanup(func() {
		stop()
		if t.Failed() { // some of them may never end
			for _, tcp := range conns {
				abandon(tcp)
			}
		}
		c.tasks.Wait()
	})
	for i, tcp := range conns {
		m := new(voice)
		c.voices = append(c.voices, m)
		_ = tcp.SetDeadline(time.Time{}) // the test as a whole is over some time
		c.tasks.Go(func() {
			if m.err = c.take(ctx, m, tcp, uint64(i)); m.err != nil {
				abandon(tcp)
			}
			m.over.Store(true)
		})
	}
	c.goesOn()
	return c
}

// take is the client's side of a connection.
func (c *chorus) take(ctx context.Context, m *voice, tcp net.Conn, seed uint64) error {
	conn := netio.Wrap(tcp)
	said := make(chan error, 1)
	go func() { said <- c.say(ctx, conn, seed) }()
	r := &steadyReader{in: conn, words: pseudorandom(^seed)}
	before := time.Now()
	for {
		n, err := r.piece()
		if err != nil {
			abandon(tcp)
			<-said
			return fmt.Errorf("after %d pieces: %w", m.arrived.Load(), err)
		}
		if n == 0 {
			return <-said
		}
		now := time.Now()
		if now.Sub(before) > 2*c.pace {
			m.stood = append(m.stood, stand{before, now})
		}
		before = now
		m.arrived.Add(1)
		c.carried.Add(int64(n))
	}
}

// say is what the client says, until ctx ends.
func (c *chorus) say(ctx context.Context, conn netio.Conn, seed uint64) error {
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, seed)); err != nil {
		return err
	}
	w := &steadyWriter{out: conn, words: pseudorandom(seed)}
	sizes := rand.New(rand.NewPCG(seed, 0))
	most := steadySmall
	if seed%steadyRare == 0 {
		most = steadyLarge
	}
	pace := time.NewTicker(c.pace)
	defer pace.Stop()
	for {
		if err := w.piece(1 + sizes.IntN(most)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return w.last()
		case <-pace.C:
		}
	}
}

// goesOn waits until something that was said later than now has come back on all connections.
func (c *chorus) goesOn() { c.share(len(c.voices)) }

// share waits until that is so for n of them.
func (c *chorus) share(n int) {
	c.t.Helper()
	const more = 3 // pieces: what was on its way has come before
	before := make([]int64, len(c.voices))
	for i, m := range c.voices {
		before[i] = m.arrived.Load()
	}
	eventually(c.t, "connections go on", func() bool {
		on, lost := 0, error(nil)
		for i, m := range c.voices {
			if m.arrived.Load() >= before[i]+more {
				on++
			} else if m.over.Load() {
				lost = fmt.Errorf("connection %d: %w", i, m.err)
			}
		}
		if lost != nil && n == len(c.voices) {
			c.t.Fatal(lost)
		}
		return on >= n
	})
}

// ends has all connections end, and fails the test for each that has not gone well to its end.
func (c *chorus) ends() {
	c.t.Helper()
	c.stop()
	over := make(chan struct{})
	go func() {
		defer close(over)
		c.tasks.Wait()
	}()
	select {
	case <-over:
	case <-time.After(patience):
		c.t.Fatal("connections do not end")
	}
	wrong := 0
	for i, m := range c.voices {
		if m.err == nil {
			continue
		}
		if wrong++; wrong <= mostTold {
			c.t.Errorf("connection %d: %v", i, m.err)
		}
	}
	if wrong > 0 {
		c.t.Errorf("%d of %d connections did not go well", wrong, len(c.voices))
	}
}

// mostTold is how many failures of many connections a test tells one by one.
const mostTold = 5

// stoodStill returns for how long each connection stood still because of what was done at these
// times, after it has ended. It is the longest time in which nothing came back, which the pace is
// part of.
func (c *chorus) stoodStill(done []time.Time) (all []time.Duration) {
	for i, from := range done {
		to := time.Now()
		if i+1 < len(done) {
			to = done[i+1]
		}
		for _, m := range c.voices {
			var longest time.Duration
			for _, s := range m.stood {
				if s.to.After(from) && s.from.Before(to) {
					longest = max(longest, s.to.Sub(s.from))
				}
			}
			all = append(all, longest)
		}
	}
	return all
}

// percentiles is the median, the 99th percentile and the worst of many measurements.
func percentiles(all []time.Duration) string {
	slices.Sort(all)
	at := func(percent int) time.Duration {
		return all[(len(all)-1)*percent/100].Round(time.Millisecond)
	}
	return fmt.Sprintf("median %v, p99 %v, max %v of %d", at(50), at(99), at(100), len(all))
}
