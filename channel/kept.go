package channel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/netio"
)

const (
	// keptSmall is the most bytes of records that are copied together in place of keeping the
	// buffer that they were made in, which is much larger.
	keptSmall = 1 << 10
	// keptTogether is how many bytes of them are kept in one piece.
	keptTogether = 4<<10 + netio.BufferSlack
)

// kept is what one direction of a flow has sent and the other end has not acknowledged: sealed
// records, in the buffers that they were made in. Records are numbered from 0; a position is how
// many of them there are before a place. It is safe for concurrent use.
type kept struct {
	mu      sync.Mutex
	pieces  []piece // the oldest first
	sealed  uint64  // records that have been made
	acked   uint64  // records that the other end has opened
	held    int64   // bytes of memory
	sending bool    // pieces are being sent again: none is given back
	gaveUp  bool    // nothing is kept any more
}

// piece is whole records, one behind the other.
type piece struct {
	buffer  *netio.Buffer // that records are in; nil: memory of their own
	records []byte
	first   uint64 // position of the first
	count   uint64
}

func (p *piece) end() uint64 { return p.first + p.count }

func (p *piece) size() int64 {
	if p.buffer != nil {
		return int64(len(p.buffer.Bytes))
	}
	return int64(cap(p.records))
}

// make takes note that so many records more have been made and are about to be sent.
func (k *kept) make(records uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sealed += records
}

// keep keeps the last records that were made, which have been sent, or could not be. The buffer
// that they are in is kept's if it says so.
func (k *kept) keep(buffer *netio.Buffer, records []byte, count uint64) (taken bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	first := k.sealed - count
	if k.gaveUp || k.sealed <= k.acked {
		return false
	}
	if len(records) <= keptSmall {
		k.joinLocked(records, first, count)
		return false
	}
	p := piece{buffer: buffer, records: records, first: first, count: count}
	buffer.Uncharge()
	k.pieces = append(k.pieces, p)
	k.holdLocked(p.size())
	return true
}

// joinLocked keeps a copy of few bytes, behind those before if there is room.
func (k *kept) joinLocked(records []byte, first, count uint64) {
	if n := len(k.pieces); n > 0 {
		last := &k.pieces[n-1]
		if last.buffer == nil && last.end() == first &&
			len(last.records)+len(records) <= keptTogether {
			before := last.size()
			last.records = append(last.records, records...)
			last.count += count
			k.holdLocked(last.size() - before)
			return
		}
	}
	p := piece{records: append([]byte(nil), records...), first: first, count: count}
	k.pieces = append(k.pieces, p)
	k.holdLocked(p.size())
}

func (k *kept) holdLocked(more int64) {
	k.held += more
	budget.Kept.Take(more)
}

// acknowledge takes note that the other end has opened so many records, and gives back what is not
// needed any more. It fails if there have not been so many.
func (k *kept) acknowledge(position uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if position > k.sealed {
		return fmt.Errorf("%w: %d records acknowledged of %d", ErrProtocol, position, k.sealed)
	}
	if position > k.acked {
		k.acked = position
		k.trimLocked()
	}
	return nil
}

// trimLocked gives back what has been acknowledged.
func (k *kept) trimLocked() {
	if k.sending {
		return
	}
	n := 0
	for n < len(k.pieces) && k.pieces[n].end() <= k.acked {
		k.dropLocked(&k.pieces[n])
		n++
	}
	if n == len(k.pieces) {
		k.pieces = nil
	} else if n > 0 {
		k.pieces = append(k.pieces[:0], k.pieces[n:]...)
	}
}

func (k *kept) dropLocked(p *piece) {
	k.holdLocked(-p.size())
	p.buffer.Free()
	*p = piece{}
}

// giveUp forgets all that is kept: the flow ends with its link from now on.
func (k *kept) giveUp() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gaveUp = true
	if k.sending {
		return
	}
	for i := range k.pieces {
		k.dropLocked(&k.pieces[i])
	}
	k.pieces = nil
}

// isLost tells whether giveUp has been called.
func (k *kept) isLost() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.gaveUp
}

// isAll tells whether the other end has opened all that was sent.
func (k *kept) isAll() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.acked == k.sealed
}

// holds returns how many bytes of memory are kept.
func (k *kept) holds() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held
}

// errNotKept says that the other end asks for what there is not, or not any more.
var errNotKept = errors.New("what the far end lacks is not kept")

// has fails if the position is none from which on all records are kept.
func (k *kept) has(position uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.hasLocked(position)
}

func (k *kept) hasLocked(position uint64) error {
	if k.gaveUp || position < k.acked || position > k.sealed {
		return fmt.Errorf("%w: it asks for record %d, and %d to %d are kept",
			errNotKept, position, k.acked, k.sealed)
	}
	return nil
}

// from returns all records from a position on, in pieces that stay until sent is called. It fails
// with errNotKept. An acknowledgement may have overtaken the other end's answer: then that is the
// position.
func (k *kept) from(position uint64, isAnswer bool) ([][]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if isAnswer {
		position = max(position, k.acked)
	}
	if err := k.hasLocked(position); err != nil {
		return nil, err
	}
	k.acked = position
	k.trimLocked()
	k.sending = true
	var all [][]byte
	for i := range k.pieces {
		p := &k.pieces[i]
		records := p.records
		for n := p.first; n < position; n++ {
			records = records[lengthSize+int(binary.BigEndian.Uint16(records)):]
		}
		all = append(all, records)
	}
	return all, nil
}

// sent is the end of from.
func (k *kept) sent() {
	k.mu.Lock()
	k.sending = false
	k.trimLocked()
	gaveUp := k.gaveUp
	k.mu.Unlock()
	if gaveUp {
		k.giveUp()
	}
}

// countRecords returns how many records b is.
func countRecords(b []byte) (n uint64) {
	for len(b) > 0 {
		b = b[lengthSize+int(binary.BigEndian.Uint16(b)):]
		n++
	}
	return n
}
