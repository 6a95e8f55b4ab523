//go:build unix

package test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

// pseudorandom returns an endless stream of bytes that look random, and are the same for the same
// seed.
func pseudorandom(seed uint64) io.Reader {
	var key [16]byte
	binary.BigEndian.PutUint64(key[:], seed)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has a good length
	}
	return cipher.StreamReader{S: cipher.NewCTR(block, make([]byte, aes.BlockSize)), R: zeros{}}
}

// stream returns the first bytes of a seed's stream.
func stream(seed uint64, size int64) io.Reader { return io.LimitReader(pseudorandom(seed), size) }

// zeros is an endless stream of zeros.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// digest is of a stream: how long it is, and its SHA-256.
type digest struct {
	size int64
	sum  [sha256.Size]byte
}

var digests sync.Map // of those that have been asked for, by seed and size

// digestOf returns the digest of the first bytes of a seed's stream.
func digestOf(seed uint64, size int64) digest {
	key := [2]uint64{seed, uint64(size)}
	if d, ok := digests.Load(key); ok {
		return d.(digest)
	}
	d, err := receiveStream(stream(seed, size))
	if err != nil {
		panic(err) // a cipher does not fail
	}
	digests.Store(key, d)
	return d
}

// sendStream writes the first bytes of a seed's stream to c.
func sendStream(c io.Writer, seed uint64, size int64) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{c}, stream(seed, size), make([]byte, streamBuffer))
	return err
}

const streamBuffer = 256 << 10

// receiveStream reads c to its end and returns what was received.
func receiveStream(c io.Reader) (digest, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(h, struct{ io.Reader }{c}, make([]byte, streamBuffer))
	return digest{n, [sha256.Size]byte(h.Sum(nil))}, err
}

// service listens, and serves each connection with handle until the test ends. It returns where.
// The service closes the connection when handle returns.
func service(t testing.TB, handle func(conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", anywhere)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, handle)
	return l.Addr().String()
}

// serve is service for a listener, which it closes.
func serve(t testing.TB, l net.Listener, handle func(conn)) {
	var (
		mu    sync.Mutex
		conns = make(map[net.Conn]struct{})
		tasks sync.WaitGroup
	)
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = struct{}{}
			mu.Unlock()
			tasks.Go(func() {
				defer c.Close()
				handle(c.(conn))
				mu.Lock()
				defer mu.Unlock()
				delete(conns, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		tasks.Wait()
	})
}

// echo sends back what it gets, and the end.
func echo(c conn) {
	_, _ = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 1<<10))
}

// named is a service that begins each connection with its name and then sends back what it gets.
func named(t testing.TB, name string) string {
	t.Helper()
	return service(t, func(c conn) {
		if _, err := io.WriteString(c, name); err == nil {
			echo(c)
		}
	})
}

// reaches connects to an inlet, and expects the service of that name behind it.
func reaches(t testing.TB, inlet, name string) conn {
	t.Helper()
	c, got := reached(t, inlet, len(name))
	if got != name {
		t.Fatalf("reached %q, want %q", got, name)
	}
	return c
}

// reached connects to an inlet, and returns the first n bytes of the service behind it.
func reached(t testing.TB, inlet string, n int) (conn, string) {
	t.Helper()
	c := dial(t, inlet)
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	return c, string(got)
}

// What the first byte of a connection asks of a mirror:
const (
	// it sends its own stream while it reads the client's; after the client's end, the sum of that
	askBoth  = 'b'
	askEnd   = 'e' // it ends its own direction at once; what it gets after that is in afterwards
	askSend  = 's' // it sends its own stream, and ends
	askEcho  = 'c' // it sends back what it gets
	askStall = 'n' // it reads nothing more until the test ends
	askReset = 'r' // it resets the connection
	askLate  = 'l' // it says what it got, so late after the client's end as halfClosedFor is
)

// The seeds of what a mirror and its client send.
const (
	fromMirror = 0xC1
	toMirror   = 0x5E
)

