package channel

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity/trust"
)

// slowly is a lab's dial that takes a second.
func (l *lab) slowly(ctx context.Context) (Conn, error) {
	time.Sleep(time.Second)
	return l.dial(ctx)
}

func prewarming(links int) func(a, b *Config) { return func(a, _ *Config) { a.Prewarm = links } }

// A flow that finds no link waits for one, and the next flow finds one.
func TestPrewarmedLinks(t *testing.T) {
	inBubble(t, prewarming(4), func(t *testing.T, l *lab) {
		s, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.slowly)
		if err != nil {
			t.Fatal(err)
		}
		var open []*Flow
		next := func(want time.Duration) {
			t.Helper()
			begin := time.Now()
			f := l.open(s)
			if d := time.Since(begin); d != want {
				t.Errorf("flow %d was open after %v, want %v", len(open)+1, d, want)
			}
			write(t, f, "hello")
			expect(t, f, "hello")
			open = append(open, f)
		}
		next(time.Second)
		next(time.Second)
		for range 3 {
			time.Sleep(2 * time.Second)
			next(0)
		}
		next(time.Second) // two at once are one too many
		for range 3 {
			time.Sleep(2 * time.Second)
			next(0)
			next(0)
		}
		var tasks sync.WaitGroup
		for range 20 {
			tasks.Go(func() { _ = l.open(s).Close() })
		}
		tasks.Wait()
		time.Sleep(2 * time.Second)
		if n := s.idleLinks(); n != 4 {
			t.Errorf("%d links are prewarmed, want as many as there may be", n)
		}
		for _, f := range open {
			_ = f.Close()
		}
		time.Sleep(time.Hour)
		if n := s.openLinks(); n != linkIdleKept {
			t.Errorf("%d links stay for good, want %d", n, linkIdleKept)
		}
	})
}

// Prewarmed links go when there are no flows any more, and more slowly while there are.
func TestPrewarmedLinksGo(t *testing.T) {
	const most, fewer = 32, 32 - 32/4
	for name, test := range map[string]struct {
		last       time.Duration // for which the flows of a burst stay
		stay, come int           // how many stay for good, and how many come later
		most, want int           // prewarmed links
	}{
		"no flows":   {0, 0, 0, most, linkIdleKept},
		"long flows": {3 * prewarmShrink / 2, 0, 0, fewer, linkIdleKept},
		"flows stay": {0, 1, 0, most, fewer},
		"flows come": {0, 0, 2, most, fewer},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, prewarming(most), func(t *testing.T, l *lab) {
				s := l.session()
				open := make([]*Flow, 2*most)
				for i := range open {
					open[i] = l.open(s)
				}
				time.Sleep(test.last)
				for _, f := range open[test.stay:] {
					_ = f.Close()
				}
				time.Sleep(2 * linkIdleTimeout)
				if n := s.idleLinks(); n != test.most {
					t.Fatalf("%d links are there for the next burst, want %d", n, test.most)
				}
				for range test.come {
					time.Sleep(prewarmShrink / 3)
					if err := transfer(t, l.open(s), pattern(10), 10); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(prewarmShrink - time.Duration(test.come)*prewarmShrink/3)
				if n := s.idleLinks(); n != test.want {
					t.Errorf("%d links a minute later, want %d", n, test.want)
				}
				for _, f := range open[:test.stay] {
					_ = f.Close()
				}
			})
		})
	}
}

// Flows one after the other need no second link.
func TestOneFlowPrewarmsNothing(t *testing.T) {
	inBubble(t, prewarming(4), func(t *testing.T, l *lab) {
		s := l.session()
		f := l.greeted(s)
		_ = f.CloseWrite()
		expectEnd(t, f)
		synctest.Wait()
		dialed := l.dialed
		for range 100 {
			if err := transfer(t, l.open(s), pattern(10), 10); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if l.dialed != dialed {
			t.Errorf("%d links for one flow after the other", l.dialed)
		}
	})
}

// A far end that cannot be reached, or says nothing, is not asked for ever more links.
func TestPrewarmingFails(t *testing.T) {
	for name, dial := range map[string]func(l *lab) (Conn, error){
		"refused": func(*lab) (Conn, error) { return nil, errors.New("refused") },
		"silent": func(l *lab) (Conn, error) {
			client, _ := l.pipe()
			return client, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, prewarming(4), func(t *testing.T, l *lab) {
				var asked atomic.Int32
				var fails atomic.Bool
				s := l.sessionBy(func(ctx context.Context) (Conn, error) {
					if !fails.Load() {
						return l.dial(ctx)
					}
					asked.Add(1)
					return dial(l)
				})
				defer l.open(s).Close()
				defer l.open(s).Close()
				time.Sleep(time.Second)
				if s.idleLinks() != 1 {
					t.Fatal("no link is prewarmed")
				}
				fails.Store(true)
				for range 100 {
					if f, err := s.Open(t.Context()); err == nil {
						_ = f.Reset()
					}
					time.Sleep(time.Second)
				}
				if own, n := int32(99), asked.Load(); n < own || n > own+2*4 {
					t.Errorf("%d links were asked for, %d of them by flows", n, own)
				}
			})
		})
	}
}

// cutOff returns a session, and what makes its new links lead nowhere.
func (l *lab) cutOff() (*Session, *atomic.Bool) {
	l.t.Helper()
	silent := new(atomic.Bool)
	s := l.sessionBy(func(ctx context.Context) (Conn, error) {
		if silent.Load() {
			client, _ := l.pipe()
			return client, nil
		}
		return l.dial(ctx)
	})
	return s, silent
}

