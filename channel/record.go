package channel

import (
	"encoding/binary"
	"fmt"

	"github.com/secureportal/sp/noise"
)

// The record on the wire: length (2) | AEAD( type (1) | data ).
const (
	lengthSize = 2
	typeSize   = 1

	// overhead is what a record adds to the data in it, all included.
	overhead = lengthSize + typeSize + noise.TagSize
	// maxData is the most data one record holds.
	maxData = 1<<16 - 1 - typeSize - noise.TagSize

	// rekeyAfter is how many records one direction of a flow sends with one key (Noise §11.3).
	rekeyAfter = 1 << 16

	// maxFirst is the most data that the first record of a flow holds: nobody has proved anything
	// before it.
	maxFirst = 4096

	maxBody      = typeSize + maxData + noise.TagSize
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
	typeRenew     recordType = 8 // control: the responder asks for a handshake for new keys

	// For flows that outlive their links.
	typeResume      recordType = 9  // first in a flow that is the new link of another one
	typeAcknowledge recordType = 10 // control: how many records of flows have been opened
	typeLost        recordType = 11 // control: session (16), number (8), attempt (4) of a lost link
	typeGone        recordType = 12 // control: session (16), number (8) of a flow not to resume
)

// pingSize is that of the data of a ping, and of a pong.
const pingSize = 8

// controlSizes is the size of each type's data on the control link, where it is fixed.
var controlSizes = map[recordType]int{
	typeAbort: 1, typePing: pingSize, typePong: pingSize, typeReady: 0, typeGoingAway: 0, typeRenew: 0,
	typeLost: lostSize, typeGone: flowIDSize,
}

// abortReason goes with an abort record.
type abortReason byte

const (
	abortReset      abortReason = 0
	abortNotTrusted abortReason = 1
	abortGoingAway  abortReason = 2
	abortBusy       abortReason = 3
	abortProtocol   abortReason = 4
	abortWrongName  abortReason = 5
	abortGone       abortReason = 6
	abortNeverSeen  abortReason = 7
)

var abortErrors = map[abortReason]error{
	abortReset:      ErrReset,
	abortNotTrusted: ErrRefusedByPeer,
	abortGoingAway:  ErrGoingAway,
	abortBusy:       ErrBusy,
	abortWrongName:  ErrWrongName,
	abortGone:       ErrGone,
	abortNeverSeen:  ErrNeverSeen,
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

// rest takes less room until it is used again.
func (c *cipherHalf) rest() {
	if c.state != nil {
		c.state.Rest()
	}
}

// seal makes a record in place: buf[dataOffset:dataOffset+n] is the data, and buf has room for the
// record's tag. It returns the record's size.
func (c *cipherHalf) seal(buf []byte, t recordType, n int) (int, error) {
	return c.sealTo(buf, buf, t, n)
}

// sealTo is seal, but makes the record in to, which is buf, or overlaps it nowhere.
func (c *cipherHalf) sealTo(to, buf []byte, t recordType, n int) (int, error) {
	buf[lengthSize] = byte(t)
	plaintext := buf[lengthSize : dataOffset+n]
	sealed, err := c.state.EncryptWithAd(to[lengthSize:lengthSize], nil, plaintext)
	if err != nil {
		return 0, err
	}
	binary.BigEndian.PutUint16(to, uint16(len(sealed)))
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