// mirror is a service for transfers of which both ends know every byte.
type mirror struct {
	address    string
	size       int64         // of its own stream
	afterwards chan digest   // what it got of those who asked for askEnd
	served     chan struct{} // a token for each connection that came in
	over       chan struct{} // closed when the test ends
}

const mostServed = 1 << 16 // connections of one mirror

func newMirror(t testing.TB, size int64) *mirror {
	t.Helper()
	m := &mirror{
		size: size, afterwards: make(chan digest, mostServed),
		served: make(chan struct{}, mostServed),
		over:   make(chan struct{}),
	}
	m.address = service(t, m.serve)
	t.Cleanup(func() { close(m.over) })
	return m
}

// unixMirror is a mirror that a process in any network reaches: a path has no network.
func (u person) unixMirror(size int64) *mirror {
	u.t.Helper()
	m := newMirror(u.t, size)
	path := u.home + "/service"
	listener, err := net.Listen("unix", path)
	if err != nil {
		u.t.Fatal(err)
	}
	serve(u.t, listener, m.serve)
	m.address = "unix:" + path
	return m
}

func (m *mirror) serve(c conn) {
	m.served <- struct{}{}
	ask := make([]byte, 1)
	if _, err := io.ReadFull(c, ask); err != nil {
		return
	}
	switch ask[0] {
	case askBoth:
		sent := make(chan error, 1)
		go func() { sent <- sendStream(c, fromMirror, m.size) }()
		got, err := receiveStream(c)
		if err == nil && <-sent == nil {
			_, _ = c.Write(got.sum[:])
		}
	case askEnd:
		_ = c.CloseWrite()
		if got, err := receiveStream(c); err == nil {
			m.afterwards <- got
		}
	case askSend:
		_ = sendStream(c, fromMirror, m.size)
	case askEcho:
		echo(c)
	case askStall:
		<-m.over
	case askLate:
		if got, err := receiveStream(c); err == nil {
			m.stays(halfClosedFor())
			_, _ = c.Write(got.sum[:])
		}
	case askReset:
		abandon(c)
	}
}

// Errors of transfers.
var (
	errFromMirror = errors.New("what the service sent has changed on the way")
	errToMirror   = errors.New("the service got something else than was sent")
)

// both sends as much as the mirror does, and gets that, at the same time; what the mirror has got
// it says after the half-close.
func (m *mirror) both(c conn) error {
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte{askBoth})
		if err == nil {
			err = sendStream(c, toMirror, m.size)
		}
		sent <- errors.Join(err, c.CloseWrite())
	}()
	got, err := receiveStream(io.LimitReader(c, m.size))
	if err != nil {
		return fmt.Errorf("after %d bytes from the service: %w", got.size, err)
	}
	if err := <-sent; err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	if got != digestOf(fromMirror, m.size) {
		return errFromMirror
	}
	sum, err := io.ReadAll(c)
	if want := digestOf(toMirror, m.size).sum; err != nil || !bytes.Equal(sum, want[:]) {
		return fmt.Errorf("%w: %x, %w", errToMirror, sum, err)
	}
	return c.Close()
}

// once is both on a connection of its own.
func (m *mirror) once(inlet string) error {
	c, err := dialWhere(inlet)
	if err != nil {
		return err
	}
	defer c.Close()
	return m.both(c)
}

// afterEnd lets the service end first, and sends size bytes after that.
func (m *mirror) afterEnd(c conn, size int64) error {
	if _, err := c.Write([]byte{askEnd}); err != nil {
		return err
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		return fmt.Errorf("the service's end arrives as %w", err)
	}
	if err := sendStream(c, toMirror, size); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	select {
	case got := <-m.afterwards:
		if got != digestOf(toMirror, size) {
			return errToMirror
		}
		return nil
	case <-time.After(patience):
		return errors.New("the client's end does not arrive")
	}
}

// halfClosedFor is how long a direction stays open when the other one has ended: with SP_FULL=1
// longer than anything that a network in between forgets after half a minute.
func halfClosedFor() time.Duration { return testenv.OfFull(time.Second, time.Minute) }

