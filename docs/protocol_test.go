// Package docs_test holds docs/PROTOCOL.md to its word, in four ways:
//
//   - the worked example is made again, byte for byte, by the packages of this module;
//   - it is made again by an implementation of the document that shares no code with them, from the
//     standard library only: the files second_*_test.go. It has no queues, no Bluetooth, and is no
//     node of a set or of a directory;
//   - that second implementation talks to the first one over TCP, as an initiator and as an outlet
//     behind a relay;
//   - what it and the command of an earlier build have said to each other, in the stories of
//     stories_*_test.go, is in testdata/recordings, and the packages of this module read it.
package docs_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"go.uber.org/goleak"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/noise"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ---- the document

// examples returns the bytes of the document's fenced blocks that begin with "```example NAME".
// What follows a # is for people.
func examples(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]byte)
	name := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if begun, ok := strings.CutPrefix(line, "```example "); ok {
			name = begun
			continue
		}
		if name == "" {
			continue
		}
		if line == "```" {
			name = ""
			continue
		}
		digits, _, _ := strings.Cut(line, "#")
		b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatalf("example %s: %v", name, err)
		}
		found[name] = append(found[name], b...)
	}
	return found
}

// TestExample makes the worked example twice. What is in the document and is not made is an error.
func TestExample(t *testing.T) {
	document, made := examples(t), make(map[string]bool)
	t.Run("this module", func(t *testing.T) { byThisModule(&example{t, document, made}) })
	t.Run("second implementation", func(t *testing.T) {
		bySecondImplementation(&example{t, document, made})
	})
	for name := range document {
		if !made[name] {
			t.Errorf("example %s is not tested", name)
		}
	}
}

// example compares what was made with the document, and takes note that it was.
type example struct {
	*testing.T
	document map[string][]byte
	made     map[string]bool
}

func (e *example) is(name string, got []byte) {
	e.Helper()
	e.made[name] = true
	if want, ok := e.document[name]; !ok || !bytes.Equal(got, want) {
		e.Errorf("example %s\nthe document has %x\nwhat is made is  %x", name, want, got)
	}
}

// The fixed values of the worked example.
const (
	exampleSuite   = "Noise_XX_25519_AESGCM_SHA256"
	exampleSurvive = 60_000 // milliseconds
)

var (
	exampleCreated    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	exampleLabel      = wire.Address{Kind: wire.Label, Name: "\x11\x12\x13\x14\x15\x16\x17\x18"}
	exampleRelayLabel = wire.Address{Kind: wire.Label, Name: "\x21\x22\x23\x24\x25\x26\x27\x28"}
)

