package transport

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/secureportal/sp/internal/tokenbucket"
	"github.com/secureportal/sp/route/admission"
)

const (
	// strangersUnproved is how many handshakes may go on with who has not shown yet that he is where
	// he says: from then on, everybody has to, which takes a round trip (Retry).
	strangersUnproved = 64
	strangersRate     = 64 // of those, a second

	// strangersMost is how many may go on with others, strangersPerSource with one source of those,
	// and strangersKept how many of them are for sources that have fewer than strangersFew.
	strangersMost      = 512
	strangersPerSource = 128
	strangersKept      = strangersMost / 4
	strangersFew       = 4
)

// strangers counts the handshakes of QUIC that go on at one socket. Who has done his is a link's
// dialer like any other, to whom the node gives a slot. It is safe for concurrent use.
type strangers struct {
	mu       sync.Mutex                // guards what follows
	admit    func(peer net.Addr) error // of the node that listens; nil lets all be
	unproved int
	rate     tokenbucket.Bucket // of the unproved
	proved   int
	by       map[admission.Source]int
}

func newStrangers() *strangers { return &strangers{by: make(map[admission.Source]int)} }

// admitBy has a node say for whom what a handshake takes is computed. It is asked of those who have
// proved where they are: others may say that they are somebody else.
func (s *strangers) admitBy(admit func(peer net.Addr) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admit = admit
}

// mustProve tells whether somebody has to show that he is where he says, and counts him if not.
func (s *strangers) mustProve(net.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	const rate = strangersRate
	return s.unproved >= strangersUnproved ||
		!s.rate.Take(tokenbucket.Rate{PerSecond: rate, Burst: rate}, time.Now())
}

var errTooManyStrangers = errors.New("too many handshakes")

// strangerKey is under which a context has what its connection is counted by.
type strangerKey struct{}

// enter counts a handshake, until stopWaiting, or the end of ctx.
func (s *strangers) enter(ctx context.Context, who *quic.ClientInfo) (context.Context, error) {
	from := sourceOfUDP(who.RemoteAddr)
	s.mu.Lock()
	admit := s.admit
	s.mu.Unlock()
	if admit != nil && who.AddrVerified {
		if err := admit(urlAddr{Addr: who.RemoteAddr, scheme: "quic"}); err != nil {
			return nil, err
		}
	}
	if !s.count(from, who.AddrVerified) {
		return nil, errTooManyStrangers
	}
	leave := sync.OnceFunc(func() { s.leave(from, who.AddrVerified) })
	context.AfterFunc(ctx, leave)
	return context.WithValue(ctx, strangerKey{}, leave), nil
}

// stopWaiting is the end of a handshake that has been done.
func stopWaiting(c *quic.Conn) {
	if leave, ok := c.Context().Value(strangerKey{}).(func()); ok {
		leave()
	}
}

func (s *strangers) count(from admission.Source, proved bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !proved {
		if s.unproved >= strangersUnproved {
			return false
		}
		s.unproved++
		return true
	}
	most := strangersMost
	if s.by[from] >= strangersFew {
		most -= strangersKept
	}
	if s.proved >= most || s.by[from] >= strangersPerSource {
		return false
	}
	s.proved++
	s.by[from]++
	return true
}

func (s *strangers) leave(from admission.Source, proved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !proved {
		s.unproved--
		return
	}
	s.proved--
	if s.by[from]--; s.by[from] == 0 {
		delete(s.by, from)
	}
}
