package channel

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"
)

// holdsRenewal takes part in a renewal as far as message 3, which it returns: so far gets somebody
// in between who has the old keys, and no identity.
func (p *fakePeer) holdsRenewal(t *testing.T) (message3 []byte) {
	t.Helper()
	for {
		typ, data, err := p.next()
		if err != nil {
			t.Fatal(err)
		}
		if p.keys.underWay() != nil {
			return data
		}
		if err := p.handle(typ, data); err != nil {
			t.Fatal(err)
		}
	}
}

// Who has the old keys of a session, and sits in between, cannot make its initiator believe that it
// has new ones together with the responder: whatever he says, the session ends, soon.
func TestOldKeysDoNotRenew(t *testing.T) {
	type word struct {
		t    recordType
		data []byte
	}
	ready := word{typeReady, nil}
	pong := word{typePong, binary.BigEndian.AppendUint64(nil, 1)}
	for name, row := range map[string]struct {
		words []word
		want  error
	}{
		"nothing":               {nil, ErrMissedPongs},
		"ready":                 {[]word{ready}, ErrMissedPongs},
		"ready, ready":          {[]word{ready, ready}, ErrForged},
		"ready, pong":           {[]word{ready, pong}, ErrForged},
		"ready, abort":          {[]word{ready, {typeAbort, []byte{byte(abortGoingAway)}}}, ErrForged},
		"handshake":             {[]word{{typeHandshake, pattern(100)}}, ErrProtocol},
		"ready, with something": {[]word{{typeReady, pattern(1)}}, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, l *lab) {
				p, s := l.fakeResponder()
				before := s.epochID()
				s.keys.renew()
				p.holdsRenewal(t)
				began := time.Now()
				for _, w := range row.words {
					if err := p.control.write(w.t, w.data); err != nil {
						t.Fatal(err)
					}
				}
				l.tasks.Go(func() { _, _ = io.Copy(io.Discard, p.control.link.Conn) })
				<-s.Done()
				wantErr(t, s.Err(), row.want)
				if took := time.Since(began); took > renewTimeout {
					t.Errorf("held for %v", took)
				}
				if s.epochID() != before {
					t.Error("the initiator believes that its keys are new")
				}
				_ = p.control.link.Conn.Close()
			})
		})
	}
}

// Nor can he hold it up by answering pings that he cannot read, or where there are hardly any.
func TestOldKeysDoNotHoldUp(t *testing.T) {
	for _, keepalive := range []time.Duration{DefaultKeepalive, 3 * time.Second, time.Hour} {
		patient := func(a, _ *Config) { a.Keepalive = keepalive }
		inBubble(t, patient, func(t *testing.T, l *lab) {
			p, s := l.fakeResponder()
			s.keys.renew()
			p.holdsRenewal(t)
			began := time.Now()
			l.tasks.Go(func() {
				for number := uint64(1); ; number++ { // of each ping, for nothing else is said
					if _, err := p.control.link.frame(); err != nil {
						return
					}
					_ = p.control.write(typePong, binary.BigEndian.AppendUint64(nil, number))
				}
			})
			<-s.Done()
			if !strings.Contains(s.Err().Error(), "did not finish a handshake for new keys") {
				t.Errorf("ended by %v", s.Err())
			}
			if took := time.Since(began); took > renewTimeout {
				t.Errorf("held for %v", took)
			}
			_ = p.control.link.Conn.Close()
		})
	}
}

// A responder whose first record under the new keys is not ready has not understood what they are.
func TestReadyComesFirst(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		p, s := l.fakeResponder()
		before := s.epochID()
		s.keys.renew()
		message3 := p.holdsRenewal(t)
		if err := p.keys.readSamePeer(p.keys.renewal, message3); err != nil {
			t.Fatal(err)
		}
		next, err := p.keys.renewal.epoch()
		if err != nil {
			t.Fatal(err)
		}
		send, _ := next.keys(p.role, 0)
		if err := p.control.writeThenSwitch(typeReady, nil, send); err != nil {
			t.Fatal(err)
		}
		if err := p.control.write(typePing, pattern(8)); err != nil {
			t.Fatal(err)
		}
		<-s.Done()
		wantErr(t, s.Err(), ErrProtocol)
		if s.epochID() != before {
			t.Error("the initiator believes that its keys are new")
		}
		_ = p.control.link.Conn.Close()
	})
}

// An initiator that answers pings and never renews is somebody who has no identity to renew with:
// the responder ends the session.
func TestKeysGrowOld(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		p := l.fakeInitiator()
		began := time.Now()
		for {
			typ, data, err := p.next()
			if err != nil {
				wantErr(t, err, ErrProtocol)
				break
			}
			if typ == typePing {
				_ = p.control.write(typePong, data)
			}
		}
		if took := time.Since(began); took < maxEpochAge || took > maxEpochAge+time.Minute {
			t.Errorf("it ended after %v", took)
		}
		_ = p.control.link.Conn.Close()
		l.waitServed(1)
		_ = l.responder.Close()
		l.wantNothingLeft()
	})
}

// One that renews as seldom as it may goes on for as long as it likes.
func TestKeysStayYoung(t *testing.T) {
	rarely := func(a, _ *Config) { a.RenewAfter = 24 * time.Hour }
	inBubble(t, rarely, func(t *testing.T, l *lab) {
		s := l.session()
		time.Sleep(10 * maxEpochAge)
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
		if err := transfer(t, l.open(s), []byte("still here"), 1); err != nil {
			t.Error(err)
		}
	})
}
