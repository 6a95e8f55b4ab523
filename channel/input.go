package channel

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/noise"
)

// input is what has been read from a link and not yet taken. It holds a buffer only while there is
// something in it. A link has one, lends it to the flow on it, and gets it back behind the flow's
// end: the next flow may begin in the same read. It has one owner at a time, and no lock.
type input struct {
	buffer *netio.Buffer
	begin  int // buffer.Bytes[begin:end] has been read and not yet taken
	end    int
	want   int // how many bytes from begin on the taker waits for
	bufs   [1][]byte

	to     io.Writer // where what is opened goes, while somebody copies it there
	class  netio.Class
	spared bool // the last read was of less than it could have been, for the sake of memory
}

// spareRead is how much is read behind what is wanted when memory is to be spared.
const spareRead = 4 << 10

// spares tells whether reads are to be of no more than a record, for whom it goes to may not take
// it: while memory is plenty they are not.
func (in *input) spares() bool {
	return in.to != nil && in.class > netio.Medium && !budget.Process.Plenty()
}

var _ netio.Room = (*input)(nil)

// fill reads once from src, waiting if need be.
func (in *input) fill(src netio.LazyReader) error {
	if in.to != nil {
		in.spare()
	}
	n, err := src.ReadLazy(in)
	if err != nil {
		in.Release()
		return err
	}
	in.adapt(n)
	in.end += n
	return nil
}

// fillNow is fill, but never waits. It reports false if there is an end or an error, or this cannot
// be done.
func (in *input) fillNow(src any) bool {
	n, ok := netio.ReadNow(src, in)
	if n > 0 {
		in.adapt(n)
		in.end += n
	}
	return ok
}

// spare waits, in the middle of a record and where memory is to be spared, until the record can be
// delivered: rather hold its beginning than all of it.
//
//go:noinline
func (in *input) spare() {
	if in.spares() && !in.empty() && in.want > spareRead {
		netio.AwaitTakes(in.to)
	}
}

// adapt chooses the next buffer's class after a read of n bytes. Only a read into an empty buffer
// tells that less would do.
func (in *input) adapt(n int) {
	switch {
	case in.spared:
	case n == len(in.bufs[0]):
		in.class = min(in.buffer.Class()+1, netio.Huge)
	case in.end == 0:
		in.class = netio.Adapt(in.class, n)
	}
}

// Acquire implements netio.Room: it makes sure that the wanted bytes fit behind what is there.
func (in *input) Acquire() [][]byte {
	held := in.end - in.begin
	class := in.class
	if in.spared = in.spares(); in.spared {
		class = netio.Small
		in.Release() // it may be a large one
	}
	class = max(class, netio.ClassFor(in.want))
	switch {
	case in.buffer == nil:
		in.buffer = netio.GetBuffer(class)
	case class > in.buffer.Class():
		in.move(netio.GetBuffer(class))
	case in.begin+in.want > len(in.buffer.Bytes) || held == 0:
		in.move(in.buffer)
	}
	in.bufs[0] = in.buffer.Bytes[in.end:]
	if most := max(in.want, spareRead) - held; in.spared && most < len(in.bufs[0]) {
		in.bufs[0] = in.bufs[0][:most]
	}
	return in.bufs[:]
}

// move brings what is held to the front of b, which becomes the buffer.
func (in *input) move(b *netio.Buffer) {
	in.end = copy(b.Bytes, in.buffer.Bytes[in.begin:in.end])
	in.begin = 0
	if b != in.buffer {
		in.buffer.Free()
		in.buffer = b
	}
}

// Release implements netio.Room: an empty buffer goes back.
func (in *input) Release() {
	if in.empty() {
		in.drop()
	}
}

// drop gives the buffer back with what is in it.
func (in *input) drop() {
	in.buffer.Free()
	in.buffer, in.bufs[0] = nil, nil
	in.begin, in.end = 0, 0
}

// over returns the input to go on with where c has taken the place of the carrier before. What that
// has brought and has not been taken is dropped; what c has brought already is not.
func (in *input) over(c carrier) *input {
	in.discard()
	l, ok := c.(*link)
	if !ok || l.in == nil {
		return in
	}
	next := l.in
	l.in = nil
	next.to, next.class = in.to, max(in.class, next.class)
	in.drop()
	return next
}

// discard drops what has not been taken. What has been taken last stays valid.
func (in *input) discard() { in.end = in.begin }

// take returns the next n bytes if they have been read, and nil otherwise. They stay valid until
// the next fill.
func (in *input) take(n int) []byte {
	if in.end-in.begin < n {
		in.want = n
		return nil
	}
	b := in.buffer.Bytes[in.begin : in.begin+n]
	in.begin += n
	return b
}

// need returns the next n bytes, reading from src as long as it must. An end within them is
// io.ErrUnexpectedEOF.
func (in *input) need(src netio.LazyReader, n int) ([]byte, error) {
	for {
		if b := in.take(n); b != nil {
			return b, nil
		}
		if err := in.fill(src); err != nil {
			if err == io.EOF && in.begin != in.end {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// empty tells whether everything that has been read has been taken.
func (in *input) empty() bool { return in.begin == in.end }

// holdsRecord tells whether all of a record has been read, or what is none.
func (in *input) holdsRecord() bool {
	held := in.end - in.begin
	if held < lengthSize {
		return false
	}
	size := int(binary.BigEndian.Uint16(in.buffer.Bytes[in.begin:]))
	return size < typeSize+noise.TagSize || held >= lengthSize+size
}

// nextIs tells whether the next record, all of which has been read, holds so many bytes of data.
func (in *input) nextIs(data int) bool {
	size := binary.BigEndian.Uint16(in.buffer.Bytes[in.begin:])
	return int(size) == typeSize+data+noise.TagSize
}

// record returns the next record's body if all of it has been read, and nil otherwise. A body of
// more than most bytes is refused before it is read.
func (in *input) record(most int) ([]byte, error) {
	if in.end-in.begin < lengthSize {
		in.want = lengthSize
		return nil, nil
	}
	size := int(binary.BigEndian.Uint16(in.buffer.Bytes[in.begin:]))
	if size < typeSize+noise.TagSize || size > most {
		return nil, ErrForged
	}
	whole := in.take(lengthSize + size)
	if whole == nil {
		return nil, nil
	}
	return whole[lengthSize:], nil
}

// frame reads one frame of a handshake from src.
func (in *input) frame(src netio.LazyReader) ([]byte, error) {
	header, err := in.need(src, lengthSize)
	if err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(header))
	if size > maxHandshakeMessage {
		return nil, fmt.Errorf("%w: handshake message of %d bytes", ErrProtocol, size)
	}
	return in.need(src, size)
}
