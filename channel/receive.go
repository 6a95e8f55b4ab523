package channel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/secureportal/sp/internal/netio"
)

// What a Flow does with what arrives.

// Read implements net.Conn.
func (f *Flow) Read(p []byte) (int, error) {
	r := &f.receiving
	r.Lock()
	defer r.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if err := f.awaitLocked(); err != nil {
		return 0, err
	}
	return f.deliverLocked(p), nil
}

// ReadLazy implements netio.LazyReader.
func (f *Flow) ReadLazy(room netio.Room) (int, error) {
	r := &f.receiving
	r.Lock()
	defer r.Unlock()
	if err := f.awaitLocked(); err != nil {
		return 0, err
	}
	n := 0
	for _, b := range room.Acquire() {
		n += f.deliverLocked(b)
	}
	return n, nil
}

// deliverLocked copies opened data to p.
func (f *Flow) deliverLocked(p []byte) int {
	r := &f.receiving
	n := copy(p, r.data)
	if r.data = r.data[n:]; len(r.data) == 0 {
		r.in.Release()
	}
	return n
}

// awaitLocked returns when there is opened data, or the direction has ended.
func (f *Flow) awaitLocked() error {
	r := &f.receiving
	for len(r.data) == 0 {
		if r.ended {
			r.ended = false
			r.in.to = nil         // the link's again, soon
			f.endDirection(false) // only now: what was delivered before was in the input's buffer
		}
		if r.err != nil {
			return r.err
		}
		opened, err := f.openLocked(maxBody)
		if err == nil && !opened {
			err = f.fillLocked()
			if isTimeout(err) && f.isOpen() {
				return err
			}
			err = linkError(err)
		}
		if err != nil {
			f.receiveFailedLocked(err)
		}
	}
	return nil
}

// openLocked opens the next record, whose body has at most most bytes, if all of it has been read.
// It reports whether there was one.
func (f *Flow) openLocked(most int) (bool, error) {
	if f.lasting == nil {
		return f.openNextLocked(most)
	}
	opened, err := f.openLastingLocked(most)
	if r := &f.receiving; r.much {
		r.much = false
		f.Session().acknowledgeMuch()
	}
	return opened, err
}

// openLastingLocked is openLocked for a flow that outlives its links.
func (f *Flow) openLastingLocked(most int) (bool, error) {
	l := f.lasting
	l.opening.Lock()
	defer l.opening.Unlock()
	if f.carrier() != f.receiving.from || l.opening.held.Load() != nil {
		return false, nil // what is left of it is not for us, or may not be
	}
	return f.openNextLocked(most)
}

// openNextLocked is openLocked.
func (f *Flow) openNextLocked(most int) (bool, error) {
	r := &f.receiving
	body, err := r.in.record(most)
	if body == nil || err != nil {
		return false, err
	}
	t, data, err := r.cipher.open(body)
	if err != nil {
		return false, err
	}
	f.prove()
	if f.lasting != nil {
		r.much = f.lasting.openedLocked(f, t, len(data))
	}
	switch t {
	case typeData:
		r.data = data
	case typeEnd:
		if len(data) != 0 {
			return false, fmt.Errorf("%w: end of %d bytes", ErrProtocol, len(data))
		}
		r.err, r.ended = io.EOF, true
		r.cipher = cipherHalf{} // as in sendEndLocked
	case typeAbort:
		if len(data) != 1 {
			return false, fmt.Errorf("%w: abort of %d bytes", ErrProtocol, len(data))
		}
		return false, abortReason(data[0]).err()
	case typeResume:
		if r.opener == nil || len(data) != requestSize {
			return false, fmt.Errorf("%w: resume of %d bytes out of place", ErrProtocol, len(data))
		}
		r.opener.request = bytes.Clone(data)
	default:
		return false, fmt.Errorf("%w: record of type %d in a flow", ErrProtocol, t)
	}
	return true, nil
}

// receiveFailedLocked makes err permanent and ends the flow.
func (f *Flow) receiveFailedLocked(err error) {
	if l, ok := f.carrier().(*link); ok && errors.Is(err, ErrCut) {
		l.pool.lose(l, f, f.Session().quiet)
	}
	err = f.explain(err)
	f.receiving.err = err
	if errors.Is(err, ErrForged) || errors.Is(err, ErrProtocol) {
		f.abort(abortProtocol, err)
	} else {
		f.shut(err)
	}
}

// WriteTo implements io.WriterTo: it writes to dst whatever arrives, several records with one call
// where several have arrived, and holds no memory while nothing does. It returns nil at the end
// that the other end sent.
func (f *Flow) WriteTo(dst io.Writer) (int64, error) {
	r := &f.receiving
	r.Lock()
	defer r.Unlock()
	if r.err == nil {
		r.in.to = dst
	}
	var total int64
	for {
		err := f.awaitLocked()
		if err == io.EOF {
			return total, nil
		}
		var n int64
		if err == nil {
			n, err = f.writeOpenedLocked(dst)
			total += n
		}
		if err != nil {
			r.in.to = nil
			return total, err
		}
	}
}

// maxSegments is how many records go to the application with one call.
const maxSegments = 64

// writeOpenedLocked writes the opened data, and that of the records that have been read as well, to
// dst.
func (f *Flow) writeOpenedLocked(dst io.Writer) (int64, error) {
	r := &f.receiving
	first := r.data
	r.data = nil
	if !f.openMoreLocked() {
		n, err := dst.Write(first)
		return int64(n), netio.ToDestination(err)
	}
	s := segmentsPool.Get().(*segments)
	defer s.free()
	s.all = append(s.all, first, r.data)
	r.data = nil
	for len(s.all) < maxSegments && f.openMoreLocked() {
		s.all = append(s.all, r.data)
		r.data = nil
	}
	s.left = s.all
	n, err := netio.WriteBuffers(dst, &s.left)
	return n, netio.ToDestination(err)
}

// openMoreLocked opens the next data that has been read. It reports whether there was some.
func (f *Flow) openMoreLocked() bool {
	r := &f.receiving
	for r.err == nil && len(r.data) == 0 {
		opened, err := f.openLocked(maxBody)
		if err != nil {
			f.receiveFailedLocked(err) // after what came before it
		}
		if !opened {
			break
		}
	}
	return len(r.data) > 0
}

// segments are the data of several records, for one system call. A flow holds them no longer than
// that takes.
type segments struct {
	all  [][]byte
	left net.Buffers // of all, while it is being written
}

var segmentsPool = sync.Pool{New: func() any { return new(segments) }}

func (s *segments) free() {
	clear(s.all)
	s.all, s.left = s.all[:0], nil
	segmentsPool.Put(s)
}

// Quiet implements netio.Quieter.
func (f *Flow) Quiet() bool {
	r := &f.receiving
	if !r.TryLock() {
		return true // whoever reads, waits or will tell
	}
	defer r.Unlock()
	return r.err == nil && len(r.data) == 0 && f.isOpen() && r.in.empty() && f.carrier().Quiet()
}
