package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
)

// A black hole in either direction, or in both, is noticed within 15 seconds by both sides, and
// flows end with it.
func TestBlackHole(t *testing.T) {
	for _, dirs := range [][]faultnet.Direction{directions[:1], directions[1:], nil} {
		inBubble(t, nil, func(t *testing.T, l *lab) {
			l.plan = func(int) faultnet.Plan { return nil }
			flows := l.accepted()
			s := l.session()
			link := l.lastLink()
			f, a := l.both(s, flows)
			for _, wait := range []time.Duration{time.Second, 7 * time.Second} {
				time.Sleep(wait)
			}
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			link.BlackHole(true, dirs...)
			begin := time.Now()
			_, err := f.Read(make([]byte, 1))
			wantNoEOF(t, err)
			// The other side may be first, and reset the flow's link.
			if !errors.Is(err, ErrMissedPongs) && !errors.Is(err, ErrCut) {
				t.Errorf("got %v, want ErrMissedPongs or ErrCut", err)
			}
			if took := time.Since(begin); took > 15*time.Second {
				t.Errorf("the initiator noticed after %v", took)
			}
			_, err = a.Read(make([]byte, 1))
			wantNoEOF(t, err)
			if took := time.Since(begin); took > 15*time.Second {
				t.Errorf("the responder noticed after %v", took)
			}
			a.release()
		})
	}
}

// A session without traffic lives for as long as pings are answered.
func TestIdleSessionLives(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		s := l.session()
		time.Sleep(time.Hour)
		if err := transfer(t, l.open(s), []byte("still here"), 3); err != nil {
			t.Error(err)
		}
		if n := len(s.heartbeat.waiting); n != 0 {
			t.Errorf("%d pings are remembered", n)
		}
	})
}

func TestPing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		l.plan = func(int) faultnet.Plan { return faultnet.Line(30*time.Millisecond, 0) }
		s := l.session()
		if took, err := s.Ping(t.Context()); err != nil || took != 60*time.Millisecond {
			t.Errorf("%v, %v", took, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := s.Ping(ctx)
		wantErr(t, err, context.DeadlineExceeded)
		_ = s.Close()
		_, err = s.Ping(t.Context())
		wantErr(t, err, ErrClosed)
	})
}

func TestTrustWithdrawn(t *testing.T) {
	for _, side := range []string{"initiator", "responder"} {
		for _, stuck := range []bool{false, true} {
			t.Run(fmt.Sprintf("by the %s, stuck %v", side, stuck), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					policy := newTogglePolicy()
					l := newLab(t, func(a, b *Config) {
						if side == "initiator" {
							a.Trust = policy
						} else {
							b.Trust = policy
						}
					})
					defer l.close()
					l.plan = func(int) faultnet.Plan { return nil }
					flows := l.accepted()
					s := l.session()
					link := l.lastLink()
					f, a := l.both(s, flows)
					if stuck { // the far end does not take what is said on the control link
						link.BlackHole(true)
						for _, c := range []*control{&s.control, &a.Session().control} {
							l.tasks.Go(func() {
								for c.write(typeData, make([]byte, 10_000)) == nil {
								}
							})
						}
						time.Sleep(time.Second)
					}
					begin := time.Now()
					policy.set(trust.ErrNotTrusted)
					_, err := f.Read(make([]byte, 1))
					wantNoEOF(t, err)
					_, err = a.Read(make([]byte, 1))
					wantNoEOF(t, err)
					if took := time.Since(begin); took > time.Second {
						t.Errorf("flows ended after %v", took)
					}
					a.release()
					if stuck {
						return
					}
					<-s.Done()
					if took := time.Since(begin); took > time.Second {
						t.Errorf("the session ended after %v", took)
					}
					wantErr(t, s.Err(), trust.ErrNotTrusted)
					if got := errors.Is(s.Err(), ErrRefusedByPeer); got != (side == "responder") {
						t.Errorf("%v", s.Err())
					}
					_, err = s.Open(t.Context())
					wantErr(t, err, trust.ErrNotTrusted)
				})
			})
		}
	}
}

func TestTrustExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := newTogglePolicy() // says until when, and forgets to say no
		policy.until = time.Now().Add(100 * time.Second)
		l := newLab(t, func(_, b *Config) { b.Trust = policy })
		defer l.close()
		s := l.session()
		begin := time.Now()
		<-s.Done()
		if took := time.Since(begin); took < 99*time.Second || took > 101*time.Second {
			t.Errorf("ended after %v", took)
		}
		wantErr(t, s.Err(), ErrRefusedByPeer)
		_, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
		wantErr(t, err, ErrRefusedByPeer)
	})
}

// A session lives as long as its peer's credential, and on if a renewal brings a new one.
func TestCredentialExpiry(t *testing.T) {
	for _, renewed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			authority, self := testkit.NewIdentity(t), testkit.NewIdentity(t)
			other := testkit.NewIdentity(t)
			issue := func(life time.Duration) [][]byte {
				now := time.Now()
				c, err := authority.Issue(nil, identity.Claims{
					Subject:   self.Identifier(),
					NotBefore: now.Add(-time.Second), Expires: now.Add(life),
				})
				if err != nil {
					t.Error(err)
					return nil
				}
				return [][]byte{c.Bytes()}
			}
			first := issue(time.Minute)
			l := newLab(t, func(a, b *Config) {
				a.Identity, a.Trust = self, testkit.Trusting(t, self, other.Identifier())
				a.RenewAfter = 20 * time.Second
				a.Credentials = func() [][]byte {
					if renewed {
						return issue(time.Minute)
					}
					return first
				}
				b.Identity, b.Trust = other, trustingAuthority(t, authority)
			})
			defer l.close()
			s := l.session()
			select {
			case <-s.Done():
				if renewed {
					t.Errorf("ended in spite of new credentials: %v", s.Err())
				}
				wantErr(t, s.Err(), ErrRefusedByPeer)
			case <-time.After(65 * time.Second):
				if !renewed {
					t.Error("the session outlives the credential")
				}
			}
		})
	}
}

func TestBothCloseAtOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		var tasks sync.WaitGroup
		for range 10 {
			s := l.session()
			f := l.open(s)
			tasks.Go(func() { _ = transfer(t, f, pattern(100<<10), 1000) })
		}
		for range 2 {
			tasks.Go(func() { _ = l.initiator.Close() })
			tasks.Go(func() { _ = l.responder.Close() })
		}
		tasks.Wait()
		_, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
		wantNoEOF(t, err)
		l.wantNothingLeft()
	})
}

// wantNothingLeft checks that closed endpoints have forgotten everything.
func (l *lab) wantNothingLeft() {
	l.t.Helper()
	l.initiator.wantForgotten(l.t)
	l.responder.wantForgotten(l.t)
}

// wantForgotten checks that e knows nothing of any session.
func (e *Endpoint) wantForgotten(t testing.TB) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if s, k, i := len(e.sessions), len(e.epochs), len(e.asked); s+k+i != 0 {
		t.Errorf("left: %d sessions, %d epochs, %d identities", s, k, i)
	}
}

func TestCloseDuringHandshake(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		l.plan = func(int) faultnet.Plan { return faultnet.Line(100*time.Millisecond, 0) }
		var tasks sync.WaitGroup
		for range 5 {
			tasks.Go(func() {
				_, err := l.initiator.Initiate(context.Background(), "", trust.As{}, l.dial)
				wantNoEOF(t, err)
			})
		}
		time.Sleep(250 * time.Millisecond)
		_ = l.initiator.Close()
		_ = l.responder.Close()
		tasks.Wait()
		l.waitServed(5)
		l.wantNothingLeft()
	})
}

