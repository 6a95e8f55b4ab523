package channel

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/secureportal/sp/internal/netio"
)

// What a Flow does with what is to be sent.

// Write implements net.Conn. Writing nothing tells the far end of a flow that it does not know of
// yet.
func (f *Flow) Write(p []byte) (int, error) {
	s := &f.sending
	f.lockSending()
	defer s.Unlock()
	total := 0
	for {
		if err := f.sendableLocked(); err != nil {
			return total, err
		}
		if len(p) == 0 {
			return 0, f.introduceLocked()
		}
		if err := f.awaitRoomLocked(); err != nil {
			return total, err
		}
		var out output
		n := copyIn(out.begin(s.hello, f.mostNow(len(p)-total)), p[total:])
		err := f.sendLocked(&out, n)
		out.Release()
		if err != nil {
			return total, err
		}
		if total += n; total == len(p) {
			return total, nil
		}
	}
}

// ReadFrom implements io.ReaderFrom: it sends whatever src gives until src ends, reading straight
// into records, and holds no memory while src has nothing. It does not end the direction. An error
// is src's, unless Err says otherwise.
func (f *Flow) ReadFrom(src io.Reader) (int64, error) {
	s := &f.sending
	if _, err := f.Write(nil); err != nil {
		return 0, netio.ToDestination(err)
	}
	out := output{to: f}
	defer out.Release()
	var total int64
	for {
		n, err := netio.ReadLazy(src, &out)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		if out.short {
			f.AwaitTakes()
		}
		f.lockSending()
		if err = f.sendableLocked(); err == nil {
			err = f.awaitRoomLocked()
		}
		if err == nil {
			err = f.sendLocked(&out, n)
		}
		s.Unlock()
		if err != nil {
			return total, netio.ToDestination(err)
		}
		total += int64(n)
		out.fit(n)
	}
}

// introduceLocked sends a new flow's hello. The far end believes it only with a record, so an empty
// one goes with it.
func (f *Flow) introduceLocked() error {
	if f.sending.hello == nil {
		return nil
	}
	return f.sendRecordLocked(typeData)
}

// sendableLocked fails if the direction has ended.
func (f *Flow) sendableLocked() error {
	switch {
	case f.sending.err != nil:
		return f.sending.err
	case f.sending.ended:
		return fmt.Errorf("write after the end: %w", net.ErrClosed)
	}
	return nil
}

// sendLocked makes records of the n bytes in out, and sends them.
func (f *Flow) sendLocked(out *output, n int) error {
	s := &f.sending
	b, err := out.seal(&s.cipher, n, f.lasting != nil)
	if err != nil || len(b) == 0 {
		return f.sentLocked(err)
	}
	s.hello = nil
	return f.sentLocked(f.transmitLocked(out, b))
}

// sentLocked makes an error of the sending direction permanent: part of a record may be on its way.
// Where the link has failed, what the other end has said before is still there to be read, an abort
// that says why among it; whoever reads ends the flow then.
func (f *Flow) sentLocked(err error) error {
	if err != nil {
		f.sending.err = f.explain(err)
		if !errors.Is(err, ErrCut) || !f.receives() {
			f.shut(f.sending.err)
		}
	}
	return f.sending.err
}

// receives tells whether the other end's direction has not ended, as far as this side has read.
func (f *Flow) receives() bool {
	f.life.Lock()
	defer f.life.Unlock()
	return f.life.state == flowOpen && f.life.ended == 0
}

// sendRecordLocked sends a record on its own.
func (f *Flow) sendRecordLocked(t recordType, data ...byte) error {
	s := &f.sending
	var out output
	b, err := out.one(&s.cipher, s.hello, t, data)
	if err == nil {
		s.hello = nil
		err = f.transmitLocked(&out, b)
	}
	out.Release()
	return f.sentLocked(err)
}

// CloseWrite ends the sending direction. The other end reads io.EOF; this end may go on reading for
// as long as it likes.
func (f *Flow) CloseWrite() error {
	s := &f.sending
	f.lockSending()
	defer s.Unlock()
	if s.ended {
		return nil
	}
	if s.err != nil {
		return s.err
	}
	s.ended = true // nobody may send behind it, while it waits for a link
	if err := f.sendEndLocked(); err != nil {
		return err
	}
	f.endDirection(true)
	return nil
}

// sendEndLocked sends the end of the direction. A flow whose first record is its end asks for
// nothing, and ends with its link: one that outlives its links says something before.
func (f *Flow) sendEndLocked() error {
	if f.lasting != nil {
		if err := f.introduceLocked(); err != nil {
			return err
		}
	}
	err := f.sendRecordLocked(typeEnd)
	if err == nil {
		f.sending.cipher = cipherHalf{} // it is most of what there is of a flow that lingers
	}
	return err
}
