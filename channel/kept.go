package channel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/netio"
)

const (
	// keptSmall is the most bytes of records that are copied together in place of keeping the
	// buffer that they were made in, which is much larger.
	keptSmall = 1 << 10
	// keptAlone is the most that is kept without a buffer: a flow that has nothing to say, says so
	// with records as short as that, and so does one that asks for room, often behind much.
	keptAlone = 64
)

// kept is what one direction of a flow has sent and the other end has not acknowledged: sealed
// records, in the buffers that they were made in. Records are numbered from 0; a position is how
// many of them there are before a place. It is safe for concurrent use.
type kept struct {
	mu      sync.Mutex
	pieces  []piece       // the oldest first
	sealed  uint64        // records that have been made
	acked   uint64        // records that the other end has opened
	bytes   uint64        // of records that have been made
	held    int64         // bytes of memory
	sending bool          // pieces are being sent again: none is given back
	gaveUp  bool          // nothing is kept any more
	pace    pace          // at which it is acknowledged
	freed   chan struct{} // closed when there may be room for more; nil: nobody waits
	marks   *marks        // nil: nobody asks how late what was sent is
}

// piece is whole records, one behind the other.
type piece struct {
	buffer  *netio.Buffer // that records are in; nil: memory of their own
	records []byte
	first   uint64 // position of the first
	count   uint64
	joins   bool // there may be room for more behind them
}

func (p *piece) end() uint64 { return p.first + p.count }

func (p *piece) size() int64 {
	if p.buffer != nil {
		return int64(len(p.buffer.Bytes))
	}
	return int64(cap(p.records))
}

// make takes note that so many records more, of so many bytes, have been made and are about to be
// sent.
func (k *kept) make(records uint64, bytes int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sealed += records
	k.bytes += uint64(bytes)
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
	buffer.Uncharge()
	k.addLocked(piece{buffer: buffer, records: records, first: first, count: count})
	return true
}

func (k *kept) addLocked(p piece) {
	k.pieces = append(k.pieces, p)
	k.holdLocked(p.size())
}

// joinLocked keeps a copy of few bytes, behind those before if there is room.
func (k *kept) joinLocked(records []byte, first, count uint64) {
	n := len(k.pieces)
	if n > 0 {
		last := &k.pieces[n-1]
		if last.joins && last.end() == first &&
			len(last.records)+len(records) <= cap(last.records) {
			last.records = append(last.records, records...)
			last.count += count
			return
		}
	}
	p := piece{first: first, count: count, joins: true}
	var room []byte
	if n == 0 && len(records) <= keptAlone || len(records) <= overhead {
		room = make([]byte, 0, keptAlone)
	} else {
		p.buffer = netio.GetBuffer(netio.Small)
		room = p.buffer.Bytes[:0]
	}
	p.records = append(room, records...)
	k.addLocked(p)
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
	n, before := 0, k.held
	for n < len(k.pieces) && k.pieces[n].end() <= k.acked {
		k.dropLocked(&k.pieces[n])
		n++
	}
	if n == 0 {
		return
	}
	if n == len(k.pieces) {
		k.pieces = nil
	} else {
		k.pieces = slices.Delete(k.pieces, 0, n)
	}
	k.pace.add(before - k.held)
	k.wakeLocked()
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
	k.wakeLocked()
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

// isSending tells whether pieces are being sent again.
func (k *kept) isSending() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sending
}

// isUnsent tells whether nothing has been made.
func (k *kept) isUnsent() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sealed == 0
}

// isUnheard tells whether the other end has not said that it has opened anything.
func (k *kept) isUnheard() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.acked == 0
}

// isOpened tells whether the other end has said that it has opened all that was sent.
func (k *kept) isOpened() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.gaveUp && k.acked == k.sealed
}

// isDone tells whether there is nothing to be sent again: the other end has opened all that was
// sent, or what it has not is given up.
func (k *kept) isDone() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.gaveUp || k.acked == k.sealed
}

// spare returns how many bytes of memory giveUp would give back.
func (k *kept) spare() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gaveUp {
		return 0
	}
	return k.held
}

// errNotKept says that the other end asks for what there is not, or not any more.
var errNotKept = errors.New("what the far end lacks is not kept")

// has fails if the position is none from which on all records are kept. It is with errOvertaken if
// more has been acknowledged since the other end stood there.
func (k *kept) has(position uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.hasLocked(position)
}

func (k *kept) hasLocked(position uint64) error {
	if !k.gaveUp && position < k.acked {
		return errOvertaken
	}
	if k.gaveUp || position > k.sealed {
		return fmt.Errorf("%w: it asks for record %d, and %d to %d are kept",
			errNotKept, position, k.acked, k.sealed)
	}
	return nil
}

// from returns all records from a position on, in pieces that stay until sent is called. It fails
// as has does. An acknowledgement may have overtaken the other end's answer: then that is the
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
