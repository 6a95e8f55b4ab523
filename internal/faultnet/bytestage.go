package faultnet

import "time"

// byteStage applies the faults that count bytes.
type byteStage struct {
	*script
	faults Plan  // not begun, in the order of their places
	pos    int64 // bytes that went in
	active *Fault
	left   int64  // bytes the active fault still wants
	held   []byte // what Duplicate repeats and Reorder swaps
}

func (s *byteStage) feed(p []byte) {
	for !s.over {
		s.steerHere()
		if len(p) == 0 || s.over {
			return
		}
		n := s.take(p)
		s.pos += int64(n)
		p = p[n:]
	}
}

// steerHere lets the faults that steer act whose place has been reached.
func (s *byteStage) steerHere() {
	for s.active == nil && len(s.faults) > 0 && s.faults[0].At == s.pos && s.faults[0].steers() {
		f := s.faults[0]
		s.faults = s.faults[1:]
		s.steer(f)
	}
}

// take handles some bytes, one at least, from the front of p.
func (s *byteStage) take(p []byte) int {
	if s.active == nil && len(s.faults) > 0 && s.faults[0].At == s.pos {
		s.active, s.left = &s.faults[0], s.faults[0].span()
		s.faults = s.faults[1:]
	}
	switch {
	case s.active != nil:
		p = p[:min(int64(len(p)), s.left)]
		s.harm(p)
	case len(s.faults) > 0:
		p = p[:min(int64(len(p)), s.faults[0].At-s.pos)]
		s.pass(p)
	default:
		s.pass(p)
	}
	return len(p)
}

// harm does to p, which lies within the active fault, what the fault says.
func (s *byteStage) harm(p []byte) {
	f := *s.active
	first, last := s.left == f.span(), s.left == int64(len(p))
	s.left -= int64(len(p))
	if f.Kind == Drop && first || f.Kind != Drop && last {
		s.fired(f) // before anybody can see it
	}
	switch f.Kind {
	case Flip:
		p[0] ^= f.mask()
		s.pass(p)
	case Duplicate:
		s.held = append(s.held, p...)
		s.pass(p)
	case Reorder:
		s.held = append(s.held, p...)
	}
	if last {
		s.finish(f)
	}
}

// finish sends what the fault that has all its bytes still owes.
func (s *byteStage) finish(f Fault) {
	switch f.Kind {
	case Duplicate:
		s.pass(s.held)
	case Reorder:
		s.pass(s.held[f.length():])
		s.pass(s.held[:f.length()])
	}
	s.active, s.held = nil, nil
}

func (s *byteStage) holding() time.Duration {
	if s.active == nil || s.active.Kind != Reorder {
		return 0
	}
	return s.active.For
}

func (s *byteStage) release() {
	if s.active == nil || s.active.Kind != Reorder {
		return
	}
	s.pass(s.held)
	s.active, s.held = nil, nil
}
