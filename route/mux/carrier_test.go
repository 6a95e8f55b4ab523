package mux

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
)

// bare is a carrier that can do no more than it has to: no half-close, no address.
type bare struct{ conn net.Conn }

func (b bare) Read(p []byte) (int, error)          { return b.conn.Read(p) }
func (b bare) Write(p []byte) (int, error)         { return b.conn.Write(p) }
func (b bare) Close() error                        { return b.conn.Close() }
func (b bare) SetWriteDeadline(at time.Time) error { return b.conn.SetWriteDeadline(at) }

// A carrier that has no half-close carries links that have one, and ends when a side finishes.
func TestCarrierWithoutHalfClose(t *testing.T) {
	here, there := net.Pipe()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	config := Config{Run: func(f func()) bool { tasks.Go(f); return true }}
	opener, err := NewOpener(bare{here}, config)
	if err != nil {
		t.Fatal(err)
	}
	defer opener.Close()
	acceptor, err := NewAcceptor(bare{there}, config)
	if err != nil {
		t.Fatal(err)
	}
	defer acceptor.Close()
	near, err := opener.Open()
	if err != nil {
		t.Fatal(err)
	}
	far, err := acceptor.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if near.RemoteAddr() == nil || far.LocalAddr() == nil {
		t.Error("a link has no address at all")
	}
	testkit.Write(t, near, "question")
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(far); string(got) != "question" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	testkit.Write(t, far, "answer")
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(near); string(got) != "answer" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := acceptor.Finish(); err != nil {
		t.Errorf("Finish: %v", err)
	}
	testkit.Within(t, opener.Done(), "the end of the mux on the other side")
}

// slow is a carrier that has not sent so many bytes.
type slow struct {
	Carrier
	unsent int
}

func (s slow) Unsent() int { return s.unsent }

// Each link tells what the carrier has not sent, for that goes in front of what it writes.
func TestUnsent(t *testing.T) {
	here, there := faultnet.Pipe()
	near, _ := link(t, side(t, slow{here, 4711}, NewOpener, Config{}),
		side(t, there, NewAcceptor, Config{}))
	if n := netio.Unsent(near); n != 4711 {
		t.Errorf("a link tells of %d bytes", n)
	}
}
