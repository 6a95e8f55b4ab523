package channel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/noise"
)

// fuzzLab is a lab with one identity for all runs of a fuzz target.
func fuzzLab(f *testing.F) *lab {
	l := newLab(f, func(_, b *Config) { b.SessionsPerIdentity = 1 << 20 })
	f.Cleanup(func() {
		l.close()
		l.wantNothingLeft()
	})
	return l
}

// feed gives the responder a link that says b and ends, and returns what it said.
func (l *lab) feed(b []byte) []byte {
	client, server := faultnet.PipeSize(1 << 20)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.serveToEnd(server)
	}()
	_, _ = client.Write(b)
	_ = client.CloseWrite()
	said, _ := io.ReadAll(client)
	<-done
	_ = client.Close()
	return said
}

// Whatever bytes come on a link that proves nothing: Serve returns, calls no handler, and says no
// more than message 2.
func FuzzServe(f *testing.F) {
	l := fuzzLab(f)
	l.handle = func(context.Context, *Flow) { panic("a flow of somebody who knows no key") }
	s := l.session()
	hello := appendHandshakeHello(nil, quickSuite(f))
	h := l.initiator.handshake(f, identity.Initiator)
	message, err := appendFrame(bytes.Clone(hello), h.writeBare)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add([]byte{3})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(hello)
	f.Add([]byte{helloHandshake, 0})
	f.Add([]byte{helloHandshake, 255})
	f.Add(append(bytes.Clone(hello), 0, 0))
	f.Add(append(bytes.Clone(hello), 0xff, 0xff))
	f.Add(message)
	f.Add(append(bytes.Clone(message), 0, 0))
	f.Add(append(bytes.Clone(message), 0, 96))
	f.Add(append(bytes.Clone(message), make([]byte, 9000)...))
	f.Add(appendFlowHello(nil, sessionID{}, 1))
	f.Add(append(appendFlowHello(nil, sessionID{}, 1), make([]byte, 40)...))
	f.Add(append(appendFlowHello(nil, sessionID{}, 0), 0, 17))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<18 {
			return
		}
		if len(b) > flowHelloSize && b[0] == helloFlow && b[flowHelloSize-1]&1 == 1 {
			b = bytes.Clone(b)
			copy(b[1:], s.keys.current.id[:]) // seen on the way
		}
		if said := l.feed(b); len(said) > lengthSize+maxHandshakeMessage {
			t.Errorf("said %d bytes", len(said))
		}
	})
}

// The payload of message 3, as an initiator with any Noise keys may send it.
func FuzzReadProof(f *testing.F) {
	l := fuzzLab(f)
	id := l.initiator.config.Identity
	proof, err := id.Prove(identity.Initiator, make([]byte, 32), nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, false)
	f.Add([]byte{0}, false)
	f.Add([]byte{MaxName + 1}, false)
	f.Add([]byte{2, 'd'}, false)
	f.Add([]byte{2, 'd', 'b', 0, 0, 0, 0}, true)
	f.Add([]byte{2, 'd', 'b', 0, 0, 0}, true)
	f.Add([]byte{0, 1, 2, 3, 4, 5}, true)
	f.Add(append([]byte{0, 1, 2, 3, 4}, proof...), false)
	f.Fuzz(func(t *testing.T, payload []byte, signed bool) {
		if len(payload) > 7000 {
			return
		}
		a := l.initiator.handshake(t, identity.Initiator)
		b := l.responder.handshake(t, identity.Responder)
		first, _ := a.writeBare(nil)
		_ = b.readBare(first)
		second, _ := b.writeProof(nil, "")
		if err := a.readProof(second); err != nil {
			t.Fatal(err)
		}
		honest := false
		third, err := a.noise.WriteMessage(nil, func(hash []byte) ([]byte, error) {
			if !signed {
				return payload, nil
			}
			proof, err := id.Prove(identity.Initiator, hash, nil, nil)
			honest = len(payload) > surviveSize && payload[0] <= MaxName &&
				int(payload[0]) == len(payload)-1-surviveSize
			return append(bytes.Clone(payload), proof...), err
		})
		if err != nil {
			t.Fatal(err)
		}
		err = b.readProof(third)
		if honest != (err == nil) {
			t.Errorf("honest %v, got %v", honest, err)
		}
		if err != nil && b.peer != nil && !errors.Is(err, trust.ErrNotTrusted) {
			t.Errorf("a peer in spite of %v", err)
		}
	})
}

