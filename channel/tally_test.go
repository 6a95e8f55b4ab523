package channel

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// astray is a lab whose sessions' links may lead elsewhere.
type astray struct {
	*lab
	dial    func(context.Context) (Conn, error) // nil: to the responder
	waiting []Conn                              // in the queue of a socket at which nobody accepts
}

func inAstrayBubble(t *testing.T, f func(t *testing.T, a *astray)) {
	t.Helper()
	inBubble(t, surviving, func(t *testing.T, l *lab) { f(t, &astray{lab: l}) })
}

func (a *astray) session() *Session {
	a.t.Helper()
	s := a.sessionBy(func(ctx context.Context) (Conn, error) {
		if a.dial != nil {
			return a.dial(ctx)
		}
		return a.lab.dial(ctx)
	})
	synctest.Wait()
	return s
}

// queue is a dial whose links nobody takes.
func (a *astray) queue(context.Context) (Conn, error) {
	client, server := a.pipe()
	a.waiting = append(a.waiting, server)
	return client, nil
}

// queued returns a session, with a flow that has come, one in which something has been said that
// nobody has taken, and a third one that has come.
func (a *astray) queued() (s *Session, f [3]*Flow, far [2]*acceptedFlow, come chan *acceptedFlow) {
	come = a.accepted()
	s = a.session()
	f[0], far[0] = a.both(s, come)
	a.dial = a.queue
	f[1] = a.open(s)
	write(a.t, f[1], "is anybody there?")
	synctest.Wait()
	a.dial = nil
	f[2], far[1] = a.both(s, come)
	return s, f, far, come
}

// wantNeverSeen fails unless a flow has ended soon because it has not come.
func wantNeverSeen(t *testing.T, f *Flow) {
	t.Helper()
	_ = f.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, ErrNeverSeen) {
		t.Errorf("%v, want %v", err, ErrNeverSeen)
	}
}

// When a responder takes in no flows any more, the initiator learns which ones have not come. What
// comes of them all the same is known to be late, and the others go on.
func TestTally(t *testing.T) {
	inAstrayBubble(t, func(t *testing.T, a *astray) {
		_, f, far, come := a.queued()
		defer far[0].release()
		defer far[1].release()
		a.responder.CloseFlows()
		wantNeverSeen(t, f[1])
		a.serve(a.waiting[0])
		late := <-come
		defer late.release()
		if !late.Late() || far[1].Late() {
			t.Error("a late flow is taken for one that has come in time, or the other way round")
		}
		for i, n := range []int{0, 2} {
			write(t, f[n], "and you?")
			expect(t, far[i], "and you?")
		}
		a.responder.CloseFlows() // says nothing more
	})
}

// A responder that ends a session in order says so before: the end of the session is no reason.
func TestTallyAtTheEnd(t *testing.T) {
	inAstrayBubble(t, func(t *testing.T, a *astray) {
		s, f, far, _ := a.queued()
		defer far[0].release()
		defer far[1].release()
		time.Sleep(minRenewAfter)
		s.keys.renew() // the flows are of the keys before
		synctest.Wait()
		if f[1].lasting.id.session == s.keys.current.id {
			t.Error("the keys are the same")
		}
		a.responder.CloseFunc(func(*Session) bool { return true })
		wantNeverSeen(t, f[1])
		if _, err := f[2].Read(make([]byte, 1)); errors.Is(err, ErrNeverSeen) || err == nil {
			t.Errorf("a flow that had come ends with %v", err)
		}
		if err := a.serveToEnd(a.waiting[0]); !errors.Is(err, ErrUnknownSession) {
			t.Errorf("it has come afterwards: %v", err)
		}
		<-s.Done()
	})
}

// A flow all of whose links lead to somebody else is asked about, in the session that is there. One
// that has come although somebody on the way denies it goes on instead.
func TestFlowIsAskedAbout(t *testing.T) {
	for _, comes := range []bool{false, true} {
		inAstrayBubble(t, func(t *testing.T, a *astray) {
			var came atomic.Int32
			a.handle = func(ctx context.Context, f *Flow) {
				came.Add(1)
				echo(ctx, f)
			}
			s := a.session()
			lie, until := a.queue, make(chan struct{})
			close(until)
			if comes {
				lie = a.lab.dial
			}
			a.dial = func(ctx context.Context) (Conn, error) {
				c, err := lie(ctx)
				return &refusedLink{c, until, errElsewhere}, err
			}
			f := a.open(s)
			write(t, f, "pay him")
			synctest.Wait()
			if !comes {
				wantNeverSeen(t, f)
				return
			}
			a.dial = nil
			expect(t, f, "pay him")
			if n := came.Load(); n != 1 {
				t.Errorf("it has come %d times", n)
			}
		})
	}
}

