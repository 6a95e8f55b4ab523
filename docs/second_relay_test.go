// What the second implementation says to relays and outlets, and knows of who shares a name there.

package docs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hashicorp/yamux"

	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/wire"
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

// sharer is one of those that share a name, by the document.
type sharer struct {
	instance string
	sick     bool
}

// processes reads who shares a name.
func processes(b []byte) (list []sharer, ok bool) {
	r := &reader{rest: b}
	r.refuseIf(r.number(1) != 1)
	count := r.number(1)
	r.refuseIf(count > 16)
	for i := uint64(0); i < count && !r.bad; i++ {
		p := sharer{instance: string(r.take(8))}
		state := r.number(1)
		p.sick = state == 1
		r.refuseIf(state > 1)
		for _, other := range list {
			r.refuseIf(other.instance == p.instance)
		}
		list = append(list, p)
	}
	return list, !r.bad && len(r.rest) == 0
}

// instanceStep is the address that leads to one of them.
func instanceStep(instance string) []byte {
	name := fmt.Sprintf("instance_%x", instance)
	return append([]byte{1, byte(len(name))}, name...)
}

// exampleSharers is who shares a name, by this module.
func exampleSharers(e *example) {
	list := []relay.Sharer{
		{Instance: relay.Instance([]byte(process1))},
		{Instance: relay.Instance([]byte(process2)), Sick: true},
	}
	e.is("sharers", relay.AppendSharers(nil, list))
	m, err := wire.AppendMessage(nil, wire.Message{Onward: wire.Route{list[0].Step()}})
	check(e.T, err)
	e.is("instance", m[5:len(m)-1]) // between its header and the return route
}

// exampleProcesses is the same, by the second implementation.
func exampleProcesses(e *example) {
	e.is("instance", instanceStep(process1))
	got, ok := processes(e.document["sharers"])
	if want := []sharer{{process1, false}, {process2, true}}; !ok || !slices.Equal(got, want) {
		e.Errorf("the list is read as %v, %v", got, ok)
	}
}

// TestSharersAlike has both implementations read lists of sharers that are almost right.
func TestSharersAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	accepted := alike(t, rng, examples(t)["sharers"], func(b []byte) (bool, bool) {
		_, err := relay.ParseSharers(b)
		_, ok := processes(b)
		return err == nil, ok
	})
	t.Logf("%d lists were read", accepted)
}

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
