package channel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
)

// cutAll cuts all links that there are.
func (p *peer) cutAll() {
	for _, k := range p.liveLinks() {
		k.Cut()
	}
}

// noWay has every link to come reset at once.
func (p *peer) noWay() {
	p.plan = func(int) faultnet.Plan {
		return faultnet.Plan{{Kind: faultnet.Reset, Unit: faultnet.Byte, At: 0}}
	}
}

// remain returns how many flows an endpoint still has something to do for.
func (e *Endpoint) remain() int {
	e.flows.mu.RLock()
	defer e.flows.mu.RUnlock()
	return len(e.flows.by)
}

// wantNothingLeft fails unless nothing waits, is kept or lingers.
func (p *peer) wantNothingLeft() {
	p.t.Helper()
	if n := flowsSuspended.Value(); n != 0 {
		p.t.Errorf("%d flows are suspended", n)
	}
	if n := budget.Kept.Taken(); n != 0 {
		p.t.Errorf("%d bytes are kept", n)
	}
	if n, m := p.initiator.remain(), p.responder.remain(); n+m != 0 {
		p.t.Errorf("%d and %d flows remain", n, m)
	}
}

// Who gives up what is kept does not wait for a flow that is just sending it again.
func TestGiveUpWhileSendingAgain(t *testing.T) {
	budget.SetKept(1, 0)
	defer budget.SetKept(0, 0)
	gaveUp := 0
	e := &Endpoint{config: Config{GaveUp: func(*Flow) { gaveUp++ }}}
	f := &Flow{lasting: &lasting{}}
	f.in.Store(&Session{endpoint: e})
	f.way.carrier = newLink(nil)
	e.flows.add(f)
	k := &f.lasting.kept
	k.make(1, 100)
	k.keep(nil, make([]byte, 100), 1)
	if _, err := k.from(0, false); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		e.keepWhatFits()
		close(done)
	}()
	testkit.Within(t, done, "keepWhatFits")
	e.keepWhatFits()
	k.sent()
	if gaveUp != 1 || k.held != 0 {
		t.Errorf("given up %d times, %d bytes are kept", gaveUp, k.held)
	}
}

// An endpoint that is being closed closes, although a session of its is lost meanwhile.
func TestCloseWhileSessionIsLost(t *testing.T) {
	for _, closing := range []string{"initiator", "responder"} {
		t.Run(closing, func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				flows := p.accepted()
				f, far := p.both(p.mustSession(), flows)
				e := p.initiator
				if closing == "responder" {
					e = p.responder
				}
				e.mu.Lock()
				e.closed = true // as Close does first
				e.mu.Unlock()
				p.cutAll()
				synctest.Wait()
				_ = e.Close()
				end := f
				if closing == "responder" {
					end = far.Flow
				}
				_, err := end.Read(make([]byte, 1))
				wantNoEOF(t, err)
				far.release()
			})
		})
	}
}

// dismissed is a link that is reset just when who awaits that is told to leave.
type dismissed struct {
	*faultnet.Conn
	told chan struct{}
	once atomic.Bool
}

func (d *dismissed) AwaitReset() error {
	<-d.told
	return syscall.ECONNRESET
}

func (d *dismissed) SetReadDeadline(t time.Time) error {
	if t.Equal(time.Unix(1, 0)) && !d.once.Swap(true) {
		close(d.told)
	}
	return d.Conn.SetReadDeadline(t)
}

// A link may be reset just when both directions have ended.
func TestResetAtTheEnd(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		dial := func(context.Context) (Conn, error) {
			client, server := p.pipe()
			p.serve(&dismissed{Conn: server, told: make(chan struct{})})
			return client, nil
		}
		s, err := p.initiator.Initiate(t.Context(), "", trust.As{Role: trust.Node}, dial)
		if err != nil {
			t.Fatal(err)
		}
		f, far := p.both(s, flows)
		_ = f.CloseWrite()
		waited := make(chan error)
		go func() { waited <- far.AwaitReset() }()
		synctest.Wait()
		if err := far.CloseWrite(); err != nil {
			t.Error(err)
		}
		if err := <-waited; err != nil {
			t.Error(err)
		}
		expectEnd(t, f)
		far.release()
	})
}

