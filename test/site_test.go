//go:build unix

package test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// site is a service that is reached through an inlet and an outlet. The test is the client and the service:
//
//	client ─▶ sp inlet ─▶ sp outlet ─▶ target
type site struct {
	person
	target  *net.TCPListener
	outlet  *process
	inlet   *process
	printed string // what the outlet printed
	address string // what the inlet printed
}

// newSite starts an outlet and an inlet, with more flags for both.
func newSite(t testing.TB, flags ...string) *site {
	t.Helper()
	s := newOutlet(t, flags...)
	s.connect(s.route(), flags...)
	return s
}

// newOutlet starts an outlet only.
func newOutlet(t testing.TB, flags ...string) *site {
	t.Helper()
	s := &site{person: newPerson(t), target: listen(t)}
	s.outlet = s.start(append([]string{"outlet", "--listen", "127.0.0.1:0", "--target", s.target.Addr().String()}, flags...)...)
	s.printed = ready(t, s.outlet)
	return s
}

// connect starts the inlet and waits until it is ready.
func (s *site) connect(route string, flags ...string) {
	s.t.Helper()
	s.inlet = s.start(append([]string{"inlet", "--listen", "127.0.0.1:0", "--to", route}, flags...)...)
	s.address = ready(s.t, s.inlet)
}

// route returns the outlet's route, as it printed it.
func (s *site) route() string { return s.word("--to") }

// word returns the word behind a flag in the command that the outlet printed.
func (s *site) word(flag string) string {
	s.t.Helper()
	words := strings.Fields(s.printed)
	for i, word := range words[:len(words)-1] {
		if word == flag {
			return words[i+1]
		}
	}
	s.t.Fatalf("no %s in %q", flag, s.printed)
	return ""
}

// open opens a connection through the portal and returns its two ends.
func (s *site) open() (client, target *net.TCPConn) {
	s.t.Helper()
	client = s.dial()
	return client, s.accept()
}

func (s *site) dial() *net.TCPConn {
	s.t.Helper()
	return dial(s.t, s.address)
}

// resets connects, and expects a reset: soon, or at once.
func (s *site) resets() {
	s.t.Helper()
	client, err := dialTCP(s.address)
	switch {
	case err == nil:
		receivesReset(s.t, bounded(s.t, client))
	case !errors.Is(err, syscall.ECONNRESET):
		s.t.Fatal(err)
	}
}

func (s *site) accept() *net.TCPConn {
	s.t.Helper()
	_ = s.target.SetDeadline(time.Now().Add(soon))
	c, err := s.target.AcceptTCP()
	if err != nil {
		s.t.Fatal(err)
	}
	return bounded(s.t, c)
}

// untouched fails the test if somebody has connected to the target.
func (s *site) untouched() {
	s.t.Helper()
	raw, err := s.target.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		if c, _, err := syscall.Accept(int(fd)); err == nil {
			_ = syscall.Close(c)
			s.t.Error("the target has seen a connection")
		}
	})
}

// listen listens on a free port until the test ends.
func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

// dial connects, and closes the connection when the test ends.
func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, soon)
	if err != nil {
		t.Fatal(err)
	}
	return bounded(t, c.(*net.TCPConn))
}

// bounded gives c a deadline that only a failing test meets, and closes it when the test ends.
func bounded(t testing.TB, c *net.TCPConn) *net.TCPConn {
	_ = c.SetDeadline(time.Now().Add(2 * soon))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// freeAddress returns an address on which nobody listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// reset closes c so that the other end gets a reset.
func reset(t testing.TB, c *net.TCPConn) {
	t.Helper()
	if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
		t.Fatal(err)
	}
}

// halfClose ends c's sending direction.
func halfClose(t testing.TB, c *net.TCPConn) {
	t.Helper()
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// send writes text.
func send(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// receives reads exactly text.
func receives(t testing.TB, c net.Conn, text string) {
	t.Helper()
	b := make([]byte, len(text))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Fatalf("read %q, %v, want %q", b[:n], err, text)
	}
}

// receivesEnd reads the end, and nothing before it.
func receivesEnd(t testing.TB, c net.Conn) {
	t.Helper()
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
		t.Fatalf("read %d bytes, %v, want the end", len(b), err)
	}
}

// receivesReset reads until c is reset.
func receivesReset(t testing.TB, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the connection ended with %v, want a reset", err)
	}
}

// pseudorandom returns an endless stream of bytes that look random, and are the same for the same seed.
func pseudorandom(seed uint64) io.Reader {
	var key [16]byte
	binary.BigEndian.PutUint64(key[:], seed)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has a good length
	}
	return cipher.StreamReader{S: cipher.NewCTR(block, make([]byte, aes.BlockSize)), R: labZeros{}}
}

// digest is of a stream: how long it is, and its SHA-256.
type digest struct {
	size int64
	sum  [sha256.Size]byte
}

// sendStream writes size bytes of a seed's stream to c, ends that direction, and returns what was sent.
func sendStream(c *net.TCPConn, seed uint64, size int64) (digest, error) {
	h := sha256.New()
	buffer := make([]byte, 256<<10)
	source := io.TeeReader(io.LimitReader(pseudorandom(seed), size), h)
	n, err := io.CopyBuffer(struct{ io.Writer }{c}, source, buffer)
	if err == nil {
		err = c.CloseWrite()
	}
	return digest{n, [sha256.Size]byte(h.Sum(nil))}, err
}

// receiveStream reads c to its end and returns what was received.
func receiveStream(c *net.TCPConn) (digest, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(h, struct{ io.Reader }{c}, make([]byte, 256<<10))
	return digest{n, [sha256.Size]byte(h.Sum(nil))}, err
}

// dialTCP connects, within soon.
func dialTCP(address string) (*net.TCPConn, error) {
	c, err := net.DialTimeout("tcp", address, soon)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// hostPortOf returns the short form of a route that begins with /ip4/HOST/tcp/PORT, and the route itself if it does not.
func hostPortOf(long string) string {
	words := strings.Split(long, "/")
	if len(words) < 5 || words[1] != "ip4" || words[3] != "tcp" {
		return long
	}
	return net.JoinHostPort(words[2], words[4])
}
