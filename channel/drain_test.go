package channel

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
)

// endedWell returns a flow that has ended in both directions, and has last bytes to read.
func (l *lab) endedWell(s *Session, flows chan *acceptedFlow) *Flow {
	l.t.Helper()
	near, far := l.both(s, flows)
	_ = near.CloseWrite()
	expectEnd(l.t, far)
	write(l.t, far, "the last bytes")
	_ = far.CloseWrite()
	far.release()
	synctest.Wait()
	return near
}

// What a flow that has ended well still has on the way arrives when its session ends, whatever else
// there is in it.
func TestLastBytes(t *testing.T) {
	for name, disturb := range map[string]func(l *lab, s *Session){
		"alone": func(*lab, *Session) {},
		"beside a flow that is cut": func(l *lab, s *Session) {
			_, _ = l.open(s).Write(nil)
		},
		"beside a link of somebody who has seen the session's number": func(l *lab, s *Session) {
			c, err := l.dial(context.Background())
			if err != nil {
				l.t.Fatal(err)
			}
			_, _ = c.Write(appendFlowHello(nil, s.keys.current.id, 77))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, l *lab) {
				flows := l.accepted()
				s := l.session()
				near := l.endedWell(s, flows)
				disturb(l, s)
				synctest.Wait()
				_ = l.responder.Close()
				synctest.Wait()
				expect(t, near, "the last bytes")
				expectEnd(t, near)
				close(flows)
				for a := range flows {
					a.release()
				}
			})
		})
	}
}

// What is still on the way arrives as well where the flow would be handed over, because its far end
// goes away, and the session ends before there is another one: the flow has a link, and needs none.
func TestLastBytesOfAFlowThatIsToBeHandedOver(t *testing.T) {
	inBubble(t, surviving, func(t *testing.T, l *lab) {
		flows := l.accepted()
		s := l.session()
		s.ResumeBy(func() []Way {
			return []Way{{Make: func(ctx context.Context, _ *Session) (*Session, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}}}
		})
		near := l.endedWell(s, flows)
		l.responder.GoAway()
		synctest.Wait()
		if n := s.suspending.all.Load(); n == 0 {
			t.Error("the flow is not to be handed over")
		}
		_ = l.responder.Close()
		<-s.Done()
		synctest.Wait()
		expect(t, near, "the last bytes")
		expectEnd(t, near)
	})
}

// A flow that is being resumed when its new session ends in good order stays on the link that it
// comes to then, like those that have one: what its other end said last is on its way there.
func TestLastBytesOfAFlowThatIsResumed(t *testing.T) {
	inBubble(t, surviving, func(t *testing.T, l *lab) {
		flows := l.accepted()
		s := l.session()
		near, far := l.both(s, flows)
		on, theirs, err := near.reach(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		write(t, far, "the last bytes")
		_ = far.CloseWrite()
		s.end(ErrGoingAway) // as if the far end had said so
		synctest.Wait()
		if put, err := near.goOn(on, s, theirs); !put || err != nil {
			t.Errorf("it has not gone on: %v", err)
		}
		expect(t, near, "the last bytes")
		expectEnd(t, near)
		write(t, near, "and mine")
		_ = near.CloseWrite()
		expect(t, far, "and mine")
		expectEnd(t, far)
		far.release()
		synctest.Wait()
		select {
		case <-s.Over():
		default:
			t.Error("the session drains although no flow is left")
		}
	})
}

// A flow that has just begun when its side goes away in good order still says what it had to say.
func TestLastBytesOfANewFlow(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		got := make(chan int, 1)
		l.handle = func(_ context.Context, f *Flow) {
			b, err := io.ReadAll(f)
			if err != nil {
				t.Error(err)
			}
			got <- len(b)
		}
		l.plan = func(link int) faultnet.Plan {
			if link == 0 {
				return faultnet.Line(10*time.Millisecond, 0)
			}
			// The first record takes longer than the going away.
			return faultnet.Line(10*time.Millisecond, 4000)
		}
		s := l.session()
		f, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		write(t, f, string(make([]byte, 3000)))
		_ = f.CloseWrite()
		time.Sleep(100 * time.Millisecond) // the hello has arrived
		_ = s.Close()
		if n := <-got; n != 3000 {
			t.Errorf("%d bytes arrived", n)
		}
	})
}

// A session that drains is over when its last flow has ended, and not when it has.
func TestOverAfterDraining(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		f, far := l.both(l.session(), flows)
		defer far.release()
		s := far.Session()
		s.end(ErrGoingAway)
		time.Sleep(time.Second)
		<-s.Done()
		select {
		case <-s.Over():
			t.Error("it is over while a flow is open")
		default:
		}
		write(t, far, "the last")
		if err := far.CloseWrite(); err != nil {
			t.Error(err)
		}
		_ = f.CloseWrite()
		expect(t, f, "the last")
		expectEnd(t, f)
		expectEnd(t, far)
		synctest.Wait()
		if s.Err() == nil {
			t.Error("it has not ended")
		}
		f.Session().quit()
		far.Close()
		<-s.Over()
	})
}