// script is what a fuzzer makes an authenticated peer say: type (1), size (2), how (1) for each
// record.
func script(words ...uint32) (b []byte) {
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

func word(t recordType, size int, how byte) uint32 {
	return uint32(t)<<24 | uint32(size)<<8 | uint32(how)
}

// Any records with the right keys, in any order, damaged or not, make a flow deliver exactly the
// data before the first record that ends it or is wrong, and end as that says.
func FuzzFlow(f *testing.F) {
	f.Add(script(word(typeData, 5, 0), word(typeEnd, 0, 0)))
	f.Add(script(word(typeData, 0, 0), word(typeData, 70, 0), word(typeAbort, 1, 0)))
	f.Add(script(word(typeData, 9, 0), word(typeData, 9, 1), word(typeEnd, 0, 0)))
	f.Add(script(word(typeData, 9, 0), word(typeData, 9, 2), word(typeEnd, 0, 0)))
	f.Add(script(word(typeData, 9, 0), word(typeData, 9, 3), word(typeEnd, 0, 0)))
	f.Add(script(word(typeData, 65000, 0), word(typeEnd, 0, 0), word(typeData, 1, 0)))
	f.Add(script(word(typePing, 8, 0)))
	f.Add(script(word(typeEnd, 1, 0)))
	f.Add(script(word(200, 0, 0)))
	f.Add(script(word(typeData, 9, 0), word(typeData, 9, 4)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 400 {
			return
		}
		secret := fuzzSecret(t)
		send, _ := secret.keys(identity.Initiator, 1)
		wire, want, wantErr := b[:0:0], []byte(nil), error(ErrCut)
		over := false
		for ; len(b) >= 4; b = b[4:] {
			typ, size, how := recordType(b[0]), int(binary.BigEndian.Uint16(b[1:]))%maxData, b[3]%5
			record := sealed(t, &send, typ, pattern(size))
			switch how {
			case 1:
				record[len(record)-1-size%len(record)] ^= 1
			case 2:
				record = append(record, record...)
			case 3:
				record = nil
			case 4:
				// Were it one byte less, the next record might begin with that byte.
				record = record[:len(record)-8]
			}
			wire = append(wire, record...)
			if over || how == 3 {
				over, wantErr = over || how == 3, damaged(over, wantErr)
				continue
			}
			if how == 1 || how == 4 {
				over, wantErr = true, damaged(false, nil)
				continue
			}
			switch {
			case typ == typeData:
				want = append(want, pattern(size)...)
			case typ == typeEnd && size == 0:
				over, wantErr = true, io.EOF
			default:
				over, wantErr = true, errAny
			}
			if how == 2 && !over {
				over, wantErr = true, damaged(false, nil)
			}
		}
		got, err := readFlow(secret, wire)
		if !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, want %d", len(got), len(want))
		}
		hidden := err != io.EOF && errors.Is(err, io.EOF)
		if (wantErr == io.EOF) != (err == io.EOF) || err == nil || hidden {
			t.Fatalf("ended with %v, want %v", err, wantErr)
		}
	})
}

var errAny = errors.New("any error")

// damaged keeps how a flow has ended, if it has.
func damaged(over bool, err error) error {
	if over {
		return err
	}
	return errAny
}

// fuzzSecret returns an epoch.
func fuzzSecret(t testing.TB) *epoch {
	a, b := handshaken(t)
	_ = b
	e, err := a.epoch()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var fuzzIdentity = func() *identity.Identity {
	id, err := identity.New(nil, testTime)
	if err != nil {
		panic(err)
	}
	return id
}()

// handshaken returns the two sides of a finished handshake.
func handshaken(t testing.TB) (a, b *handshake) {
	t.Helper()
	config := &Config{
		Identity: fuzzIdentity, Trust: testkit.Trusting(t, fuzzIdentity),
		Suites: []noise.Suite{quickSuite(t)},
	}
	a, b = pairOf(t, config, quickSuite(t))
	shake(t, a, b)
	return a, b
}

// readFlow returns what a responder's flow delivers when wire arrives.
func readFlow(e *epoch, wire []byte) ([]byte, error) {
	client, server := faultnet.PipeSize(len(wire) + 1)
	defer client.Close()
	_, _ = client.Write(wire)
	_ = client.CloseWrite()
	s := &Session{config: new(Config), role: identity.Responder, life: newLife()}
	s.quiet = newQuietLinks(&alarm{chores: &s.chores})
	s.pool = newLinkPool(s.role, &s.life.goingAway, s.prewarm, s.quiet)
	l := newLink(server)
	_ = s.pool.adopt(l)
	var k flowKeys
	k.send, k.receive = e.keys(identity.Responder, 1)
	f := newFlow(s, l, k)
	var got bytes.Buffer
	err := drainBy("WriteTo", f, &got)
	_ = f.Close()
	return got.Bytes(), err
}

// Whatever an authenticated initiator says on the control link, the responder ends the session or
// goes on, and forgets everything when the link has ended.
func FuzzControl(f *testing.F) {
	l := fuzzLab(f)
	f.Add(script(word(typePing, 8, 0), word(typePing, 8, 0), word(typePong, 8, 0)))
	f.Add(script(word(typeHandshake, 0, 1), word(typeHandshake, 0, 1), word(typeHandshake, 0, 1)))
	f.Add(script(word(typeHandshake, 0, 2), word(typePing, 8, 0), word(typeHandshake, 40, 0)))
	f.Add(script(word(typeHandshake, 32, 0), word(typeReady, 0, 0)))
	f.Add(script(word(typeGoingAway, 0, 0), word(typeGoingAway, 0, 0), word(typeAbort, 1, 0)))
	f.Add(script(word(typeReady, 0, 0)))
	f.Add(script(word(8, 0, 0)))
	f.Add(script(word(typeData, 60000, 0)))
	f.Add(script(word(typeHandshake, 0, 1), word(typeData, 5, 3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 200 {
			return
		}
		client, server := faultnet.PipeSize(1 << 20)
		l.serve(server)
		s, err := l.initiator.initiate(newLink(client), identity.Identifier{}, "", trust.As{})
		if err != nil {
			t.Fatal(err)
		}
		p := &fakePeer{s}
		for ; len(b) >= 4 && err == nil; b = b[4:] {
			typ, size := recordType(b[0]), int(binary.BigEndian.Uint16(b[1:]))%maxData
			switch b[3] % 4 {
			case 0:
				err = p.control.write(typ, pattern(size))
			case 1:
				err = p.renewFully()
			case 2:
				err = p.keys.begin()
			case 3:
				_, err = client.Write(pattern(size))
			}
		}
		_ = client.Close()
		l.tasks.Wait()
		l.responder.wantForgotten(t)
	})
}