// A deadline holds for who waits for a link already.
func TestDeadlineWhileSuspended(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		f := p.greeted(p.mustSession())
		synctest.Wait()
		p.noWay()
		p.cutAll()
		time.Sleep(time.Second)
		wrote, read := make(chan error), make(chan error)
		go func() {
			_, err := f.Write([]byte("x"))
			wrote <- err
		}()
		go func() {
			_, err := f.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		began := time.Now()
		_ = f.SetReadDeadline(began.Add(time.Second))
		wantErr(t, <-read, os.ErrDeadlineExceeded)
		_ = f.SetReadDeadline(time.Time{})
		_ = f.SetWriteDeadline(began.Add(2 * time.Second))
		wantErr(t, <-wrote, os.ErrDeadlineExceeded)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("it took %v", took)
		}
		_ = f.Close()
	})
}

// Flows that nobody reads do not keep others from going on, and wait for as long as they like.
func TestStuckFlowsGoOn(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		s := p.mustSession()
		data := pattern(400_000)
		var stuck []*acceptedFlow
		for range resumeAtOnce + 2 {
			f, far := p.both(s, flows)
			go func() {
				_, _ = f.Write(data)
				_ = f.CloseWrite()
			}()
			stuck = append(stuck, far)
		}
		synctest.Wait()
		p.cutAll()
		time.Sleep(10 * time.Second) // all that is stuck has its turn
		f, far := p.both(p.mustSession(), flows)
		stuck = append(stuck, far)
		synctest.Wait()
		for _, k := range p.liveLinks() {
			k.Cut()
		}
		began := time.Now()
		write(t, f, "quick")
		expect(t, far, "quick")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		_ = f.CloseWrite()
		time.Sleep(3 * testSurvive)
		if n := flowsSuspended.Value(); n != 0 {
			t.Errorf("%d flows that have a link count as suspended", n)
		}
		for _, far := range stuck {
			got, err := io.ReadAll(far)
			if err != nil || len(got) > 0 && !bytes.Equal(got, data) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			_ = far.CloseWrite()
			far.release()
		}
	})
}

// What has ended on this side, and nobody acknowledges, is let go when its time is over.
func TestLingeringEnds(t *testing.T) {
	for name, end := range map[string]func(near, far *Flow){
		"both ends": func(near, far *Flow) {
			_, _ = near.CloseWrite(), far.CloseWrite()
			_, _ = io.ReadAll(near)
		},
		"reset":     func(near, _ *Flow) { _ = near.Reset() },
		"far reset": func(_, far *Flow) { _ = far.Reset() },
		"close":     func(near, _ *Flow) { _ = near.Close() },
		"far close": func(_, far *Flow) { _ = far.Close() },
	} {
		for _, suspended := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " suspended ", suspended), func(t *testing.T) {
				inSurvivingBubble(t, func(t *testing.T, p *peer) {
					flows := p.accepted()
					f, far := p.both(p.mustSession(), flows)
					if suspended {
						p.noWay()
						p.cutAll()
						time.Sleep(time.Second)
						go end(f, far.Flow)
						time.Sleep(time.Second)
					} else {
						end(f, far.Flow)
						p.noWay()
						p.cutAll()
					}
					time.Sleep(2*testSurvive + time.Second)
					_, _ = f.Close(), far.Close()
					far.release()
					time.Sleep(time.Second)
					p.wantNothingLeft()
				})
			})
		}
	}
}

// A flow of a session that is going away waits for as long as others when its link is lost, however
// long it has looked for another session before.
func TestLostWhileGoingAway(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		s := p.mustSession()
		errNone := errors.New("there is no other")
		s.ResumeBy(func() []Way {
			return []Way{{Make: func(context.Context, *Session) (*Session, error) { return nil, errNone }}}
		})
		f, far := p.both(s, flows)
		p.responder.GoAway()
		time.Sleep(3 * testSurvive)
		write(t, f, "still there")
		expect(t, far, "still there")
		began := time.Now()
		for _, k := range p.liveLinks()[1:] {
			k.Cut()
		}
		_, err := f.Read(make([]byte, 1))
		wantNoEOF(t, err)
		if took := time.Since(began); took < testSurvive {
			t.Errorf("%v after %v", err, took)
		}
		far.release()
	})
}

// A flow that has a link does not count as one that waits for it, even if somebody says so late.
func TestSuspendedTooLate(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		f, far := p.both(p.mustSession(), flows)
		synctest.Wait()
		far.Session().suspend(far.Flow)
		time.Sleep(3 * testSurvive)
		if n := flowsSuspended.Value(); n != 0 {
			t.Errorf("%d flows are suspended", n)
		}
		write(t, f, "x")
		expect(t, far, "x")
		far.release()
	})
}

// deaf is an initiator's link that fails when it is written to for the third time, which nobody
// else notices.
type deaf struct {
	*faultnet.Conn
	writes int
}

