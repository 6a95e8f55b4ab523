package faultnet

import (
	"bytes"
	"slices"
	"time"
)

// messageStage applies the faults that count messages, and hands what is left
// to the byteStage.
type messageStage struct {
	*script
	split  Splitter
	faults Plan   // not begun, in the order of their places
	index  int64  // of the next message
	buf    []byte // the beginning of that message

	held  []byte // messages that wait for the next one
	swaps Plan   // the faults that hold them
}

func (s *messageStage) feed(p []byte) {
	if s.idle() {
		s.bytes.feed(p)
		return
	}
	s.buf = append(s.buf, p...)
	rest := s.buf
	for {
		s.steerHere()
		n := s.next(rest)
		if n == 0 {
			break
		}
		s.message(slices.Clone(rest[:n]))
		s.index++
		rest = rest[n:]
	}
	s.buf = append(s.buf[:0], rest...)
	s.bytes.feed(nil)
	if s.idle() || len(s.buf) > maxHold {
		s.end()
	}
}

// idle reports whether no message fault is still to come.
func (s *messageStage) idle() bool { return s.over || len(s.faults) == 0 && len(s.swaps) == 0 }

// next returns the length of the first message of buf, 0 if it is not whole.
func (s *messageStage) next(buf []byte) int {
	if len(buf) == 0 || s.idle() {
		return 0
	}
	n := s.split(buf)
	if n < 0 || n > len(buf) {
		return 0
	}
	return n
}

// steerHere lets the faults that steer act whose place is before the next message.
func (s *messageStage) steerHere() {
	for len(s.faults) > 0 && s.faults[0].At == s.index && s.faults[0].steers() &&
		s.faults[0].Off == 0 {
		f := s.faults[0]
		s.faults = s.faults[1:]
		s.steer(f)
	}
}

// message applies to m, which it owns, the faults of its place.
func (s *messageStage) message(m []byte) {
	var stop *Fault // ends the direction inside m, or slows it from there
	times, swap := 1, false
	for len(s.faults) > 0 && s.faults[0].At == s.index {
		f := s.faults[0]
		s.faults = s.faults[1:]
		switch f.Kind {
		case Flip:
			m[f.within(len(m), len(m)-1)] ^= f.mask()
		case Truncate:
			m = m[:f.within(len(m), len(m)-1)]
		case Drop:
			times = 0
		case Duplicate:
			times *= 2
		case Reorder:
			swap = true
			s.swaps = append(s.swaps, f)
			continue // fires when it is swapped
		default:
			stop = &f
			continue
		}
		s.fired(f)
		if len(m) == 0 {
			times, m = 0, []byte{0} // a later Flip finds something to flip
		}
	}
	switch {
	case stop != nil:
		at := stop.within(len(m), len(m))
		s.bytes.feed(m[:at])
		s.steer(*stop)
		s.bytes.feed(m[at:])
		s.swapped()
	case swap:
		s.held = append(s.held, bytes.Repeat(m, times)...)
	default:
		s.bytes.feed(bytes.Repeat(m, times))
		s.swapped()
	}
}

// within returns Off as a place in a message of length bytes, limit at most.
func (f Fault) within(length, limit int) int64 {
	off := f.Off
	if off < 0 {
		off += int64(length)
	}
	return min(max(off, 0), int64(limit))
}

// swapped sends the messages that were held back, now that the next has gone.
func (s *messageStage) swapped() {
	if s.over {
		return
	}
	for _, f := range s.swaps {
		s.fired(f)
	}
	s.release()
}

func (s *messageStage) holding() time.Duration {
	if len(s.swaps) == 0 {
		return 0
	}
	return s.swaps[0].For
}

func (s *messageStage) release() {
	held := s.held
	s.held, s.swaps = nil, nil
	s.bytes.feed(held)
}

// end sends everything that was held back, and leaves nothing to do.
func (s *messageStage) end() {
	s.faults = nil
	s.release()
	buf := s.buf
	s.buf = nil
	s.bytes.feed(buf)
}