// A far end that knows nothing of questions does not answer: the flow fails soon. One that says
// that it goes away has some more time, for it may tell all.
func TestNobodyAnswersAboutAFlow(t *testing.T) {
	for _, leaving := range []bool{false, true} {
		inAstrayBubble(t, func(t *testing.T, a *astray) {
			s := a.session()
			a.dial = a.misleads(repeated(errElsewhere, 1000)...)
			_, _ = a.dial(t.Context()) // which takes the next for the control link
			far := a.responder.Sessions()[0]
			far.control.turn <- struct{}{} // it says nothing more
			defer far.control.done()
			s.leaving.Store(leaving)
			f := a.open(s)
			began := time.Now()
			write(t, f, "is anybody there?")
			_, err := f.Read(make([]byte, 1))
			wantNoEOF(t, err)
			want := answerWait
			if leaving {
				want = tallyWait
			}
			took := time.Since(began)
			if errors.Is(err, ErrNeverSeen) || took < want || took > want+time.Second {
				t.Errorf("%v after %v, want %v", err, took, want)
			}
		})
	}
}

// What has been said in a flow by the far end is not taken back by a tally, and whatever a far end
// says takes little room.
func TestTallyOfAFlowThatHasCome(t *testing.T) {
	inAstrayBubble(t, func(t *testing.T, a *astray) {
		s := a.session()
		f := a.open(s)
		write(t, f, "is anybody there?")
		expect(t, f, "is anybody there?")
		id := f.lasting.id
		for range 100 {
			s.heardTally(tally{session: id.session})
		}
		if n := len(s.tallies.all); n > maxOldEpochs+1 {
			t.Errorf("%d tallies are kept", n)
		}
		write(t, f, "still there?")
		expect(t, f, "still there?")
		if _, err := a.open(s).Read(make([]byte, 1)); !errors.Is(err, ErrNeverSeen) {
			t.Errorf("a new flow that the tally excludes: %v", err)
		}
	})
}

// Whoever asks learns of, and spends, numbers of his own session only, and not without limit.
func TestQuestionsAreBounded(t *testing.T) {
	inAstrayBubble(t, func(t *testing.T, a *astray) {
		s := a.session()
		far := a.responder.Sessions()[0]
		used := far.keys.current.used
		var all []uint64
		for n := range uint64(maxAcks - 1) {
			all = append(all, n)
		}
		other := tally{session: sessionID{1}, highest: tallyOpen, missing: all}
		far.heardTally(other)
		far.heardTally(tally{session: s.keys.current.id, highest: tallyOpen, missing: all})
		if highest, _ := used.spent.Unused(0); highest != askedMost-1 {
			t.Errorf("%d numbers are spent", highest)
		}
		if _, ok := parseTally(other.append(nil)); !ok || len(used.unseen) > unseenMost {
			t.Errorf("%d numbers are kept", len(used.unseen))
		}
	})
}

// FuzzTally has a tally be read as it was written, and nothing else be one.
func FuzzTally(f *testing.F) {
	f.Add(tally{session: sessionID{1}, highest: 5, missing: []uint64{4, 2}}.append(nil))
	f.Add(tally{highest: math.MaxUint64}.append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := len(data) - len(sessionID{})
		if n < ackSize || n%ackSize != 0 {
			return // it is refused before
		}
		got, ok := parseTally(data)
		if !ok {
			return
		}
		again, ok := parseTally(got.append(nil))
		if !ok || again.highest != got.highest || !slices.Equal(again.missing, got.missing) {
			t.Errorf("%+v is read as %+v", got, again)
		}
		for _, number := range got.missing {
			if !got.excludes(flowID{got.session, number}) {
				t.Errorf("%d is missing and has come", number)
			}
		}
	})
}

// A responder that keeps nothing for its flows may say all the same which have come: there is
// nothing of them that could be said again.
func TestTallyOfWhatDoesNotSurvive(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		s := l.session()
		s.heardTally(tally{session: s.keys.now().id})
		f := l.open(s)
		write(t, f, "still there?")
		expect(t, f, "still there?")
	})
}
