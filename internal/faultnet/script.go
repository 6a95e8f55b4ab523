package faultnet

import "time"

// act is one thing a script wants done, in the order of the stream: pass the
// bytes of data on (fault is nil), or do what a fault that steers says.
type act struct {
	data  []byte
	fault *Fault
}

// script is the plan of one direction at work: bytes go in as they come, acts
// come out. It knows no conn and no clock, and what comes out does not depend
// on how the bytes were grouped when they went in.
//
//	feed ──▶ messageStage ──▶ byteStage ──▶ out
type script struct {
	messages messageStage
	bytes    byteStage
	out      func(act)
	fired    func(Fault)
	over     bool // a fault has ended the direction: nothing more comes out
}

func newScript(p Plan, dir Direction, split Splitter, out func(act), fired func(Fault)) *script {
	s := &script{out: out, fired: fired}
	s.messages = messageStage{script: s, split: split, faults: p.pick(dir, Message)}
	s.bytes = byteStage{script: s, faults: p.pick(dir, Byte)}
	return s
}

// feed takes the next bytes; nil lets faults at the very start act. It may
// change p, and what it passes on is valid only during the call of out.
func (s *script) feed(p []byte) { s.messages.feed(p) }

// end takes the end of the stream: what was held back comes out as it is.
func (s *script) end() {
	s.messages.end()
	s.bytes.release()
}

// holding returns how long bytes that are held back may wait for what they are
// to be swapped with; 0 means there are none, or they may wait forever.
func (s *script) holding() time.Duration {
	if d := s.messages.holding(); d > 0 {
		return d
	}
	return s.bytes.holding()
}

// release gives up waiting: what was held back for a swap comes out as it is.
func (s *script) release() {
	s.messages.release()
	s.bytes.release()
}

func (s *script) pass(p []byte) {
	if len(p) > 0 && !s.over {
		s.out(act{data: p})
	}
}

func (s *script) steer(f Fault) {
	if s.over {
		return
	}
	s.over = f.ends()
	s.fired(f)
	s.out(act{fault: &f})
}