// The session ends while a flow's link is being dialed.
func TestSessionEndsDuringDial(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		s := l.session()
		s.dial = func(ctx context.Context) (Conn, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		time.AfterFunc(time.Second, func() { _ = s.Close() })
		_, err := s.Open(context.Background())
		wantNoEOF(t, err)
	})
}

func TestGoAway(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		s := l.session()
		f := l.open(s)
		l.responder.GoAway()
		l.responder.GoAway()
		<-s.GoingAway()
		if !s.life.goingAway.happened() {
			t.Error("not going away")
		}
		if err := transfer(t, f, []byte("an open flow goes on"), 3); err != nil {
			t.Error(err)
		}
		synctest.Wait() // the responder knows that the flow is over
		_ = l.responder.Close()
		<-s.Done()
		wantErr(t, s.Err(), ErrGoingAway)
	})
}

// CloseFunc ends the sessions that it is to end, and no others. When it returns, their far ends
// have been told.
func TestCloseFunc(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		first, second := l.session(), l.session()
		_, a := l.both(first, flows)
		_, b := l.both(second, flows)
		l.responder.CloseFunc(func(s *Session) bool { return s == a.Session() })
		if !a.Session().life.closeSent.happened() {
			t.Error("the far end has not been told")
		}
		<-first.Done()
		wantErr(t, first.Err(), ErrGoingAway)
		if err := second.Err(); err != nil {
			t.Errorf("another session ended: %v", err)
		}
		a.release()
		b.release()
	})
}

// TestGoingAwayEnds checks that a session whose far end is going away ends with its last flow,
// and at once without.
func TestGoingAwayEnds(t *testing.T) {
	for name, flows := range map[string]int{"no flow": 0, "a flow": 1, "two flows": 2} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, l *lab) {
				s := l.session()
				// One before leaves an idle link.
				if err := transfer(t, l.open(s), []byte("one before"), 3); err != nil {
					t.Fatal(err)
				}
				var open []*Flow
				for range flows {
					open = append(open, l.open(s))
				}
				l.responder.GoAwayFunc(func(*Session) bool { return false })
				synctest.Wait()
				if s.life.goingAway.happened() {
					t.Fatal("told what was not meant for it")
				}
				l.responder.GoAway()
				for i, f := range open {
					synctest.Wait()
					if err := s.Err(); err != nil {
						t.Errorf("ended with %d flows: %v", flows-i, err)
					}
					if err := transfer(t, f, []byte("goes on"), 3); err != nil {
						t.Error(err)
					}
				}
				begin := time.Now()
				<-s.Done()
				wantErr(t, s.Err(), ErrGoingAway)
				if waited := time.Since(begin); waited > 0 {
					t.Errorf("ended %v after its last flow", waited)
				}
				<-s.life.over.await()
				l.waitServed(1)
			})
		})
	}
}

// TestGoingAwayDelivers has a session end with its last flow while a slow reader still has most
// of that before it: who wrote it believes it delivered.
func TestGoingAwayDelivers(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		s := l.session()
		near, far := l.both(s, flows)
		if err := far.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, near)
		l.responder.GoAway()
		<-s.GoingAway()
		const size, pace = 60_000, 2 * time.Second
		if _, err := near.Write(pattern(size)); err != nil {
			t.Fatal(err)
		}
		if err := near.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		_ = near.Close()
		<-s.Done()
		total, b := 0, make([]byte, 1000)
		for {
			n, err := far.Read(b)
			total += n
			if err != nil {
				if err != io.EOF || total != size {
					t.Errorf("%d bytes came of %d, and then %v", total, size, err)
				}
				break
			}
			time.Sleep(pace)
		}
		far.release()
		<-far.Session().life.over.await()
	})
}

// TestGoingAwayDials lets a flow begin whose link is being dialed when the far end says that it
// is going away.
func TestGoingAwayDials(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		const roundTrip = 50 * time.Millisecond
		first := true
		s := l.sessionBy(func(ctx context.Context) (Conn, error) {
			if !first {
				select {
				case <-time.After(roundTrip):
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			first = false
			return l.dial(ctx)
		})
		time.AfterFunc(roundTrip/2, l.responder.GoAway)
		f := l.open(s)
		if err := transfer(t, f, []byte("one more"), 3); err != nil {
			t.Error(err)
		}
		<-s.Done()
	})
}