// stays returns after a while, or when the test ends.
func (m *mirror) stays(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.over:
	}
}

// late sends something and its end, and hears about it when a while has passed.
func (m *mirror) late(c conn) error {
	if _, err := c.Write([]byte{askLate}); err != nil {
		return err
	}
	if err := errors.Join(sendStream(c, toMirror, afterService), c.CloseWrite()); err != nil {
		return err
	}
	sum, err := io.ReadAll(c)
	if want := digestOf(toMirror, afterService).sum; err != nil || !bytes.Equal(sum, want[:]) {
		return fmt.Errorf("late: %w: %x, %w", errToMirror, sum, err)
	}
	return c.Close()
}

// lateAfterEnd lets the service end first, and sends something when a while has passed.
func (m *mirror) lateAfterEnd(c conn) error {
	if _, err := c.Write([]byte{askEnd}); err != nil {
		return err
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		return fmt.Errorf("the service's end arrives as %w", err)
	}
	m.stays(halfClosedFor())
	if err := errors.Join(sendStream(c, toMirror, afterService), c.CloseWrite()); err != nil {
		return err
	}
	select {
	case got := <-m.afterwards:
		if got != digestOf(toMirror, afterService) {
			return errToMirror
		}
		return nil
	case <-time.After(patience):
		return errors.New("the client's late end does not arrive")
	}
}

// receive gets the mirror's stream and its end.
func (m *mirror) receive(c conn) error {
	if _, err := c.Write([]byte{askSend}); err != nil {
		return err
	}
	got, err := receiveStream(c)
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", got.size, err)
	}
	if got != digestOf(fromMirror, m.size) {
		return errFromMirror
	}
	return nil
}

const (
	// what each transfer carries that goes on while something else is tested, each way
	meanwhile      = 1 << 20
	meanwhilePause = 50 * time.Millisecond // between two of them
)

// undisturbed keeps transfers going through an inlet, and one connection open, until the returned
// function is called. That fails the test unless all of it went well, and at least one transfer
// began and ended meanwhile.
func undisturbed(t *testing.T, inlet string, m *mirror) (check func()) {
	t.Helper()
	open := dial(t, inlet)
	send(t, open, string(askEcho))
	if err := echoes(open, "before"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		var err error
		for n := 0; err == nil && (n == 0 || ctx.Err() == nil); n++ {
			err = m.once(inlet)
			time.Sleep(meanwhilePause)
		}
		ended <- err
	}()
	t.Cleanup(stop)
	return func() {
		t.Helper()
		stop()
		if err := <-ended; err != nil {
			t.Error("a transfer meanwhile:", err)
		}
		_ = open.SetDeadline(time.Now().Add(patience))
		if err := echoes(open, "after"); err != nil {
			t.Error("the connection that was open all the time:", err)
		}
		if err := m.once(inlet); err != nil {
			t.Error("a transfer afterwards:", err)
		}
	}
}

// proxy is a TCP proxy in front of an address.
func proxy(t testing.TB, target string, config faultnet.ProxyConfig) *faultnet.ProxyServer {
	t.Helper()
	p, err := faultnet.Proxy(context.Background(), anywhere, target, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// programVariable has this test binary be one of programs, which listens at the address that
// whereVariable holds: a process can be killed, and has descriptors of its own.
const (
	programVariable = "SP_TEST_PROGRAM"
	whereVariable   = "SP_TEST_WHERE"
)

// programs are what a target may run in a process of its own.
var programs = map[string]func(conn){
	"echo": echo, "talk": answerTalkOrComplain, "steady": answerSteadyOrComplain,
}

func init() {
	if handle, ok := programs[os.Getenv(programVariable)]; ok {
		fatal(runProgram(os.Getenv(whereVariable), handle))
	}
}

// runProgram says where it listens, and serves connections until the process is killed.
func runProgram(where string, handle func(conn)) error {
	l, err := net.Listen("tcp", where)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			handle(c.(conn))
		}()
	}
}
