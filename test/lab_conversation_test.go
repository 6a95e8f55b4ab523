//go:build unix

package test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
)

// dialogue is what a conversation is like. Each side sends pieces that look random, and ends.
type dialogue struct {
	pieces    int           // each way; 0 is without end
	size      int           // of a piece
	pause     time.Duration // between two pieces
	endInTurn bool          // the target ends after the client has ended
}

// Times of conversations, of a quiet machine. Neither decides whether a test passes.
const (
	// how long a piece may take to arrive before the next one follows
	pieceTime   = 20 * time.Millisecond
	silenceTime = 500 * time.Millisecond // after which a side gives up
)

// conversation is one connection between client and target whose bytes both know beforehand. It
// fails the test when a side reads one wrong byte, or an end that the other one did not send or
// that comes before all that was sent.
type conversation struct {
	t        testing.TB
	what     string // is done to it
	up, down *speech
}

func newConversation(number uint64, what string, d dialogue, t testing.TB) *conversation {
	c := &conversation{t: t, what: what, up: newSpeech(2*number, d), down: newSpeech(2*number+1, d)}
	c.up.opening = binary.BigEndian.AppendUint64(nil, number)
	if d.endInTurn {
		c.down.endAfter = c.up
	}
	return c
}

// readNumber reads the beginning of what a client says: the conversation's number.
func readNumber(r io.Reader) (uint64, error) {
	var b [8]byte
	_, err := io.ReadFull(r, b[:])
	return binary.BigEndian.Uint64(b[:]), err
}

// speech is one direction of a conversation.
type speech struct {
	dialogue
	patience time.Duration // pieceTime of this machine
	silence  time.Duration // silenceTime of this machine
	seed     uint64
	opening  []byte // goes before the first piece, and is read by somebody else
	endAfter *speech

	received atomic.Int64
	arrived  chan struct{} // has something when received has grown
	ended    atomic.Bool   // by the one who speaks
	heard    chan struct{} // closed when the listener has heard all of it, and the end
}

func newSpeech(seed uint64, d dialogue) *speech {
	return &speech{
		dialogue: d, patience: unhurried(pieceTime), silence: unhurried(silenceTime),
		seed: seed, arrived: make(chan struct{}, 1), heard: make(chan struct{}),
	}
}

// endedWell tells whether both sides have heard everything and the end.
func (c *conversation) endedWell() bool { return c.up.wasHeard() && c.down.wasHeard() }

// untouchable tells whether a direction has ended well although a man in the middle has touched a
// message in it that is authenticated: any but the first, which is the opening message or the
// status.
func (c *conversation) untouchable(f faultnet.Fault) bool {
	s := c.up
	if f.Dir == faultnet.ServerToClient {
		s = c.down
	}
	return f.At > 0 && s.wasHeard()
}

func (s *speech) wasHeard() bool {
	select {
	case <-s.heard:
		return true
	default:
		return false
	}
}

// take is one side's part: it says mine and listens to theirs on c, which it closes.
func (c *conversation) take(tcp net.Conn, mine, theirs *speech) {
	conn := netio.Wrap(tcp) // a bare socket whose write was told of a reset reads an end
	var abandoned atomic.Bool
	abandon := func(err error) {
		if err != nil {
			abandoned.Store(true)
			// not closed: the other half would not know a reset from an end
			_ = conn.SetDeadline(time.Unix(1, 0))
		}
	}
	var speaking sync.WaitGroup
	speaking.Go(func() { abandon(mine.say(conn, &abandoned)) })
	abandon(c.listen(conn, theirs, &abandoned))
	speaking.Wait()
	if abandoned.Load() {
		_ = netio.Reset(conn)
	}
	_ = conn.Close()
}

// errAbandoned ends one half of a side's part after the other.
var errAbandoned = errors.New("the other half has failed")

// say sends s, piece by piece: so that pieces become messages of their own, each waits for the one
// before to arrive.
func (s *speech) say(conn netio.Conn, abandoned *atomic.Bool) error {
	words := pseudorandom(s.seed)
	piece := make([]byte, s.size)
	for i := 1; s.pieces == 0 || i <= s.pieces; i++ {
		_, _ = words.Read(piece)
		_ = conn.SetWriteDeadline(time.Now().Add(s.silence))
		if abandoned.Load() {
			return errAbandoned
		}
		if _, err := conn.Write(append(s.opening, piece...)); err != nil {
			return err
		}
		s.opening = nil
		s.await(int64(i * s.size))
		if s.pause > 0 {
			<-time.After(s.pause)
		}
	}
	if s.endAfter != nil {
		select {
		case <-s.endAfter.heard:
		case <-time.After(s.silence):
		}
	}
	s.ended.Store(true)
	return conn.CloseWrite()
}

// await waits until size bytes have arrived, for a short time.
func (s *speech) await(size int64) {
	timeout := time.After(s.patience)
	for s.received.Load() < size {
		select {
		case <-s.arrived:
		case <-timeout:
			return
		}
	}
}

// listen reads s to its end, or until nothing comes any more.
func (c *conversation) listen(conn netio.Conn, s *speech, abandoned *atomic.Bool) error {
	words := pseudorandom(s.seed)
	got, want := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(s.silence))
		if abandoned.Load() {
			return errAbandoned
		}
		n, err := conn.Read(got)
		_, _ = words.Read(want[:n])
		if !bytes.Equal(got[:n], want[:n]) {
			c.t.Errorf("%s: wrong bytes were read behind byte %d", c.what, s.received.Load())
		}
		if s.received.Add(int64(n)); n > 0 {
			select {
			case s.arrived <- struct{}{}:
			default:
			}
		}
		if err == io.EOF {
			return c.judgeEnd(s)
		}
		if err != nil {
			return err
		}
	}
}

// judgeEnd is called where the listener has read an end.
func (c *conversation) judgeEnd(s *speech) error {
	all := int64(s.pieces * s.size)
	switch {
	case !s.ended.Load():
		c.t.Errorf("%s: an end was read that was not sent, behind byte %d", c.what,
			s.received.Load())
	case s.received.Load() != all:
		c.t.Errorf("%s: the end was read behind %d bytes of %d", c.what, s.received.Load(), all)
	default:
		close(s.heard)
	}
	return nil
}