func (d *deaf) Write(p []byte) (int, error) {
	if d.writes++; d.writes > 1 {
		return 0, syscall.EPIPE
	}
	return d.Conn.Write(p)
}

func (d *deaf) Close() error { return nil }

// A link that fails while what is missing is sent on it is one more that is lost.
func TestLostWhileResuming(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		n := 0
		dial := func(context.Context) (Conn, error) {
			client, server := p.pipe()
			p.serve(server)
			if n++; n == 3 {
				return &deaf{Conn: client}, nil
			}
			return client, nil
		}
		s, err := p.initiator.Initiate(t.Context(), "", trust.As{Role: trust.Node}, dial)
		if err != nil {
			t.Fatal(err)
		}
		f, far := p.both(s, flows)
		synctest.Wait()
		p.lastLink().BlackHole(true, faultnet.ClientToServer)
		write(t, f, "missing")
		time.Sleep(time.Second)
		f.linkLost()
		_ = far.SetReadDeadline(time.Now().Add(30 * time.Second))
		expect(t, far, "missing")
		write(t, far, "answer")
		expect(t, f, "answer")
		far.release()
	})
}

// One loss is one attempt, where the way is as it was: the two ends do not take turns in losing.
func TestOneAttempt(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		f := p.greeted(p.mustSession())
		for n := range uint32(10) {
			synctest.Wait()
			p.liveLinks()[1].Cut()
			time.Sleep(5 * time.Second)
			write(t, f, "x")
			expect(t, f, "x")
			if m := f.lasting.attempt; m != n+1 {
				t.Fatalf("%d losses, %d attempts", n+1, m)
			}
		}
		_ = f.Close()
	})
}

// A flow of which too much was kept ends with its link, at once, whoever says that it is lost.
func TestGivenUpEndsWithItsLink(t *testing.T) {
	for _, whole := range []bool{false, true} {
		for _, near := range []bool{false, true} {
			t.Run(fmt.Sprint("session lost ", whole, " initiator ", near), func(t *testing.T) {
				inSurvivingBubble(t, func(t *testing.T, p *peer) {
					flows := p.accepted()
					f, far := p.both(p.mustSession(), flows)
					write(t, f, "x")
					expect(t, far, "x")
					synctest.Wait()
					if near {
						f.lasting.kept.giveUp()
					} else {
						far.lasting.kept.giveUp()
					}
					began := time.Now()
					if whole {
						p.cutAll()
					} else {
						p.lastLink().Cut()
					}
					soon := 5 * time.Second
					for _, f := range []*Flow{f, far.Flow} {
						_, err := f.Read(make([]byte, 1))
						wantNoEOF(t, err)
						if took := time.Since(began); took > soon {
							t.Errorf("it took %v", took)
						}
						if whole && near { // there is nobody who could tell the other end
							soon += testSurvive
						}
					}
					far.release()
				})
			})
		}
	}
}

// A flow that comes to a session which is going away by then goes on to the next one.
func TestHandOverTwice(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		first := p.mustSession()
		f := p.greeted(first)
		second, err := p.another(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		held := p.greeted(second) // it stays until that has ended
		first.ResumeBy(func() []Way {
			return []Way{{Make: func(context.Context, *Session) (*Session, error) { return second, nil }}}
		})
		second.ResumeBy(func() []Way { return nil })
		second.Retire()
		time.Sleep(time.Second)
		second.ResumeBy(func() []Way { return []Way{{Make: p.another}} })
		first.Retire()
		<-first.Done()
		time.Sleep(5 * time.Second)
		if s := f.Session(); s == first || s == second {
			t.Error("the flow is in a session that is going away")
		}
		write(t, f, "x")
		expect(t, f, "x")
		_, _ = f.Close(), held.Close()
	})
}

// A new flow that is refused for good ends at once, and does not wait for another link.
func TestRefusedForGood(t *testing.T) {
	inBubble(t, surviving, func(t *testing.T, l *lab) {
		s := l.sessionBy(l.misleads(repeated(errForGood, 1000)...))
		began := time.Now()
		if err := transfer(t, l.open(s), pattern(10_000), 3_000); err == nil {
			t.Error("it arrives")
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("that took %v", took)
		}
	})
}

