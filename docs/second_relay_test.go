// What the second implementation says to relays and outlets.

package docs_test

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/hashicorp/yamux"
)

// claim is the payload with which a process claims the name db.
func claim(kind byte, instance string) []byte {
	return append(append([]byte{kind}, instance...), "db"...)
}

// Two processes of one identity.
const (
	process1 = "instance"
	process2 = "another "
)

// sparePayload is what a spare link begins with.
func sparePayload(ticket []byte, number uint64) []byte {
	said := binary.BigEndian.AppendUint64(bytes.Clone(ticket[:16]), number)
	return append(said, mac(ticket[16:48], said)[:16]...)
}

// muxFlow is a mux in a flow.
type muxFlow struct {
	*yamux.Session
	in *flow
}

// muxConfig does what the document asks for.
func muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.StreamCloseTimeout = 0
	c.LogOutput = io.Discard
	return c
}

// accept takes a link that the relay opens in the mux.
func (s *second) accept(m *muxFlow) *link {
	s.Helper()
	stream, err := m.AcceptStream()
	check(s.T, err)
	l := s.link(stream, bySP)
	l.track.in(m.in.track, stream.StreamID())
	return l
}

// dialIn opens a link to the outlet in the mux.
func (s *second) dialIn(m *muxFlow) *link {
	s.Helper()
	stream, err := m.OpenStream()
	check(s.T, err)
	l := s.link(stream, bySecond)
	l.track.in(m.in.track, stream.StreamID())
	return l
}
