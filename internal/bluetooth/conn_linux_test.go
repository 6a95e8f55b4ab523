package bluetooth

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair returns a channel, and the socket at its other end: packets of Unix sockets stand for those
// of a radio.
func pair(t testing.TB, most int) (*Conn, *os.File) {
	t.Helper()
	const kind = unix.SOCK_SEQPACKET | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	fds, err := unix.Socketpair(unix.AF_UNIX, kind, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newConn(fds[0], most, At{}, At{})
	if err != nil {
		t.Fatal(err)
	}
	far := os.NewFile(uintptr(fds[1]), "far")
	t.Cleanup(func() { _, _ = c.Reset(), far.Close() })
	_ = errors.Join(c.SetDeadline(time.Now().Add(time.Minute)),
		far.SetDeadline(time.Now().Add(time.Minute)))
	return c, far
}

// packet is what a peer sends.
func packet(number uint32, text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, number), text...)
}

// What is written goes out in numbered packets that are as long as the other side takes them.
func TestPackets(t *testing.T) {
	c, far := pair(t, NumberSize+3)
	if n, err := c.Write([]byte("abcdefgh")); n != 8 || err != nil {
		t.Fatal(n, err)
	}
	b := make([]byte, 64)
	for i, want := range []string{"abc", "def", "gh"} {
		n, err := far.Read(b)
		if err != nil || !bytes.Equal(b[:n], packet(uint32(i), want)) {
			t.Errorf("packet %d is %x, %v", i, b[:n], err)
		}
	}
	for i, text := range []string{"hello ", "world"} {
		if _, err := far.Write(packet(uint32(i), text)); err != nil {
			t.Fatal(err)
		}
	}
	_ = far.Close() // which has nothing taken back
	got, err := io.ReadAll(readerOnly{c})
	if string(got) != "hello world" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// readerOnly reads a few bytes at a time.
type readerOnly struct{ c *Conn }

func (r readerOnly) Read(p []byte) (int, error) { return r.c.Read(p[:min(4, len(p))]) }

// What is no such channel ends it.
func TestWrongPackets(t *testing.T) {
	for name, test := range map[string]struct {
		packet []byte
		want   error
	}{
		"a gap":       {packet(2, "later"), errLost},
		"again":       {packet(0, "again"), errLost},
		"no data":     {packet(1, ""), errShort},
		"half a head": {[]byte{0, 0}, errShort},
		"too long":    {packet(1, string(make([]byte, MaxPacket))), errLong},
	} {
		c, far := pair(t, MaxPacket)
		for _, p := range [][]byte{packet(0, "first"), test.packet} {
			if _, err := far.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadAll(c); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newConnOf(t, NumberSize); err == nil {
		t.Error("a peer who takes no data is taken for one who does")
	}
}

func newConnOf(t *testing.T, most int) (*Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	return newConn(fds[0], most, At{}, At{})
}

// Close ends who reads, a deadline who writes, and nothing is kept for either.
func TestEnds(t *testing.T) {
	c, _ := pair(t, MaxPacket)
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		c.Linger()
		done <- err
	}()
	_ = c.SetWriteDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Write(make([]byte, 16<<20)) // which nobody reads
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing: %v", err)
	}
	_ = c.Close()
	if err := <-done; err == nil {
		t.Error("reading goes on")
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func FuzzPayload(f *testing.F) {
	f.Add(packet(0, "x"), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, number uint32) {
		got, err := payload(b, number)
		if err == nil && (!bytes.Equal(packet(number, string(got)), b) || len(got) == 0) {
			t.Errorf("%x of %x", got, b)
		}
	})
}

func FuzzAdapter(f *testing.F) {
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseAdapter(1, b)
		_, _ = isAnswer(readAdapter, commandComplete, b)
	})
}
