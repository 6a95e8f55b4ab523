package channel

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/noise"
)

// The record on the wire: length (2) | AEAD( type (1) | data ).
const (
	lengthSize = 2
	typeSize   = 1

	// Overhead is what a record adds to the data in it, all included.
	Overhead = lengthSize + typeSize + noise.TagSize
	// MaxData is the most data one record holds.
	MaxData = 1<<16 - 1 - typeSize - noise.TagSize

	// rekeyAfter is how many records one direction of a flow sends with one key (Noise §11.3).
	rekeyAfter = 1 << 16

	// maxFirst is the most data that the first record of a flow holds: nobody has proved anything before it.
	maxFirst = 4096

	maxBody      = typeSize + MaxData + noise.TagSize
	maxFirstBody = typeSize + maxFirst + noise.TagSize
	dataOffset   = lengthSize + typeSize
)

// recordType tells what a record holds.
type recordType byte

const (
	typeData      recordType = 0 // bytes of the stream
	typeEnd       recordType = 1 // the end of this direction
	typeAbort     recordType = 2 // the end of the flow, both ways, at once: reason (1)
	typePing      recordType = 3 // control: number (8)
	typePong      recordType = 4 // control: the number of the ping
	typeReady     recordType = 5 // control: the responder trusts the initiator
	typeHandshake recordType = 6 // control: a message of the handshake for new keys
	typeGoingAway recordType = 7 // control: no new flows, please
	typeRenew     recordType = 8 // control: the responder has something new to prove, and asks for a handshake
)

// controlSizes is the size of each type's data on the control link, where it is fixed.
var controlSizes = map[recordType]int{typeAbort: 1, typePing: 8, typePong: 8, typeReady: 0, typeGoingAway: 0, typeRenew: 0}

// abortReason goes with an abort record.
type abortReason byte

const (
	abortReset      abortReason = 0
	abortNotTrusted abortReason = 1
	abortGoingAway  abortReason = 2
	abortBusy       abortReason = 3
	abortProtocol   abortReason = 4
	abortWrongName  abortReason = 5
)

var abortErrors = map[abortReason]error{
	abortReset:      ErrReset,
	abortNotTrusted: ErrRefusedByPeer,
	abortGoingAway:  ErrGoingAway,
	abortBusy:       ErrBusy,
	abortWrongName:  ErrWrongName,
	abortProtocol:   fmt.Errorf("%w, says the far end", ErrProtocol),
}

func (r abortReason) err() error {
	if err, ok := abortErrors[r]; ok {
		return err
	}
	return fmt.Errorf("aborted by the far end, reason %d", byte(r))
}

// cipherHalf is one direction's keys, replaced every rekeyAfter records.
type cipherHalf struct {
	state *noise.CipherState
	count uint32
}

// seal makes a record in place: buf[dataOffset:dataOffset+n] is the data, and buf has room for the record's tag. It
// returns the record's size.
func (c *cipherHalf) seal(buf []byte, t recordType, n int) (int, error) {
	buf[lengthSize] = byte(t)
	plaintext := buf[lengthSize : dataOffset+n]
	sealed, err := c.state.EncryptWithAd(plaintext[:0], nil, plaintext)
	if err != nil {
		return 0, err
	}
	binary.BigEndian.PutUint16(buf, uint16(len(sealed)))
	return lengthSize + len(sealed), c.ratchet()
}

// open opens a record's body in place.
func (c *cipherHalf) open(body []byte) (recordType, []byte, error) {
	plaintext, err := c.state.DecryptWithAd(body[:0], nil, body)
	if err != nil {
		return 0, nil, ErrForged
	}
	return recordType(plaintext[0]), plaintext[typeSize:], c.ratchet()
}

func (c *cipherHalf) ratchet() error {
	if c.count++; c.count < rekeyAfter {
		return nil
	}
	c.count = 0
	return c.state.Rekey()
}

// input is what has been read from a link and not yet taken. It holds a buffer only while there is something in it.
// It outlives flows: one may begin in the same read that another ended in.
type input struct {
	conn   Conn
	buffer *netio.Buffer
	class  netio.Class
	begin  int // buffer.Bytes[begin:end] has been read and not yet taken
	end    int
	want   int // how many bytes from begin on the taker waits for
	bufs   [1][]byte
}

var _ netio.Room = (*input)(nil)

// fill reads once, waiting if need be.
func (in *input) fill() error {
	n, err := netio.ReadLazy(in.conn, in)
	if err != nil {
		in.Release()
		return err
	}
	in.adapt(n)
	in.end += n
	return nil
}

// adapt chooses the next buffer's class after a read of n bytes. Only a read into an empty buffer tells that less would
// do.
func (in *input) adapt(n int) {
	switch {
	case n == len(in.bufs[0]):
		in.class = min(in.buffer.Class()+1, netio.Huge)
	case in.end == 0:
		in.class = netio.Adapt(in.class, n)
	}
}

// Acquire implements netio.Room: it makes sure that the wanted bytes fit behind what is there.
func (in *input) Acquire() [][]byte {
	held := in.end - in.begin
	switch {
	case in.buffer == nil:
		in.buffer = netio.GetBuffer(max(in.class, netio.ClassFor(in.want)))
	case in.class > in.buffer.Class() || in.want > len(in.buffer.Bytes):
		in.move(netio.GetBuffer(max(in.class, netio.ClassFor(in.want))))
	case in.begin+in.want > len(in.buffer.Bytes) || held == 0:
		in.move(in.buffer)
	}
	in.bufs[0] = in.buffer.Bytes[in.end:]
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

// take returns the next n bytes if they have been read, and nil otherwise. They stay valid until the next fill.
func (in *input) take(n int) []byte {
	if in.end-in.begin < n {
		in.want = n
		return nil
	}
	b := in.buffer.Bytes[in.begin : in.begin+n]
	in.begin += n
	return b
}

// need returns the next n bytes, reading as long as it must. An end within them is io.ErrUnexpectedEOF.
func (in *input) need(n int) ([]byte, error) {
	for {
		if b := in.take(n); b != nil {
			return b, nil
		}
		if err := in.fill(); err != nil {
			if err == io.EOF && in.begin != in.end {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// empty tells whether everything that has been read has been taken.
func (in *input) empty() bool { return in.begin == in.end }

// record returns the next record's body if all of it has been read, and nil otherwise. A body of more than most bytes
// is refused before it is read.
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