// A session in which there is only what nobody would miss soon has its keys replaced rarely once no
// flow has them, and as ever when there is one; and in time for the far end.
func TestRenewalOfTheIdle(t *testing.T) {
	inBubble(t, func(a, _ *Config) { a.RenewAfter = 5 * time.Minute }, func(t *testing.T, l *lab) {
		s := l.session()
		f := l.open(s)
		write(t, f, "a")
		expect(t, f, "a")
		f.Background()
		time.Sleep(6 * time.Minute) // the flow has the first keys
		first := s.epochID()
		time.Sleep(30 * time.Minute)
		if s.epochID() != first {
			t.Error("new keys, and nothing had the old ones")
		}
		time.Sleep(20 * time.Minute)
		if s.epochID() == first || s.Err() != nil {
			t.Errorf("no new keys in time: %v", s.Err())
		}
		g := l.open(s)
		write(t, g, "b")
		expect(t, g, "b")
		used := s.epochID()
		time.Sleep(6 * time.Minute)
		if s.epochID() == used {
			t.Error("no new keys, although a flow has the old ones")
		}
	})
}

// Keys are replaced again and again while flows run; flows of before go on, and those on their way
// arrive.
func TestRenewalUnderTraffic(t *testing.T) {
	inBubble(t, func(a, _ *Config) { a.RenewAfter = 10 * time.Second }, func(t *testing.T, l *lab) {
		l.plan = func(int) faultnet.Plan { return faultnet.Line(200*time.Millisecond, 1<<20) }
		s := l.session()
		var mu sync.Mutex
		epochs := map[sessionID]bool{}
		var tasks sync.WaitGroup
		long := l.open(s)
		write(t, long, "a")
		for range 2 {
			tasks.Go(func() {
				for begin := time.Now(); time.Since(begin) < 40*time.Second; {
					if err := transfer(t, l.open(s), pattern(50_000), 5000); err != nil {
						t.Errorf("after %v: %v", time.Since(begin), err)
						return
					}
					mu.Lock()
					epochs[s.epochID()] = true
					mu.Unlock()
				}
			})
		}
		tasks.Wait()
		if len(epochs) < 4 {
			t.Errorf("%d epochs in 40 s", len(epochs))
		}
		write(t, long, "b")
		expect(t, long, "ab")
		_ = long.Close()
		l.responder.mu.Lock()
		if n := len(l.responder.epochs); n > 6 {
			t.Errorf("the responder keeps %d epochs", n)
		}
		l.responder.mu.Unlock()
	})
}

// A flow that was numbered before a renewal arrives after it, if not too late.
func TestOldEpoch(t *testing.T) {
	rarely := func(a, b *Config) { a.RenewAfter, b.Keepalive = time.Hour, time.Hour }
	inBubble(t, rarely, func(t *testing.T, l *lab) {
		s := l.session()
		soon, late := l.number(s), l.number(s)
		if err := s.keys.begin(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if err := transfer(t, soon(), []byte("soon"), 4); err != nil {
			t.Error(err)
		}
		time.Sleep(epochGrace)
		wantErr(t, transfer(t, late(), []byte("late"), 4), ErrCut)
		l.responder.mu.Lock()
		defer l.responder.mu.Unlock()
		if n := len(l.responder.epochs); n != 1 {
			t.Errorf("%d epochs", n)
		}
	})
}

// number numbers a flow now, and gives it a link when the returned function is called.
func (l *lab) number(s *Session) func() *Flow {
	k, err := s.keys.nextFlow()
	if err != nil {
		l.t.Fatal(err)
	}
	return func() *Flow {
		link, err := s.dialLink(context.Background())
		if err == nil {
			err = s.pool.add(link, false)
		}
		if err != nil {
			l.t.Fatal(err)
		}
		return newFlow(s, link, k)
	}
}

// OnEnd tells once that a flow has ended with its session: unless the flow has ended well before
// that, or nobody wants to know any more.
func TestOnEnd(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		s := l.session()
		var mu sync.Mutex
		told := map[string]int{}
		tell := func(name string) func() {
			return func() {
				mu.Lock()
				defer mu.Unlock()
				told[name]++
			}
		}
		open, clean, deaf := l.greeted(s), l.greeted(s), l.greeted(s)
		open.OnEnd(tell("open"))
		clean.OnEnd(tell("clean"))
		deaf.OnEnd(tell("deaf"))
		deaf.OnEnd(nil)
		_ = clean.CloseWrite()
		expectEnd(t, clean)
		_ = s.Close()
		open.OnEnd(tell("late"))
		mu.Lock()
		defer mu.Unlock()
		if want := map[string]int{"open": 1, "late": 1}; !maps.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
	})
}

