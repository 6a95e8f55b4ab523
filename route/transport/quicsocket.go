package transport

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	// refusedTimes and refusedFor are how often, and over which time, the other side's system must
	// have said that nobody is there any more, while nothing came from him, to be believed: anybody
	// can say so who guesses two ports, but not keep the other one from answering.
	refusedTimes = 3
	refusedFor   = 500 * time.Millisecond
)

// quicSocket is a UDP socket as QUIC is to see it: what cannot be sent just now is lost, as on any
// line, and the connection goes on. It is safe for concurrent use.
type quicSocket struct {
	*net.UDPConn
	batch *ipv4.PacketConn
	began time.Time

	// toOne is set on a socket that sends to one address, which may refuse what is sent.
	toOne bool

	open    atomic.Bool  // the handshake is done: a refusal is not believed at once any more
	heard   atomic.Int64 // when something last came, in nanoseconds since began
	awaited atomic.Bool  // somebody waits for that

	mu     sync.Mutex    // guards what follows
	coming chan struct{} // closed when something comes; nil if nobody waits
	times  int           // refusals since something last came
	since  time.Time     // the first of them
}

func newQUICSocket(c *net.UDPConn, toOne bool) *quicSocket {
	s := &quicSocket{UDPConn: c, batch: ipv4.NewPacketConn(c), began: time.Now(), toOne: toOne}
	if toOne {
		tellRefusals(c)
	}
	return s
}

// ReadBatch is what QUIC reads with where the system can. Only an error that stays ends it.
func (s *quicSocket) ReadBatch(messages []ipv4.Message, flags int) (n int, err error) {
	for {
		n, err = s.batch.ReadBatch(messages, flags)
		if s.goesOn(err) {
			continue
		}
		return n, err
	}
}

// ReadFrom implements net.PacketConn, for other systems.
func (s *quicSocket) ReadFrom(p []byte) (n int, from net.Addr, err error) {
	for {
		n, from, err = s.UDPConn.ReadFrom(p)
		if s.goesOn(err) {
			continue
		}
		return n, from, err
	}
}

// goesOn takes note of what has come of a read, and tells whether to read again.
func (s *quicSocket) goesOn(err error) bool {
	switch {
	case err == nil:
		s.hear()
		return false
	case !isOneOf(err, fromAfar):
		return false
	case s.toOne && isOneOf(err, refusals):
		forgetRefusals(s.UDPConn)
		return !s.isGone(time.Now())
	}
	forgetRefusals(s.UDPConn)
	return s.open.Load() || !s.toOne
}

// hear takes note that something has come.
func (s *quicSocket) hear() {
	s.heard.Store(int64(time.Since(s.began)))
	if !s.awaited.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.coming != nil {
		close(s.coming)
		s.coming = nil
	}
	s.times = 0
	s.awaited.Store(false)
}

// isGone takes note of a refusal, and tells whether it is to be believed.
func (s *quicSocket) isGone(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open.Load() {
		return true
	}
	if s.times == 0 {
		s.since = now
	}
	s.times++
	s.awaited.Store(true)
	return s.times >= refusedTimes && now.Sub(s.since) >= refusedFor
}

// quietFor returns for how long nothing has come.
func (s *quicSocket) quietFor() time.Duration {
	return time.Since(s.began) - time.Duration(s.heard.Load())
}

// next returns what is closed when something comes.
func (s *quicSocket) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.coming == nil {
		s.coming = make(chan struct{})
	}
	s.awaited.Store(true)
	return s.coming
}

// WriteMsgUDP is what QUIC writes with where the system can.
func (s *quicSocket) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = s.UDPConn.WriteMsgUDP(b, oob, to)
	if isOneOf(err, refusals) { // of what was sent before
		if !s.goesOn(err) {
			return n, oobn, err
		}
		n, oobn, err = s.UDPConn.WriteMsgUDP(b, oob, to)
	}
	if err != nil && s.loses(err) {
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// WriteTo implements net.PacketConn, for other systems.
func (s *quicSocket) WriteTo(b []byte, to net.Addr) (n int, err error) {
	n, err = s.UDPConn.WriteTo(b, to)
	if err != nil && s.loses(err) {
		return len(b), nil
	}
	return n, err
}

// loses tells whether what could not be sent is lost, and no more: the network may be another one
// in a moment. While the connection is being made, whoever waits for it learns why it is not.
func (s *quicSocket) loses(err error) bool {
	if isOneOf(err, tooLarge) { // by which QUIC finds out what the line takes
		return false
	}
	return (isOneOf(err, fromAfar) || isOneOf(err, ofHere)) && (s.open.Load() || !s.toOne)
}

var tooLarge = []syscall.Errno{syscall.EMSGSIZE, syscall.Errno(10040)}

// fromAfar are the errors by which a system passes on, once, what somebody on the way has said.
var fromAfar = []syscall.Errno{
	syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ENETUNREACH, syscall.EHOSTUNREACH,
	syscall.EHOSTDOWN, syscall.EACCES, syscall.ENOPROTOOPT, syscall.EMSGSIZE,
	wsaReset, wsaNetReset, wsaNetUnreachable, wsaHostUnreachable,
}

// ofHere are the errors by which a system, or a filter in it, does not let something out just now.
var ofHere = []syscall.Errno{
	syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.EPERM, syscall.EINVAL,
	syscall.ENODEV,
}

// What Windows says for some of them.
const (
	wsaNetUnreachable  = syscall.Errno(10051)
	wsaNetReset        = syscall.Errno(10052)
	wsaReset           = syscall.Errno(10054)
	wsaHostUnreachable = syscall.Errno(10065)
)

func isOneOf(err error, all []syscall.Errno) bool {
	var number syscall.Errno
	return errors.As(err, &number) && slices.Contains(all, number)
}

// refusals are the errors that say that nobody has the port that something was sent to.
var refusals = []syscall.Errno{syscall.ECONNREFUSED, wsaReset}