// A flow whose first record is its last lasts like others.
func TestFirstIsLast(t *testing.T) {
	for name, end := range map[string]func(*Flow) error{
		"end": (*Flow).CloseWrite, "close": (*Flow).Close, "reset": (*Flow).Reset,
	} {
		t.Run(name, func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				p.handle = func(_ context.Context, f *Flow) {
					_, _ = io.Copy(io.Discard, f)
					time.Sleep(time.Second)
					_, _ = f.Write([]byte("answer"))
					_ = f.CloseWrite()
				}
				f := p.open(p.mustSession())
				if err := end(f); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if name == "end" {
					p.lastLink().Cut()
					expect(t, f, "answer")
					expectEnd(t, f)
				}
				time.Sleep(30 * time.Second) // a ping
				p.wantNothingLeft()
			})
		})
	}
}

// What was written before Close arrives, although the link was lost then.
func TestCloseOnDeadLink(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		f, far := p.both(p.mustSession(), flows)
		synctest.Wait()
		p.lastLink().BlackHole(true)
		write(t, f, "last words")
		p.cutAll()
		_ = f.Close()
		expect(t, far, "last words")
		expectEnd(t, far)
		_, err := far.Write([]byte("x"))
		for range 100 {
			if err != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
			_, err = far.Write([]byte("x"))
		}
		wantNoEOF(t, err)
		far.release()
	})
}

// A far end that speaks of flows that are not there ends its session before what is to be said of
// them is too much.
func TestLostWithoutEnd(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		s := p.mustSession()
		s.control.turn <- struct{}{} // nobody reads what it says
		defer s.control.done()
		var err error
		n := 0
		for ; err == nil && n < 1<<20; n++ {
			err = s.heardOfLost(append(appendFlowID(nil, flowID{number: uint64(n)}), 0, 0, 0, 0))
		}
		wantErr(t, err, ErrProtocol)
	})
}

// A far end that acknowledges what was not sent ends its session; one that acknowledges less than
// before, or what it does not have, changes nothing.
func TestAcknowledgeWhatWasNotSent(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		s := p.mustSession()
		f, far := p.both(s, flows)
		write(t, f, "x")
		expect(t, far, "x")
		time.Sleep(time.Second)
		ack := func(id flowID, n uint64) []byte {
			b := appendFlowID(nil, id)
			return append(b, 0, 0, 0, 0, 0, 0, 0, byte(n))
		}
		other := flowID{number: 1}
		for _, b := range [][]byte{ack(f.lasting.id, 0), ack(f.lasting.id, 2), ack(other, 200)} {
			if err := s.acknowledged(b); err != nil {
				t.Error(err)
			}
		}
		wantErr(t, s.acknowledged(ack(f.lasting.id, 3)), ErrProtocol)
		wantErr(t, s.acknowledged(ack(f.lasting.id, 2)[:30]), ErrProtocol)
		wantErr(t, s.acknowledged(ack(f.lasting.id, 2)[:16]), ErrProtocol)
		far.release()
	})
}

// asked is what the responder says to a request to resume a flow.
func asked(t *testing.T, p *peer, s *Session, id flowID, key resumeKey, st stand) error {
	t.Helper()
	conn, err := p.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(conn)
	defer l.Conn.Close()
	k, err := s.keys.nextFlow()
	if err != nil {
		t.Fatal(err)
	}
	_ = l.SetDeadline(time.Now().Add(time.Second))
	fake := &Flow{lasting: &lasting{lastingKeys: lastingKeys{id, key}}}
	_, err = fake.ask(l, k, st)
	return err
}

// A flow is resumed by its initiator only, from where both are, and once for each attempt.
func TestForgedResume(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		s := p.mustSession()
		f, far := p.both(s, flows)
		write(t, f, "x")
		expect(t, far, "x")
		synctest.Wait()
		named, err := p.initiator.Initiate(t.Context(), "other", trust.As{Role: trust.Node}, p.dial)
		if err != nil {
			t.Fatal(err)
		}
		l := f.lasting
		unknown := flowID{l.id.session, l.id.number + 1}
		for _, c := range []struct {
			name string
			in   *Session
			id   flowID
			key  resumeKey
			st   stand
			want error
		}{
			{"unknown", s, unknown, l.key, stand{1, 0}, ErrGone},
			{"wrong key", s, l.id, resumeKey{1}, stand{1, 0}, ErrProtocol},
			{"another name", named, l.id, l.key, stand{1, 0}, ErrGone},
			{"no attempt", s, l.id, l.key, stand{0, 0}, ErrProtocol},
		} {
			before := far.carrier()
			err := asked(t, p, c.in, c.id, c.key, c.st)
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
			if far.carrier() != before || !far.isOpen() {
				t.Errorf("%s: the flow has lost its link", c.name)
			}
		}
		write(t, f, "y")
		expect(t, far, "y")
		wantErr(t, asked(t, p, s, l.id, l.key, stand{7, 1}), ErrGone) // it has sent nothing
		wantErr(t, far.Err(), errNotKept)
		wantErr(t, asked(t, p, s, l.id, l.key, stand{8, 0}), ErrGone)
		far.release()
	})
}