// fakePeer is one side of a session, with real keys and no manners.
type fakePeer struct {
	*Session
}

// fakeInitiator shakes hands with the lab's responder. What it does afterwards is the test's.
func (l *lab) fakeInitiator() *fakePeer {
	l.t.Helper()
	client, server := l.pipe()
	l.serve(server)
	s, err := l.initiator.initiate(newLink(client), identity.Identifier{}, "", trust.As{})
	if err != nil {
		l.t.Fatal(err)
	}
	return &fakePeer{s}
}

// fakeResponder answers the lab's initiator and returns the session of that. What it does
// afterwards is the test's.
func (l *lab) fakeResponder() (*fakePeer, *Session) {
	l.t.Helper()
	client, server := l.pipe()
	fake := make(chan *Session)
	go func() {
		c := newLink(server)
		_, _ = c.need(1)
		s, err := l.responder.respond(context.Background(), c, l.accept)
		if err == nil {
			err = s.control.write(typeReady, nil)
			l.responder.leave(s)
		}
		if err != nil {
			l.t.Error(err)
		}
		fake <- s
	}()
	s := l.sessionBy(only(client))
	return &fakePeer{<-fake}, s
}

// next reads a record, and fails with the reason if the other side ends the session with it.
func (p *fakePeer) next() (recordType, []byte, error) {
	t, data, err := p.control.read()
	if err == nil && t == typeAbort {
		err = abortReason(data[0]).err()
	}
	return t, data, err
}

// said returns the reason with which the other side ended the session.
func (p *fakePeer) said() error {
	for {
		if _, _, err := p.next(); err != nil {
			return err
		}
	}
}

// What an authenticated peer may not say ends the session, and nothing worse.
func TestControlOutOfTurn(t *testing.T) {
	type word struct {
		t    recordType
		size int
	}
	common := map[string][]word{
		"data":                  {{typeData, 10}},
		"end":                   {{typeEnd, 0}},
		"type 77":               {{77, 0}},
		"short ping":            {{typePing, 7}},
		"huge ping":             {{typePing, maxData}},
		"empty pong":            {{typePong, 0}},
		"pong unasked":          {{typePong, 8}},
		"ready":                 {{typeReady, 0}},
		"abort of 0":            {{typeAbort, 0}},
		"abort of 2":            {{typeAbort, 2}},
		"handshake":             {{typeHandshake, 100}},
		"empty handshake":       {{typeHandshake, 0}},
		"huge handshake":        {{typeHandshake, maxData}},
		"going away with words": {{typeGoingAway, 3}},
	}
	for name, words := range common {
		for _, role := range []identity.Role{identity.Initiator, identity.Responder} {
			t.Run(name+" by the "+role.String(), func(t *testing.T) {
				inBubble(t, nil, func(t *testing.T, l *lab) {
					var p *fakePeer
					if role == identity.Initiator {
						p = l.fakeInitiator()
					} else {
						p, _ = l.fakeResponder()
					}
					for _, w := range words {
						if err := p.control.write(w.t, make([]byte, w.size)); err != nil {
							t.Fatal(err)
						}
					}
					if err := p.said(); errors.Is(err, io.EOF) || errors.Is(err, ErrMissedPongs) {
						t.Errorf("said %v", err)
					}
					_ = p.control.link.Conn.Close()
				})
			})
		}
	}
}

