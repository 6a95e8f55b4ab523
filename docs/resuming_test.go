// Flows that go on where their links have not, between the second implementation and this one.

package docs_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// lasting returns a second implementation and the node that it talks to, between whom flows
// survive, and somebody else whom the node trusts.
func lasting(t *testing.T) (s, other *second) {
	t.Helper()
	s, other = newSecond(t, ""), newSecond(t, "")
	s.survive, other.survive = 60_000, 60_000
	_, _, s.to = nodeThat(t, survives, s.self.identifier(), other.self.identifier())
	other.to = s.to
	return s, other
}

func survives(c *route.Config) { c.Channel.Survive = time.Minute }

// begun opens a session, and a flow in which something has been said both ways.
func (s *second) begun() (*session, *flow) {
	s.Helper()
	n := s.session("")
	n.expect(5, nil)
	f := n.open(nil, "echo", nil)
	_, _ = f.Write([]byte("one "))
	if got := string(f.takeData(3 + 4)); got != "\x00\x01\x00one " {
		s.Fatalf("echo says %q", got)
	}
	return n, f
}

// TestResume has flows of the second implementation's go on, in the same session and in another.
func TestResume(t *testing.T) {
	s, _ := lasting(t)
	n, f := s.begun()
	n.awaitAcknowledged(f)
	f.send.record(0, []byte("two ")) // is lost with the link
	f.lose()
	n.expect(11, f.lost())
	n.resume(f)
	_, _ = f.Write([]byte("three "))
	if got := string(f.takeData(10)); got != "two three " {
		t.Errorf("echo says %q", got)
	}
	n.acknowledge(f)

	f.lose()
	_ = n.control.Close()
	n = s.session("")
	n.expect(5, nil)
	n.resume(f)
	f.end()
	if got, err := io.ReadAll(f); len(got) > 0 || err != nil {
		t.Errorf("echo says %q, %v", got, err)
	}
	n.awaitAcknowledged(f)
	n.acknowledge(f)
	g := n.open(f.link, "echo", nil) // the link is clean
	g.end()
	if got := g.reply(); got != "" {
		t.Errorf("echo says %q to nothing", got)
	}
	n.ping(1)
}

// TestResumeEnded has a flow go on of which a direction has ended, and then the other one.
func TestResumeEnded(t *testing.T) {
	s, _ := lasting(t)
	n, f := s.begun()
	_, _ = f.Write([]byte("two "))
	f.send.record(1, nil) // is lost with the link
	f.lose()
	n.expect(11, f.lost())
	n.resume(f)
	f.lose() // with what echo says, and its end: it lingers there
	n.resume(f)
	got, err := io.ReadAll(f)
	for range 3 {
		if err == nil {
			break
		}
		n.resume(f) // that link was lost as well
		var more []byte
		more, err = io.ReadAll(f)
		got = append(got, more...)
	}
	if string(got) != "two " || err != nil {
		t.Errorf("echo says %q, %v", got, err)
	}
	n.acknowledge(f)
}

// TestResumeReset has an abort be brought to the other side like data.
func TestResumeReset(t *testing.T) {
	s, _ := lasting(t)
	n, f := s.begun()
	f.send.record(0, []byte("two "))
	f.send.record(2, []byte{0})
	f.lose()
	n.expect(11, f.lost())
	n.resume(f)
	if got, err := io.ReadAll(f.r); len(got) > 100 || err != nil {
		t.Errorf("%d bytes, %v behind the abort", len(got), err)
	}
	n.awaitAcknowledged(f)
}

// TestNotResumed is what the document says of requests that are refused. None of them does anything
// to a flow.
func TestNotResumed(t *testing.T) {
	s, other := lasting(t)
	n, f := s.begun()
	before := *f

	unknown := before
	unknown.number = 77
	n.notResumed(&unknown, 7) // it has never come
	n.notResumed(&unknown, 7) // and never will, however often that is asked
	unknown = before
	unknown.session[0] ^= 1
	n.notResumed(&unknown, 6)
	forged := before
	forged.key = make([]byte, 16)
	n.notResumed(&forged, 4)
	elsewhere := other.session("")
	elsewhere.expect(5, nil)
	stolen := before
	elsewhere.notResumed(&stolen, 6)

	_, _ = f.Write([]byte("two "))
	if got := string(f.takeData(4)); got != "two " {
		t.Errorf("echo says %q", got)
	}
	n.resume(f) // it has not lost its link
	_, _ = f.Write([]byte("three "))
	if got := string(f.takeData(6)); got != "three " {
		t.Errorf("echo says %q", got)
	}
	late := *f
	late.attempt = 0
	n.notResumed(&late, 4)
	n.acknowledge(f)
	n.ping(1)
	f.receive.n-- // as when more has been acknowledged since
	n.notResumed(f, 4)
	f.receive.n++
	f.end()
	if got, err := io.ReadAll(f); len(got) > 0 || err != nil {
		t.Errorf("echo says %q, %v", got, err)
	}
}

// TestWrongPosition has a position be above what was sent: the flow cannot go on then.
func TestWrongPosition(t *testing.T) {
	s, _ := lasting(t)
	n, f := s.begun()
	n.acknowledge(f)
	n.ping(1)
	f.receive.n = 1000
	n.notResumed(f, 6)
	if kind, data := n.hear(); kind != 12 || !bytes.Equal(data, f.named.append(nil)) {
		t.Errorf("record of type %d with %x on the control link, want gone", kind, data)
	}
	f.link.ended()
}