var _ net.Conn = (*deaf)(nil)

// Somebody else who is trusted as well does not resume a flow, even with that flow's keys, nor does
// he use up the number of one that is still to come.
func TestResumedByAnother(t *testing.T) {
	other := testkit.NewIdentity(t)
	trusting := func(a, b *Config) {
		surviving(a, b)
		b.Trust = testkit.Trusting(t, b.Identity, a.Identity.Identifier(), other.Identifier())
	}
	inBubble(t, trusting, func(t *testing.T, l *lab) {
		p := &peer{lab: l, turn: make(chan struct{}, 1)}
		flows := p.accepted()
		s := p.mustSession()
		f, far := p.both(s, flows)
		write(t, f, "x")
		expect(t, far, "x")
		synctest.Wait()
		thief, err := New(Config{
			Identity: other, Trust: testkit.Trusting(t, other, p.responder.config.Identity.Identifier()),
			Suites: p.initiator.config.Suites, Survive: testSurvive,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer thief.Close()
		his, err := thief.Initiate(t.Context(), "", trust.As{Role: trust.Node}, p.dial)
		if err != nil {
			t.Fatal(err)
		}
		before, key := far.carrier(), f.lasting.key
		next := flowID{f.lasting.id.session, f.lasting.id.number + 1}
		for _, id := range []flowID{f.lasting.id, next} {
			if err := asked(t, p, his, id, key, stand{1, 0}); !errors.Is(err, ErrGone) {
				t.Errorf("flow %d: %v, want %v", id.number, err, ErrGone)
			}
		}
		if far.carrier() != before || !far.isOpen() {
			t.Error("the flow has lost its link")
		}
		write(t, f, "y")
		expect(t, far, "y")
		second, far2 := p.both(s, flows)
		if second.lasting.id != next {
			t.Errorf("the next flow is %d, want %d", second.lasting.id.number, next.number)
		}
		far.release()
		far2.release()
	})
}

// What waits for a link ends in the moment in which trust does, on the side that trusts no more:
// the session that would notice has been lost. So it does when nobody says that trust has ended.
func TestTrustEndsWhileSuspended(t *testing.T) {
	const lives = 20 * time.Second
	for name, end := range map[string]struct {
		until time.Duration // what the decision says
		quiet bool          // the decision is another one, and nobody is told
		after time.Duration // when it has to be known
	}{
		"credential expires": {until: lives, after: lives},
		"told":               {after: lives},
		"not told":           {quiet: true, after: lives + reviewInterval},
	} {
		for _, role := range []identity.Role{identity.Initiator, identity.Responder} {
			t.Run(fmt.Sprint(name, " ", role), func(t *testing.T) {
				var policy *togglePolicy
				one := func(a, b *Config) {
					a.Survive, b.Survive = time.Hour, time.Hour
					policy = newTogglePolicy() // in the bubble
					if role == identity.Initiator {
						a.Trust = policy
					} else {
						b.Trust = policy
					}
				}
				inBubble(t, one, func(t *testing.T, l *lab) {
					l.tap = func(int, faultnet.Direction, []byte) {}
					p := &peer{lab: l, turn: make(chan struct{}, 1)}
					flows := p.accepted()
					if end.until > 0 {
						policy.until = time.Now().Add(end.until)
					}
					began := time.Now()
					f, far := p.both(p.mustSession(), flows)
					defer far.release()
					p.noWay()
					p.cutAll()
					if end.until == 0 {
						time.Sleep(lives)
						policy.doubt(end.quiet)
					}
					mine := f
					if role == identity.Responder {
						mine = far.Flow
					}
					_, err := mine.Read(make([]byte, 1))
					wantErr(t, err, trust.ErrNotTrusted)
					if took := time.Since(began); took < lives || took > end.after+time.Second {
						t.Errorf("it has ended after %v, want %v", took, end.after)
					}
				})
			})
		}
	}
}

// doubt has the policy trust nobody any more, and tells nobody if it is to be quiet.
func (p *togglePolicy) doubt(quiet bool) {
	if !quiet {
		p.set(trust.ErrNotTrusted)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = trust.ErrNotTrusted
}