// renewFully does a whole renewal as the initiator.
func (p *fakePeer) renewFully() error {
	if err := p.keys.begin(); err != nil {
		return err
	}
	for {
		t, data, err := p.next()
		if err != nil {
			return err
		}
		if err := p.handle(t, data); err != nil {
			return err
		}
		if t == typeReady {
			return nil
		}
	}
}

// An initiator that renews endlessly costs the responder maxOldEpochs handshakes and is cut off.
func TestEndlessRenewals(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		p := l.fakeInitiator()
		for range maxOldEpochs {
			if err := p.renewFully(); err != nil {
				t.Fatal(err)
			}
		}
		wantErr(t, p.renewFully(), ErrProtocol)
		_ = p.control.link.Conn.Close()
		l.waitServed(1)
		_ = l.responder.Close()
		l.wantNothingLeft()
	})
}

// A renewal that the other side does not finish ends the session.
func TestUnfinishedRenewal(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		p := l.fakeInitiator()
		if err := p.keys.begin(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for {
			typ, data, err := p.control.read()
			if err != nil {
				break
			}
			if typ == typePing {
				_ = p.control.write(typePong, data)
			}
		}
		if took := time.Since(begin); took > renewTimeout+2*DefaultKeepalive {
			t.Errorf("held for %v", took)
		}
		_ = p.control.link.Conn.Close()
	})
}

// A renewal must be by the same identity, for the same name.
func TestRenewalByAnother(t *testing.T) {
	other := testkit.NewIdentity(t)
	for name, change := range map[string]func(p *fakePeer){
		"identity": func(p *fakePeer) {
			c := *p.keys.config
			c.Identity = other
			p.keys.config = &c
		},
		"name": func(p *fakePeer) { p.keys.name = "db" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, func(a, b *Config) { b.Trust = newTogglePolicy() })
				defer l.close()
				p := l.fakeInitiator()
				change(p)
				wantErr(t, p.renewFully(), ErrProtocol)
				_ = p.control.link.Conn.Close()
			})
		})
	}
}

// Pings without end, whose answers are not read, end in controlTimeout; other sessions do not
// notice.
func TestPingFlood(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		p := l.fakeInitiator()
		s := l.session()
		begin := time.Now()
		for p.control.write(typePing, make([]byte, 8)) == nil {
		}
		if took := time.Since(begin); took > 2*controlTimeout {
			t.Errorf("the flood was taken for %v", took)
		}
		if took, err := s.Ping(t.Context()); err != nil || took > time.Second {
			t.Errorf("%v, %v", took, err)
		}
		_ = p.control.link.Conn.Close()
	})
}

// A flow that the responder has not got yet does not outlive a session that never came to be.
func TestReadyCannotBeSent(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		client, server := faultnet.PipeSize(5000)
		l.serve(server)
		c := newLink(client)
		h := l.initiator.handshake(t, identity.Initiator)
		if err := send(c, appendHandshakeHello(nil, quickSuite(t)), h.writeBare); err != nil {
			t.Fatal(err)
		}
		message, err := c.frame()
		if err != nil {
			t.Fatal(err)
		}
		if err := h.readProof(message); err != nil {
			t.Fatal(err)
		}
		l.accept = func(string) error { // between message 3 and ready
			_ = client.Close()
			return nil
		}
		prove := func(dst []byte) ([]byte, error) { return h.writeProof(dst, "") }
		if err := send(c, nil, prove); err != nil {
			t.Fatal(err)
		}
		l.waitServed(1)
		l.wantNothingLeft()
	})
}