func repeated(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// ---- the example, made by the packages of this module

func byThisModule(e *example) {
	exampleMessages(e)
	initiator, responder := exampleIdentity(e.T, 0x01), exampleIdentity(e.T, 0x02)
	e.is("history", initiator.History().Bytes())
	identifier := initiator.Identifier()
	e.is("identifier", identifier[:])
	exampleSet(e, identifier)
	exampleSharers(e)
	exampleDirect(e)

	hello, flow := exampleHandshake(e, initiator, responder)
	e.is("hello", hello)
	e.is("flow", flow)
}

// exampleMessages is what the wire package is for.
func exampleMessages(e *example) {
	to, err := route.Parse("/ip4/192.0.2.1/tcp/4000/service/forward_to_db/secure/api/service/outlet")
	if err != nil {
		e.Fatal(err)
	}
	client, err := wire.AppendOrigin(nil, wire.Origin{
		From: netip.MustParseAddrPort("127.0.0.1:40000"), To: netip.MustParseAddrPort("127.0.0.1:6000"),
	})
	check(e.T, err)
	for name, m := range map[string]wire.Message{
		"opening":   {Onward: to[1:3], Return: wire.Route{exampleLabel}},
		"forwarded": {Onward: to[2:3], Return: wire.Route{exampleRelayLabel, exampleLabel}},
		"inner": {
			Flags: wire.Lazy, Onward: to[3:], Return: wire.Route{exampleLabel}, Payload: client,
		},
	} {
		b, err := wire.AppendMessage(nil, m)
		if err != nil {
			e.Fatal(err)
		}
		e.is(name, b)
		if back, err := wire.ParseMessage(b); err != nil || fmt.Sprint(back) != fmt.Sprint(m) {
			e.Errorf("%s reads as %v, %v", name, back, err)
		}
	}
	e.is("status", wire.AppendStatus(nil, wire.Status{Code: wire.OK, Hop: 2}))
	refused := wire.Status{Code: wire.NoService, Hop: 1, Reason: "no outlet named db"}
	e.is("refused", wire.AppendStatus(nil, refused))
	if back, _, err := wire.ParseStatus(e.document["refused"]); err != nil || back != refused {
		e.Errorf("refused reads as %v, %v", back, err)
	}
}

func exampleIdentity(t *testing.T, seed byte) *identity.Identity {
	t.Helper()
	id, err := identity.New(bytes.NewReader(repeated(seed)), exampleCreated)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// exampleHandshake is what the noise and identity packages are for. It returns the first hello, and
// the beginning of flow 1.
func exampleHandshake(e *example, initiator, responder *identity.Identity) (hello, flow []byte) {
	suite, err := noise.ParseSuite(exampleSuite)
	check(e.T, err)
	a, err := noise.NewHandshakeState(noise.Config{
		Suite: suite, Initiator: true, Prologue: e.document["prologue"],
		Static: privateKey(repeated(0x03)), Random: bytes.NewReader(repeated(0x05)),
	})
	check(e.T, err)
	b, err := noise.NewHandshakeState(noise.Config{
		Suite: suite, Prologue: e.document["prologue"],
		Static: privateKey(repeated(0x04)), Random: bytes.NewReader(repeated(0x06)),
	})
	check(e.T, err)
	m1, err := a.WriteMessage(nil, nil)
	check(e.T, err)
	_, _, err = b.ReadMessage(m1)
	check(e.T, err)
	m2, err := b.WriteMessage(nil, proving(responder, identity.Responder, "", exampleSurvive))
	check(e.T, err)
	e.is("message 2", frame(m2))
	payload, hash, err := a.ReadMessage(m2)
	check(e.T, err)
	e.is("payload 2", payload)
	e.is("hash 2", hash)
	_, _, proof := parsePayload(payload)
	claimed, err := identity.ParseProof(identity.Responder, proof)
	check(e.T, err)
	_, err = claimed.Verify(hash)
	check(e.T, err)
	prove := proving(initiator, identity.Initiator, "forward_to_db", exampleSurvive)
	m3, err := a.WriteMessage(nil, prove)
	check(e.T, err)
	e.is("message 3", frame(m3))
	payload, hash, err = b.ReadMessage(m3)
	check(e.T, err)
	e.is("payload 3", payload)
	e.is("hash 3", hash)
	e.is("handshake hash", b.HandshakeHash())
	secret, err := b.Secret("sp/1 session")
	check(e.T, err)
	id := secret.ID("sp/1 session id")
	e.is("session", id[:])
	exampleControl(e, secret)
	exampleResume(e, secret)
	send, answer := secret.CipherStates("sp/1 flow", 1)
	flow = append([]byte{2}, id[:]...)
	flow = binary.BigEndian.AppendUint64(flow, 1)
	flow = append(flow, sealed(e.T, send, 0, e.document["inner"])...)
	flow = append(flow, sealed(e.T, send, 0, []byte("hello"))...)
	flow = append(flow, sealed(e.T, send, 1, nil)...)
	e.is("answer", sealed(e.T, answer, 0, wire.AppendStatus(nil, wire.Status{Hop: 1})))
	return append(append([]byte{1, byte(len(exampleSuite))}, exampleSuite...), frame(m1)...), flow
}

// exampleControl is what is said on the control link.
func exampleControl(e *example, secret *noise.Secret) {
	id := secret.ID("sp/1 session id")
	initiator, responder := secret.CipherStates("sp/1 flow", 0)
	one := binary.BigEndian.AppendUint64(id[:], 1)
	e.is("ready", sealed(e.T, responder, 5, nil))
	two := binary.BigEndian.AppendUint64(bytes.Clone(one), 2)
	e.is("acknowledge", sealed(e.T, responder, 10, two))
	e.is("lost", sealed(e.T, responder, 11, append(bytes.Clone(one), 0, 0, 0, 0)))
	e.is("gone", sealed(e.T, initiator, 12, one))
}

// exampleResume is flow 1 going on as flow 2. What each side has opened of the other is fixed.
func exampleResume(e *example, secret *noise.Secret) {
	id, key := secret.ID("sp/1 session id"), secret.ID("sp/1 resume")
	e.is("resume key", key[:])
	stands := func(role byte, position uint64) []byte {
		b := binary.BigEndian.AppendUint32(nil, 1) // attempt
		b = binary.BigEndian.AppendUint64(b, position)
		m := hmac.New(sha256.New, key[:])
		_, _ = m.Write(append([]byte("sp/1 resume"), role))
		_, _ = m.Write(binary.BigEndian.AppendUint64(id[:], 1))
		_, _ = m.Write(binary.BigEndian.AppendUint64(id[:], 2))
		_, _ = m.Write(b)
		return m.Sum(b)[:4+8+16]
	}
	send, answer := secret.CipherStates("sp/1 flow", 2)
	hello := binary.BigEndian.AppendUint64(append([]byte{2}, id[:]...), 2)
	request := append(binary.BigEndian.AppendUint64(id[:], 1), stands(1, 1)...)
	e.is("resume", append(hello, sealed(e.T, send, 9, request)...))
	e.is("resumed", sealed(e.T, answer, 9, stands(2, 2)))
	_, answer = secret.CipherStates("sp/1 flow", 2)
	e.is("not resumed", sealed(e.T, answer, 2, []byte{6}))
}

func proving(
	id *identity.Identity, role identity.Role, name string, survive uint32,
) func([]byte) ([]byte, error) {
	return func(h []byte) ([]byte, error) {
		proof, err := id.Prove(role, h, nil, nil)
		return payload(name, survive, proof), err
	}
}

func sealed(t *testing.T, c *noise.CipherState, kind byte, data []byte) []byte {
	t.Helper()
	body, err := c.EncryptWithAd(nil, nil, append([]byte{kind}, data...))
	check(t, err)
	return frame(body)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exampleSpare(e *example) {
	id, key := make([]byte, 16), make([]byte, 32)
	for i := range id {
		id[i] = byte(i)
	}
	for i := range key {
		key[i] = byte(0x40 + i)
	}
	e.is("spare", sparePayload(append(id, key...), 1))
}

// ---- the example, made by the second implementation

func bySecondImplementation(e *example) {
	exampleSpare(e)
	self := newPerson(repeated(0x01), exampleCreated)
	far := newPerson(repeated(0x02), exampleCreated)
	e.is("history", self.history)
	identifier := self.identifier()
	e.is("identifier", identifier[:])
	exampleMembers(e, identifier)
	exampleProcesses(e)
	exampleMeeting(e)
	e.is("prologue", prologue(exampleSuite, [16]byte{}))
	i := &initiator{
		T: e.T, symmetric: newSymmetric(exampleSuite, e.document["prologue"]), self: self,
		s: privateKey(repeated(0x03)), e: privateKey(repeated(0x05)), survive: exampleSurvive,
	}
	hello := append([]byte{1, byte(len(exampleSuite))}, exampleSuite...)
	e.is("hello", append(hello, frame(i.message1())...))
	re := i.message2(e.document["message 2"][2:])
	if i.peer != far.identifier() {
		e.Error("message 2 is not the responder's")
	}
	e.is("hash 2", i.hash2)
	e.is("payload 2", i.payload)
	e.is("message 3", frame(i.message3(re, "forward_to_db")))
	e.is("hash 3", i.hash3)
	e.is("handshake hash", i.h)
	e.is("chaining key", i.ck)
	k := i.keys()
	e.is("secret", k.secret)
	e.is("session", k.id[:])
	for n, name := range map[uint64]string{0: "keys 0", 1: "keys 1"} {
		send, receive := k.flow(n)
		e.is(name, append(bytes.Clone(send.key), receive.key...))
	}
	send, receive := k.flow(1)
	flow := append([]byte{2}, k.id[:]...)
	flow = binary.BigEndian.AppendUint64(flow, 1)
	flow = append(flow, send.record(0, e.document["inner"]).Bytes...)
	flow = append(flow, send.record(0, []byte("hello")).Bytes...)
	e.is("flow", append(flow, send.record(1, nil).Bytes...))
	kind, data := receive.open(e.T, e.document["answer"][2:])
	if kind != 0 || !bytes.Equal(data, []byte{0, 1, 0}) {
		e.Errorf("the answer is of type %d and says %x", kind, data)
	}
	e.resumes(k, send, receive)
}

// resumes has the second implementation resume flow 1, of which it has opened the answer.
func (e *example) resumes(k *keys, send, receive *direction) {
	f := &flow{named: k.named(1), send: send, receive: receive}
	e.is("resume key", k.resume)
	n := &session{second: &second{T: e.T}, initiator: true, keys: k, flows: 1}
	hello, attempt := n.hello()
	e.is("resume", append(hello.Bytes, attempt.send.seal(9, f.request(attempt.named))...))
	kind, data := attempt.receive.open(e.T, e.document["resumed"][2:])
	position, ok := f.answered(data, attempt.named)
	if kind != 9 || !ok || position != 2 {
		e.Fatalf("the answer is of type %d and says %x", kind, data)
	}
	var again []byte
	for _, p := range f.send.kept[position:] {
		again = append(again, p.Bytes...)
	}
	e.is("sent again", again)
	_, refusal := k.flow(2)
	if kind, data := refusal.open(e.T, e.document["not resumed"][2:]); kind != 2 || data[0] != 6 {
		e.Errorf("the refusal is of type %d and says %x", kind, data)
	}
	_, control := k.flow(0)
	one := k.named(1).append(nil)
	two := binary.BigEndian.AppendUint64(bytes.Clone(one), 2)
	for i, want := range [][]byte{nil, two, append(bytes.Clone(one), 0, 0, 0, 0)} {
		name := []string{"ready", "acknowledge", "lost"}[i]
		kind, data := control.open(e.T, e.document[name][2:])
		if kind != []byte{5, 10, 11}[i] || !bytes.Equal(data, want) {
			e.Errorf("%s is of type %d and says %x", name, kind, data)
		}
	}
	control, _ = k.flow(0)
	e.is("gone", control.seal(12, one))
}

// ---- the first implementation, to talk to

// node runs a node that trusts those given, and returns it and where it listens.
func node(t *testing.T, allow ...identity.Identifier) (*route.Node, *identity.Identity, string) {
	t.Helper()
	return nodeThat(t, func(*route.Config) {}, allow...)
}

// nodeThat is node with another configuration.
func nodeThat(
	t *testing.T, change func(*route.Config), allow ...identity.Identifier,
) (*route.Node, *identity.Identity, string) {
	t.Helper()
	id, err := identity.New(rand.Reader, time.Now())
	check(t, err)
	trust, err := trust.NewPolicy(trust.Config{Self: id.Identifier(), Allow: allow})
	check(t, err)
	config := route.Config{
		Channel: channel.Config{
			Keepalive: time.Minute, Identity: id, Trust: trust, Suites: suites(t),
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	change(&config)
	n, err := route.NewNode(config)
	check(t, err)
	n.HandleBasics()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	var serving sync.WaitGroup
	serving.Go(func() { n.Serve(context.Background(), l) })
	t.Cleanup(func() {
		_ = n.Close()
		serving.Wait()
	})
	return n, id, l.Addr().String()
}

// suites keeps to the one suite that the second implementation has, whatever the processor.
func suites(t *testing.T) []noise.Suite {
	t.Helper()
	s, err := noise.ParseSuite(hybrid)
	check(t, err)
	return []noise.Suite{s}
}

// trusted returns a second implementation, and the node that it talks to and that trusts it.
func trusted(t *testing.T) (*second, *route.Node, *identity.Identity) {
	t.Helper()
	s := newSecond(t, "")
	n, id, at := node(t, s.self.identifier())
	s.to = at
	return s, n, id
}

// ---- the two, live

func TestSecondImplementation(t *testing.T) {
	s, node, id := trusted(t)
	n := s.session("")
	n.expect(5, nil)
	if n.peer != id.Identifier() {
		t.Errorf("the responder is %s", n.peer)
	}
	n.ping(7)

	f := n.open(nil, "echo", nil)
	_, _ = f.Write([]byte("hello"))
	f.end()
	if got := f.reply(); got != "hello" {
		t.Errorf("echo says %q", got)
	}
	f = n.open(f.link, "uppercase", nil) // the link is clean
	_, _ = f.Write([]byte("hello"))
	f.end()
	if got := f.reply(); got != "HELLO" {
		t.Errorf("uppercase says %q", got)
	}

	node.Renew()
	n.expect(8, nil) // it asks for a renewal
	n.renew()
	n.ping(8)
	f = n.open(nil, "echo", nil)
	f.end()
	if got := f.reply(); got != "" {
		t.Errorf("echo says %q to nothing", got)
	}
}

// TestQuietFlow has flows that carry nothing carry empty records: from this side, and from sp where
// this side has ended its direction.
func TestQuietFlow(t *testing.T) {
	s, node, _ := trusted(t)
	over := make(chan struct{})
	node.Handle("wait", func(_ context.Context, q *route.Request) error {
		stream := q.Accept()
		if err := stream.Flush(); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, stream); err != nil {
			return err
		}
		<-over
		_, err := io.WriteString(stream, "done")
		return errors.Join(err, stream.CloseWrite())
	})
	n := s.session("")
	n.expect(5, nil)

	f := n.open(nil, "echo", nil)
	for _, word := range []string{"", "he", "", "", "llo", ""} {
		f.link.send(f.send.record(0, []byte(word)))
	}
	f.end()
	if got := f.reply(); got != "hello" {
		t.Errorf("echo says %q", got)
	}

	f = n.open(nil, "wait", nil)
	f.end()
	if status := f.takeData(3); !bytes.Equal(status, []byte{0, 1, 0}) {
		t.Fatalf("the flow's status is %x", status)
	}
	if kind, data := f.link.record(f.receive); kind != 0 || len(data) > 0 {
		t.Errorf("record of type %d with %x in a flow that carries nothing", kind, data)
	}
	close(over)
	if got, err := io.ReadAll(f); string(got) != "done" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestKeyRatchet sends more records than one key is for, each way.
func TestKeyRatchet(t *testing.T) {
	s, _, _ := trusted(t)
	n := s.session("")
	n.expect(5, nil)
	f := n.open(nil, "echo", nil)
	const records = 65536 + 100
	var sending sync.WaitGroup
	sending.Go(func() {
		var out bytes.Buffer
		for range records {
			out.Write(f.send.seal(0, []byte("x")))
		}
		out.Write(f.send.seal(1, nil))
		_, _ = f.link.Write(out.Bytes())
	})
	got := f.reply()
	sending.Wait()
	if got != strings.Repeat("x", records) {
		t.Errorf("%d bytes came back, want %d", len(got), records)
	}
}

// TestRefusals is what the document says of peers that are refused.
func TestRefusals(t *testing.T) {
	s, _, _ := trusted(t)
	n := s.session("forward_to_elsewhere")
	n.expect(2, []byte{5}) // wrong name
	n.control.ended()

	stranger := newSecond(t, s.to)
	n = stranger.session("")
	n.expect(2, []byte{1}) // not trusted
	n.control.ended()

	l := s.dial(s.opening(nil, step(1, "nothing")))
	l.status(2, 1, "no service named nothing")
	l.ended()
	l = s.dial(s.opening(nil, step(1, "echo"))) // not without a channel
	l.status(2, 1, "no service named echo")
	l = s.dial(s.opening(nil, step(1, "hop"), step(1, "hop")))
	l.status(0, 1, "")
	l = s.dial(s.opening(nil, step(3, "\xc0\x00\x02\x01\x0f\xa0")))
	l.status(3, 1, "forwarding to 192.0.2.1:4000 is not allowed here")
	l = s.dial(raw([]byte("GET / HTTP/1.1\r\n\r\n")))
	l.status(1, 0, "")
}

// TestReplay repeats a whole flow, as somebody on the way could.
func TestReplay(t *testing.T) {
	s, _, _ := trusted(t)
	n := s.session("")
	n.expect(5, nil)
	hello, f := n.hello()
	all := []piece{
		n.opening(nil, step(2, "api")), hello,
		f.send.record(0, n.opening(nil, step(1, "echo")).Bytes), f.send.record(1, nil),
	}
	f.link = n.dial(all...)
	f.status(0, 1, "")
	if got := f.reply(); got != "" {
		t.Errorf("echo says %q to nothing", got)
	}
	n.dial(all...).ended() // not even a status
	n.ping(1)
}

// TestGoingAway is the end of a session in good order.
func TestGoingAway(t *testing.T) {
	s, node, _ := trusted(t)
	n := s.session("")
	n.expect(5, nil)
	var stopping sync.WaitGroup
	stopping.Go(func() { _ = node.Shutdown(context.Background()) })
	n.expect(7, nil)
	n.expect(2, []byte{2})
	n.control.ended()
	stopping.Wait()
}

// ---- the second implementation as an outlet behind a relay

func TestSecondImplementationAsOutlet(t *testing.T) {
	s, self, _ := trusted(t)
	relay.NewServer(self, relay.ServerConfig{})
	n := s.session("")
	n.expect(5, nil)
	f := n.open(nil, "register", claim(0, process1))
	answer := make([]byte, 3+48)
	_, err := io.ReadFull(f, answer)
	check(t, err)
	if !bytes.Equal(answer[:3], []byte{0, 1, 0}) {
		t.Fatalf("register answers %x", answer[:3])
	}
	ticket := answer[3:]

	spare := s.dial(s.opening(sparePayload(ticket, 1), step(1, "spare")))
	spare.status(0, 1, "")
	replayed := s.dial(s.opening(sparePayload(ticket, 1), step(1, "spare")))
	replayed.status(0, 1, "")
	replayed.ended()
	forged := sparePayload(ticket, 2)
	forged[len(forged)-1] ^= 1
	s.dial(s.opening(forged, step(1, "spare"))).status(6, 1, "")

	inlet, _, _ := node(t)
	s.asked(inlet, spare)

	server, err := yamux.Server(f, muxConfig())
	check(t, err)
	mux := &muxFlow{server, f}
	defer mux.Close()
	defer f.Close()
	demand := s.accept(mux)
	s.askedOn(inlet, func() *link {
		if b := demand.take(1); b[0] != 0 { // the relay lacks a spare link, and gets none
			t.Errorf("the relay demands %x", b)
		}
		return s.accept(mux)
	})
}

func (s *second) asked(inlet *route.Node, l *link) { s.askedOn(inlet, func() *link { return l }) }

// askedOn lets an inlet ask for a service behind the relay, and refuses it on the link that the
// relay uses.
func (s *second) askedOn(inlet *route.Node, l func() *link) {
	s.Helper()
	at := transport.FromAddrPort(netip.MustParseAddrPort(s.to))
	to := route.Route{
		at,
		{Kind: wire.Service, Name: "forward_to_db"},
		{Kind: wire.Service, Name: "clock"},
	}
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	stream, err := inlet.Open(ctx, to, 0)
	check(s.T, err)
	defer stream.Close()
	check(s.T, stream.Flush())
	link := l()
	m := link.message()
	if !bytes.Equal(m.onward, step(1, "clock")) || m.labels != 2 {
		s.Errorf("the relay sends on %x with %d labels", m.onward, m.labels)
	}
	link.send(answer(2, 2, "no one"))
	var status *route.StatusError
	err = stream.Await(ctx)
	if !errors.As(err, &status) || status.Code != wire.NoService ||
		status.Reason != "no one" || status.Hop != 2 {
		s.Errorf("the inlet hears %v", err)
	}
	_ = link.Close()
}
