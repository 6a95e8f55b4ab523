package channel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testenv"
)

// noWayOut is a way that leads nowhere.
func noWayOut() []Way {
	return []Way{{Make: func(context.Context, *Session) (*Session, error) {
		return nil, errors.New("down")
	}}}
}

// named makes another session with the same far end, by a name.
func (p *peer) named(name string) *Session {
	p.t.Helper()
	s, err := p.initiator.Initiate(context.Background(), name, trust.As{Role: trust.Node}, p.dial)
	if err != nil {
		p.t.Fatal(err)
	}
	s.ResumeBy(noWayOut)
	return s
}

// talking returns both ends of a flow, in a session of its own, in which the far end has said
// something. lose cuts the links of that session, and leaves those alone that there were before.
func (p *peer) talking() (near *Flow, far *acceptedFlow, lose func()) {
	p.t.Helper()
	synctest.Wait()
	before := len(p.liveLinks())
	near, far = p.both(p.named(""), p.accepted())
	write(p.t, far, "x")
	expect(p.t, near, "x")
	return near, far, func() {
		synctest.Wait()
		for _, k := range p.liveLinks()[before:] {
			k.Cut()
		}
		synctest.Wait()
	}
}

// Whoever is closed in good order tells so to those who wait for him, by whatever session he has
// with them, if their flows could go on there: they do not wait for somebody who is gone. By a
// session with somebody else, who goes by another name, nothing is said of them.
func TestCloseTellsWhoWaits(t *testing.T) {
	for _, initiator := range []bool{true, false} {
		for _, other := range []string{"", "another"} {
			t.Run(fmt.Sprintf("initiator closed %v, by the name %q", initiator, other),
				func(t *testing.T) {
					inSurvivingBubble(t, func(t *testing.T, p *peer) { p.closeTells(initiator, other) })
				})
		}
	}
}

func (p *peer) closeTells(initiator bool, other string) {
	t := p.t
	_ = p.named(other)
	near, far, lose := p.talking()
	defer far.release()
	lose()
	closed, left := p.responder, near
	if initiator {
		closed, left = p.initiator, far.Flow
	}
	if !near.Suspended() || !far.Suspended() {
		t.Fatal("the flow does not wait")
	}
	began := time.Now()
	_ = closed.Close()
	_, err := left.Read(make([]byte, 1))
	wantNoEOF(t, err)
	took := time.Since(began)
	if told := took < time.Second && errors.Is(err, ErrGone); told != (other == "") {
		t.Errorf("%v after %v", err, took)
	}
}

// What is said to be gone is gone only to those who may say so.
func TestLeftIn(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		like, other := p.named(""), p.named("another")
		f, far, lose := p.talking()
		defer far.release()
		lose()
		p.initiator.left, _ = p.initiator.flows.all()
		wants := func(what string, s *Session, want ...flowID) {
			if got := p.initiator.leftIn(s); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		wants("like it", like, f.lasting.id)
		wants("its own", f.Session())
		wants("another name", other)
		process, id := like.process, like.id
		like.process = processKey{1}
		wants("another process", like)
		like.process, like.id = process, identity.Identifier{1}
		wants("another identity", like)
		like.id = id
	})
}

// AwaitOwed waits for what was said last in flows that have lost a link, until the far end has it,
// and for nothing else.
func TestAwaitOwed(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		f, far := p.both(p.mustSession(), flows)
		defer far.release()
		write(t, far, "x")
		expect(t, f, "x")
		p.owes(0)
		synctest.Wait()
		p.noWay()
		p.cutAll()
		synctest.Wait()
		p.owes(0) // it is open
		_ = far.Close()
		ctx, cancel := context.WithTimeout(t.Context(), testSurvive/4)
		defer cancel()
		if left := p.responder.AwaitOwed(ctx); left != 1 || ctx.Err() == nil {
			t.Errorf("%d flows are left, %v", left, ctx.Err())
		}
		p.calm()
		p.owes(0)
		p.noWay() // what has arrived needs no way
		p.cutAll()
		expectEnd(t, f)
		_ = f.Close()
		time.Sleep(2 * testSurvive)
		p.wantNothingLeft()
	})
}

// owes waits until the responder owes nothing.
func (p *peer) owes(want int) {
	p.t.Helper()
	if left := p.responder.AwaitOwed(p.t.Context()); left != want {
		p.t.Errorf("%d flows are left, want %d", left, want)
	}
}

// Once the responder cannot be found any more, what waits for a way to it ends at once, unless
// there is a session in which it may go on.
func TestUnfound(t *testing.T) {
	for _, like := range []bool{true, false} {
		t.Run(fmt.Sprint("with another session ", like), func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				if like {
					_ = p.named("")
				}
				f, far, lose := p.talking()
				defer far.release()
				p.responder.Unfound()
				write(t, far, "y") // it has a link
				expect(t, f, "y")
				lose()
				began := time.Now()
				_, err := far.Read(make([]byte, 1))
				wantNoEOF(t, err)
				took := time.Since(began)
				if errors.Is(err, errUnfound) == like || took < time.Second == like {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
}

// A flow that loses its link in the moment in which its session is told to go elsewhere goes on:
// the session does not end as one that has no flows.
func TestLinkIsLostWhileSessionLeaves(t *testing.T) {
	for range testenv.OfRun(10, 40, 2000) {
		inSurvivingBubble(t, func(t *testing.T, p *peer) {
			f := p.greeted(p.mustSession())
			synctest.Wait()
			flow := p.liveLinks()[1]
			go p.responder.GoAway()
			flow.Cut()
			write(t, f, "still there?")
			expect(t, f, "still there?")
			_ = f.CloseWrite()
			expectEnd(t, f)
			_ = f.Close()
		})
	}
}

// What both ends have closed, and so nobody acknowledges, is not owed for long.
func TestClosedByBothIsNotOwed(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		f, far := p.both(p.mustSession(), flows)
		write(t, far, "x")
		expect(t, f, "x")
		synctest.Wait()
		p.cutAll()
		write(t, far, "y")
		expect(t, f, "y") // it has gone on
		p.plan = nil
		for _, k := range p.liveLinks() {
			k.BlackHole(true)
		}
		_, _ = f.Close(), far.Close()
		far.release()
		began := time.Now()
		p.owes(0)
		if took := time.Since(began); took > 2*lingeringLeaving {
			t.Errorf("it took %v", took)
		}
	})
}

// Whoever has ended his direction, and then has the connection no more, has reset it, as far as the
// other side can tell: it is no loss, and nobody is warned of it.
func TestGoneAfterItsEnd(t *testing.T) {
	for _, absent := range []bool{true, false} {
		t.Run(fmt.Sprintf("it waits for a link %v", absent), func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				near, far, lose := p.talking()
				defer far.release()
				if err := far.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				expectEnd(t, near)
				if absent {
					lose()
				}
				near.Session().heardOfGone(near.lasting.id)
				_, err := near.Write([]byte("y"))
				wantErr(t, err, ErrReset)
			})
		})
	}
}
