package faultnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// stream is one direction of a pipe: a bounded buffer with a writer, a reader
// and an end. Everything is guarded by mu; cond is told of each change.
type stream struct {
	mu    sync.Mutex
	cond  sync.Cond
	limit int
	buf   []byte // buf[taken:] is what waits
	taken int

	fin    bool // the writer writes no more
	rst    bool // either side was reset
	reader side
	writer side
}

// side is what one of the two users of a stream has asked for.
type side struct {
	closed bool
	late   bool        // the deadline has passed
	timer  *time.Timer // the deadline to come
}

func newStream(limit int) *stream {
	s := &stream{limit: max(limit, 1)}
	s.cond.L = &s.mu
	return s
}

func (s *stream) waiting() int { return len(s.buf) - s.taken }

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.reader.err(); err != nil {
			return 0, err
		}
		switch {
		case len(p) == 0:
			return 0, nil
		case s.waiting() > 0:
			return s.take(p), nil
		case s.rst:
			return 0, syscall.ECONNRESET
		case s.fin:
			return 0, io.EOF
		}
		s.cond.Wait()
	}
}

func (s *stream) take(p []byte) int {
	n := copy(p, s.buf[s.taken:])
	if s.taken += n; s.taken == len(s.buf) {
		s.buf, s.taken = s.buf[:0], 0
	}
	s.cond.Broadcast()
	return n
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.writeErr(); err != nil {
			return n, err
		}
		if n == len(p) {
			return n, nil
		}
		if room := s.limit - s.waiting(); room > 0 {
			n += s.put(p[n:min(len(p), n+room)])
			if n == len(p) {
				return n, nil
			}
			continue
		}
		s.cond.Wait()
	}
}

func (s *stream) put(p []byte) int {
	if len(s.buf)+len(p) > cap(s.buf) && s.taken > 0 {
		s.buf, s.taken = s.buf[:copy(s.buf, s.buf[s.taken:])], 0
	}
	s.buf = append(s.buf, p...)
	s.cond.Broadcast()
	return len(p)
}

func (s *stream) writeErr() error {
	if err := s.writer.err(); err != nil {
		return err
	}
	switch {
	case s.rst:
		return syscall.ECONNRESET
	case s.fin, s.reader.closed:
		return syscall.EPIPE
	}
	return nil
}

// finish is the writer's half-close.
func (s *stream) finish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer.closed {
		return net.ErrClosed
	}
	s.fin = true
	s.cond.Broadcast()
	return nil
}

// stopWriter has writes fail from now on. closeWriter says the rest.
func (s *stream) stopWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writer.close()
}

func (s *stream) closeWriter(reset bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fin = true
	s.rst = s.rst || reset
	s.writer.close()
	s.cond.Broadcast()
}

// closeReader reports whether that resets the connection: because it is asked
// for, or because something is left unread.
func (s *stream) closeReader(abort bool) (reset bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader.closed {
		return false, net.ErrClosed
	}
	s.reader.close()
	reset = abort || s.waiting() > 0
	s.rst = s.rst || reset
	s.cond.Broadcast()
	return reset, nil
}

// waitReset waits for the reader to be reset, closed or late.
func (s *stream) waitReset() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.rst && s.reader.err() == nil {
		s.cond.Wait()
	}
	return s.rst
}

// setDeadline sets the deadline of one of the stream's two sides.
func (s *stream) setDeadline(of *side, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of.closed {
		return net.ErrClosed
	}
	if of.timer != nil {
		of.timer.Stop()
		of.timer = nil
	}
	of.late = !t.IsZero() && time.Until(t) <= 0
	if !t.IsZero() && !of.late {
		of.timer = s.after(of, time.Until(t))
	}
	s.cond.Broadcast()
	return nil
}

// after makes the side late when d has passed, unless its timer was replaced. s.mu is held.
func (s *stream) after(of *side, d time.Duration) *time.Timer {
	var own *time.Timer
	own = time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if of.timer == own {
			of.late = true
			s.cond.Broadcast()
		}
	})
	return own
}

func (d *side) err() error {
	switch {
	case d.closed:
		return net.ErrClosed
	case d.late:
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (d *side) close() {
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
