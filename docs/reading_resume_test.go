// The flows of a recording that go on on other links.

package docs_test

import (
	"bytes"
	"encoding/binary"
)

// isAgain tells whether a record is one that is sent again, which has to be as it was. Others it
// counts.
func (f *readFlow) isAgain(r *reading, p piece) bool {
	r.Helper()
	next := f.again[p.By]
	f.again[p.By]++
	if next == len(f.sealed[p.By]) {
		f.sealed[p.By] = append(f.sealed[p.By], p.Bytes)
		return false
	}
	if !bytes.Equal(f.sealed[p.By][next], p.Bytes) {
		r.Errorf("record %d is sent again as %x, and was %x", next, p.Bytes, f.sealed[p.By][next])
	}
	return true
}

// resume reads a request, or an answer to one: behind that the flow goes on on the link.
func (l *readLink) resume(by string, data []byte) {
	l.Helper()
	link := l.flow
	if len(link.sealed[by]) != 1 {
		l.Fatal("it is not the first record")
	}
	if by == link.initiator {
		link.resumes = l.flowNamed(data[:24])
		link.resumes.attempt = l.stands(data[24:], asInitiator, by)
		return
	}
	if attempt := l.stands(data, asResponder, by); attempt != link.resumes.attempt {
		l.Errorf("an answer to attempt %d, want %d", attempt, link.resumes.attempt)
	}
	l.flow = link.resumes
}

// named is how a request names the flow.
func (f *readFlow) named() named {
	key := f.secret.ID("sp/1 resume")
	return named{f.secret.ID("sp/1 session id"), f.number, key[:]}
}

// flowNamed returns the flow that a request names.
func (l *readLink) flowNamed(b []byte) *readFlow {
	l.Helper()
	number := binary.BigEndian.Uint64(b[16:])
	for _, f := range l.flows {
		if f.number == number && f.readSession == l.sessions[[16]byte(b)] && f != l.flow {
			return f
		}
	}
	return &readFlow{ // it is refused
		readSession: l.flow.readSession, number: number, again: make(map[string]int),
	}
}

// stands reads where a side stands: from there on the other one sends again.
func (l *readLink) stands(data []byte, role byte, by string) (attempt uint32) {
	l.Helper()
	link, of := l.flow, l.flow.resumes
	attempt, position, ok := stands(data, of.named(), role, link.named())
	sent := len(of.sealed[other(by)])
	if !ok || attempt < of.attempt || position > uint64(sent) ||
		by == bySecond && position < uint64(sent) {
		l.Errorf("%s stands at %x, with attempt %d before and %d records sent to it",
			by, data, of.attempt, sent)
	}
	of.again[other(by)] = int(position)
	return attempt
}
