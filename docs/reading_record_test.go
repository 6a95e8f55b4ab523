// The records of a recording.

package docs_test

import (
	"bytes"
	"encoding/binary"
)

// begin reads the hello of a flow.
func (l *readLink) begin(p piece) {
	if p.Bytes[0] != 2 || len(p.Bytes) != 1+16+8 {
		l.Fatalf("the hello %x", p.Bytes)
	}
	if l.flow != nil && (len(l.flow.ended) < 2 || l.flow.aborted) {
		l.Error("a flow on a link that is not clean")
	}
	s := l.sessions[[16]byte(p.Bytes[1:17])]
	if s == nil {
		l.Fatalf("the session %x is unknown", p.Bytes[1:17])
	}
	number := binary.BigEndian.Uint64(p.Bytes[17:])
	l.flow = &readFlow{
		readSession: s, link: l.index, number: number, ciphers: s.ciphers(number),
		data: make(map[string][]byte), ended: make(map[string]bool),
		sealed: make(map[string][][]byte), again: make(map[string]int),
	}
	l.flows = append(l.flows, l.flow)
}

func (l *readLink) record(p piece) {
	ciphers := l.control
	if l.flow != nil {
		ciphers = l.flow.ciphers
		if l.flow.isAgain(l.reading, p) {
			return
		}
	}
	if size := int(binary.BigEndian.Uint16(p.Bytes)); size != len(p.Bytes)-2 {
		l.Errorf("a record of %d bytes", size)
	}
	said, err := ciphers[p.By].DecryptWithAd(nil, nil, p.Bytes[2:])
	check(l.T, err)
	if !bytes.Equal(said, p.Said) {
		l.Errorf("a record says %x, want %x", said, p.Said)
	}
	switch {
	case l.flow != nil && said[0] == 9:
		l.resume(p.By, said[1:])
	case l.flow != nil:
		l.flow.said(l.reading, p.By, said[0], said[1:])
	default:
		l.told(p.By, said[0], said[1:])
	}
}

// said takes note of a record in a flow.
func (f *readFlow) said(r *reading, by string, kind byte, data []byte) {
	switch {
	case f.ended[by] || f.aborted:
		r.Errorf("a record of type %d behind the end", kind)
	case kind == 0:
		f.data[by] = append(f.data[by], data...)
	case kind == 1 && len(data) == 0:
		f.ended[by] = true
	case kind == 2 && len(data) == 1:
		f.aborted = true
	default:
		r.Errorf("a record of type %d with %x in a flow", kind, data)
	}
}

// told takes note of a record on the control link.
func (l *readLink) told(by string, kind byte, data []byte) {
	responder := other(l.session.initiator)
	if l.shaking.renewal && l.shaking.readies == 1 && by == responder && kind != 5 {
		l.Errorf("a record of type %d is the first under new keys", kind)
	}
	switch {
	case kind == 2 && len(data) == 1, (kind == 3 || kind == 4) && len(data) == 8:
	case kind == 5 && len(data) == 0 && by == responder:
		l.shaking.readies++
		if l.shaking.renewal && l.shaking.readies == 1 { // it is the last under the old key
			l.control[by] = l.session.ciphers(0)[by]
		}
		if l.shaking.readies > 1 && !l.shaking.renewal || l.shaking.readies > 2 {
			l.Error("ready once too often")
		}
	case kind == 6:
		if by == l.session.initiator && l.shaking.state.Done() {
			l.shake(l.id())
		}
		l.handshake(by, data, nil)
	case kind == 7 && len(data) == 0, kind == 8 && len(data) == 0 && by == responder:
	case kind == 10 && len(data) >= 32 && len(data)%16 == 0:
	case kind == 11 && len(data) == 28 && by == responder, kind == 12 && len(data) == 24:
	default:
		l.Errorf("a record of type %d with %x on the control link", kind, data)
	}
}

// id returns the number of the control link's session.
func (l *readLink) id() [16]byte { return l.session.secret.ID("sp/1 session id") }