// A session that ends in good order while a link is being prewarmed cuts nothing.
func TestSessionEndsWhileLinkIsMade(t *testing.T) {
	inBubble(t, prewarming(4), func(t *testing.T, l *lab) {
		s, silent := l.cutOff()
		flows := []*Flow{l.open(s), l.open(s)}
		time.Sleep(time.Second)
		silent.Store(true)
		flows = append(flows, l.open(s))
		time.Sleep(time.Second)
		for _, f := range flows {
			if err := transfer(t, f, pattern(10), 10); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := s.openLinks(); n != 4 {
			t.Fatalf("%d links, want three idle and one being made", n)
		}
		_ = s.Close()
		synctest.Wait()
		goingAway := func(err error) bool { return errors.Is(err, ErrGoingAway) }
		if ended := l.ended(); !slices.ContainsFunc(ended, goingAway) {
			t.Errorf("the far end's links ended with %v, none of them in good order", ended)
		}
	})
}

// What ends links that are idle, or refuses them, does not make for more of them.
func TestIdleLinksEnd(t *testing.T) {
	inBubble(t, prewarming(32), func(t *testing.T, l *lab) {
		var links []*mortal
		s, err := l.initiator.Initiate(
			t.Context(),
			"",
			trust.As{},
			func(ctx context.Context) (Conn, error) {
				c, err := l.dial(ctx)
				link := &mortal{Conn: c}
				links = append(links, link)
				return link, err
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		short := func() {
			if err := transfer(t, l.open(s), pattern(10), 10); err != nil {
				t.Fatal(err)
			}
		}
		long := l.greeted(s)
		for range 60 {
			short()
			time.Sleep(30 * time.Second)
			for _, c := range links[2:] { // but for the session's and that of the long flow
				_ = c.Close()
			}
			time.Sleep(20 * time.Second)
		}
		if n := len(links); n > 2+2*60 {
			t.Errorf("%d links were made for 60 short flows", n)
		}
		_ = long.Close()
	})
}

// mortal is a link that can be ended, and is known for it.
type mortal struct {
	Conn
	dead atomic.Bool
}

func (m *mortal) Quiet() bool  { return !m.dead.Load() }
func (m *mortal) Close() error { m.dead.Store(true); return m.Conn.Close() }

// An empty flow that is answered by something is a link that could not be prewarmed.
func TestEmptyFlowIsAnswered(t *testing.T) {
	inBubble(t, prewarming(4), func(t *testing.T, l *lab) {
		l.handle = func(_ context.Context, f *Flow) {
			_, _ = f.Write([]byte("something"))
			_ = f.CloseWrite()
			_, _ = io.Copy(io.Discard, f)
		}
		s := l.session()
		for range 100 {
			_, _ = l.open(s).Write([]byte("hello"))
			time.Sleep(time.Second)
		}
		if n := l.dialed; n > 1+100+2*4 {
			t.Errorf("%d links for 100 flows", n)
		}
	})
}

// Nobody opens flows in a session whose far end is going away.
func TestGoingAwayPrewarmsNothing(t *testing.T) {
	inBubble(t, prewarming(8), func(t *testing.T, l *lab) {
		s := l.session()
		long := l.greeted(s)
		var all []*Flow
		for range 8 {
			all = append(all, l.greeted(s))
		}
		for _, f := range all {
			_ = f.CloseWrite()
			expectEnd(t, f)
			_ = f.Close()
		}
		time.Sleep(2 * prewarmPause)
		if n := s.idleLinks(); n < linkIdleKept {
			t.Fatalf("%d idle links", n)
		}
		l.responder.GoAway()
		time.Sleep(2 * linkIdleTimeout)
		if n := s.idleLinks(); n != 0 {
			t.Errorf("%d idle links in a session whose far end goes away", n)
		}
		_ = long.Close()
	})
}

// A session that drains ends with its last flow, whatever is being prewarmed.
func TestDrainingEnds(t *testing.T) {
	inBubble(t, prewarming(4), func(t *testing.T, l *lab) {
		flows := l.accepted()
		s := l.session()
		near := l.endedWell(s, flows)
		_ = l.responder.Close()
		synctest.Wait()
		if !errors.Is(s.Err(), ErrGoingAway) {
			t.Fatalf("the session ended with %v", s.Err())
		}
		expect(t, near, "the last bytes")
		expectEnd(t, near)
		synctest.Wait()
		select {
		case <-s.life.over.await():
		default:
			t.Error("the session drains on")
		}
	})
}

// Who closes a draining session does not wait for links that are being prewarmed.
func TestCloseDoesNotWaitForPrewarming(t *testing.T) {
	inBubble(t, prewarming(4), func(t *testing.T, l *lab) {
		s, silent := l.cutOff()
		var open []*Flow
		for range 3 {
			silent.Store(len(open) == 2) // the third takes the one that was prewarmed
			f := l.greeted(s)
			open = append(open, f)
			time.Sleep(time.Second)
		}
		s.end(ErrGoingAway) // as if the far end had said so
		begin := time.Now()
		_ = s.Close()
		if d := time.Since(begin); d >= prewarmTimeout {
			t.Errorf("it took %v", d)
		}
		for _, f := range open {
			_ = f.Close()
		}
	})
}