// TestGone has the second implementation say that it does not go on with a flow.
func TestGone(t *testing.T) {
	s, _ := lasting(t)
	n, f := s.begun()
	f.lose()
	n.expect(11, f.lost())
	n.say(12, f.named.append(nil))
	n.ping(1)
	n.notResumed(f, 6)
}

// TestForgedAcknowledgement is an acknowledgement of what was not sent, which ends the session.
func TestForgedAcknowledgement(t *testing.T) {
	s, _ := lasting(t)
	n, f := s.begun()
	unknown := binary.BigEndian.AppendUint64(append(f.named.session[:], make([]byte, 8)...), 1000)
	n.say(10, unknown) // which ends nothing
	n.acknowledge(f)
	f.receive.n++
	n.acknowledge(f)
	kind, data := n.hear()
	for kind == 12 { // what there is not it may say to be gone
		kind, data = n.hear()
	}
	if kind != 2 || !bytes.Equal(data, []byte{4}) {
		n.Fatalf("record of type %d with %x, want the end of the session", kind, data)
	}
	n.control.ended()
}

// inletAt returns a flow that a node of this module's has opened at a second implementation, and
// both ends of it. The node is to be closed before the test ends.
func inletAt(h *host) (inlet *route.Node, stream *route.Stream, n *session, c *call) {
	h.Helper()
	inlet, _, _ = nodeThat(h.T, survives, h.self.identifier())
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	at := transport.FromAddrPort(netip.MustParseAddrPort(h.listener.Addr().String()))
	to := route.Route{at, {Kind: wire.Secure, Name: "api"}, {Kind: wire.Service, Name: "clock"}}
	var greeting sync.WaitGroup
	greeting.Go(func() {
		n = soon(h.T, h.sessions)
		n.say(5, nil)
	})
	stream, err := inlet.Open(ctx, to, 0)
	check(h.T, err)
	greeting.Wait()
	h.Cleanup(func() { _ = stream.Close() })
	_, err = io.WriteString(stream, "one ")
	check(h.T, err)
	c = soon(h.T, h.calls)
	if got := string(c.takeData(4)); got != "one " {
		h.Errorf("%q arrives", got)
	}
	c.answer(c.opened)
	return inlet, stream, n, c
}

// TestSecondImplementationResumes has this module's flow go on at the second implementation.
func TestSecondImplementationResumes(t *testing.T) {
	s := newSecond(t, "")
	s.survive = 60_000
	h := s.listen()
	inlet, stream, n, c := inletAt(h)
	defer inlet.Close()
	var hearing sync.WaitGroup
	hears := func(want string) {
		hearing.Go(func() {
			got := make([]byte, len(want))
			if _, err := io.ReadFull(stream, got); err != nil || string(got) != want {
				t.Errorf("%q comes back, %v, want %q", got, err, want)
			}
		})
	}

	hears("two ")
	c.send.record(0, []byte("two ")) // is lost with the link
	c.loses()
	c.resumedOn(soon(t, h.resuming))
	hearing.Wait()
	_, err := io.WriteString(stream, "three ")
	check(t, err)
	if got := string(c.takeData(6)); got != "three " {
		t.Errorf("%q arrives", got)
	}
	n.acknowledge(c.flow)

	hears("four ")
	n.say(11, c.lost()) // the link is there, but this side has lost it
	c.send.record(0, []byte("four "))
	before := c.over
	c.resumedOn(soon(t, h.resuming))
	before <- false
	hearing.Wait()
	check(t, stream.CloseWrite())
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("%q arrives, %v", got, err)
	}
	c.end()
	if got, err := io.ReadAll(stream); len(got) > 0 || err != nil {
		t.Errorf("%q comes back, %v", got, err)
	}
	c.over <- true
	check(t, stream.Close())
}

// TestLostUnknown has the second implementation lose a flow that sp does not know.
func TestLostUnknown(t *testing.T) {
	s := newSecond(t, "")
	s.survive = 60_000
	h := s.listen()
	inlet, _, n, c := inletAt(h)
	defer inlet.Close()
	unknown := c.named
	unknown.number = 77
	n.say(11, binary.BigEndian.AppendUint32(unknown.append(nil), 0))
	if got := soon(t, h.told); got.kind != 12 || !bytes.Equal(got.data, unknown.append(nil)) {
		t.Errorf("record of type %d with %x, want gone", got.kind, got.data)
	}
	c.over <- false
}

// TestGoneWhileSuspended has the second implementation not go on with a flow, in all ways.
func TestGoneWhileSuspended(t *testing.T) {
	for name, refuse := range map[string]func(n *session, c *call, on *resuming){
		"abort": func(_ *session, _ *call, on *resuming) {
			on.link.send(on.send.record(2, []byte{6}))
		},
		"position": func(_ *session, c *call, on *resuming) {
			attempt := binary.BigEndian.Uint32(on.request[24:])
			on.link.send(on.send.record(9, stand(c.named, asResponder, on.named, attempt, 1000)))
		},
		"gone": func(n *session, c *call, _ *resuming) { n.say(12, c.named.append(nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSecond(t, "")
			s.survive = 60_000
			h := s.listen()
			inlet, stream, n, c := inletAt(h)
			defer inlet.Close()
			var hearing sync.WaitGroup
			hearing.Go(func() {
				if _, err := io.ReadAll(stream); err == nil {
					t.Error("a flow that is gone ends well")
				}
			})
			c.loses()
			on := soon(t, h.resuming)
			refuse(n, c, on)
			hearing.Wait()
			on.over <- false
		})
	}
}
