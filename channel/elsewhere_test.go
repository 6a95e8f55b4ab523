package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
)

// byAnother is another way to a lab's responder.
type byAnother struct {
	p *peer

	mu    sync.Mutex // flows dial at once
	conns []*faultnet.Conn
	err   error
}

func (w *byAnother) dial() (Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	client, server := faultnet.Pipe()
	w.conns = append(w.conns, client)
	w.p.serve(server)
	return client, nil
}

// cut resets what has been dialed, and whoever dials from now on gets err, unless it is nil.
func (w *byAnother) cut(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	for _, c := range w.conns {
		_ = c.Reset()
	}
}

// dialed is how many links have been made.
func (w *byAnother) dialed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.conns)
}

// goesBy tells whether a flow has its link by another way than its session's own.
func goesBy(f *Flow) bool {
	l, ok := f.carrier().(*link)
	return ok && l.by != nil
}

// A session goes by another way once that has been proved: what is open as well as what comes, and
// both go on by its own one when the other breaks.
func TestGoBy(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		s := p.mustSession()
		open := p.greeted(s)
		synctest.Wait()
		w := &byAnother{p: p}
		if _, err := s.GoBy(t.Context(), w.dial); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // it has been handed over
		fresh := p.greeted(s)
		for _, f := range []*Flow{open, fresh} {
			write(t, f, "by another way?")
			expect(t, f, "by another way?")
			if !goesBy(f) {
				t.Error("a flow has not gone over")
			}
		}
		w.cut(errors.New("the way is gone"))
		for _, f := range []*Flow{open, fresh, p.greeted(s)} {
			write(t, f, "and back?")
			expect(t, f, "and back?")
			if goesBy(f) {
				t.Error("a flow has not come back")
			}
			_ = f.CloseWrite()
			expectEnd(t, f)
			_ = f.Close()
		}
	})
}

// Flows that end with their links stay where they are.
func TestGoByWithoutSurviving(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		p := &peer{lab: l, turn: make(chan struct{}, 1)}
		s := p.mustSession()
		open := p.greeted(s)
		synctest.Wait()
		w := &byAnother{p: p}
		end, err := s.GoBy(t.Context(), w.dial)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		fresh := p.greeted(s)
		if goesBy(open) || !goesBy(fresh) {
			t.Error("a flow is where it should not be")
		}
		end()
		if goesBy(p.greeted(s)) {
			t.Error("a flow goes by a way that has ended")
		}
		write(t, open, "still there?")
		expect(t, open, "still there?")
	})
}

// A way that leads to somebody else, or to nobody, is not gone by, and learns of nothing that a
// flow has said.
func TestGoByNowhere(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		s := p.mustSession()
		open := p.greeted(s)
		answers := map[string]func(c *faultnet.Conn){
			"a stranger who echoes": func(c *faultnet.Conn) { _, _ = io.Copy(c, c) },
			"one who says nothing":  func(c *faultnet.Conn) { _, _ = io.Copy(io.Discard, c) },
			"one who goes":          func(c *faultnet.Conn) { _ = c.Close() },
		}
		for name, answer := range answers {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			_, err := s.GoBy(ctx, func() (Conn, error) {
				client, server := faultnet.Pipe()
				p.tasks.Go(func() {
					defer server.Close()
					answer(server)
				})
				return client, nil
			})
			cancel()
			if err == nil || s.way() != nil {
				t.Errorf("%s is gone by: %v", name, err)
			}
		}
		write(t, open, "still there?")
		expect(t, open, "still there?")
		if f := p.greeted(s); goesBy(f) {
			t.Error("a new flow goes nowhere")
		}
	})
}

// A flow of which either end keeps nothing any more stays where it is, whole, when others go over
// to another way or another session.
func TestStays(t *testing.T) {
	for _, initiators := range []bool{true, false} {
		for _, away := range []bool{true, false} {
			name := fmt.Sprintf("initiator's %v, away %v", initiators, away)
			t.Run(name, func(t *testing.T) {
				inSurvivingBubble(t, func(t *testing.T, p *peer) { p.stays(initiators, away) })
			})
		}
	}
}

func (p *peer) stays(initiators, away bool) {
	t := p.t.(*testing.T)
	flows := p.accepted()
	s := p.mustSession()
	f, far := p.both(s, flows)
	other, farOther := p.both(s, flows)
	defer far.release()
	defer farOther.release()
	write(t, far, "hello")
	expect(t, f, "hello")
	synctest.Wait()
	if initiators {
		f.lasting.kept.giveUp()
	} else {
		far.lasting.kept.giveUp()
	}
	before := f.carrier()
	w := &byAnother{p: p}
	p.handle = echo // for the empty flow
	if away {
		p.responder.GoAway()
	} else if _, err := s.GoBy(t.Context(), w.dial); err != nil {
		t.Fatal(err)
	}
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		expect(t, f, "and back")
	}()
	time.Sleep(3 * time.Second)
	if !away && !goesBy(other) || away && other.Session() == s {
		t.Error("the other one has not gone over")
	}
	write(t, f, "there")
	expect(t, far, "there")
	write(t, far, "and back")
	<-reading
	if f.carrier() != before {
		t.Error("it has another link")
	}
	for _, one := range []*Flow{f, far.Flow, other, farOther.Flow} {
		if err := one.CloseWrite(); err != nil {
			t.Error(err)
		}
	}
	for _, one := range []*Flow{f, far.Flow, other, farOther.Flow} {
		expectEnd(t, one)
	}
}

// A flow that says much while it goes over to another way, and back, and there again,
// brings it all.
func TestGoesOverBusy(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		s := p.mustSession()
		f := p.greeted(s)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := transfer(t, f, pattern(4<<20), 10_000); err != nil {
				t.Error(err)
			}
		}()
		for n := range 20 {
			w := &byAnother{p: p}
			end, err := s.GoBy(t.Context(), w.dial)
			if err != nil {
				if n == 0 || s.Err() == nil {
					t.Error(err)
				}
				break // the flow is done, and the session with it
			}
			synctest.Wait()
			end()
			w.cut(nil)
		}
		<-done
	})
}

// While a session goes by another way no links are made ahead of demand, and what its own way bears
// is found out there.
func TestGoByMakesNoneAhead(t *testing.T) {
	change := func(a, b *Config) {
		surviving(a, b)
		a.Prewarm, a.Probe = 8, true
	}
	inBubble(t, change, func(t *testing.T, l *lab) {
		p := &peer{lab: l, turn: make(chan struct{}, 1)}
		s := p.mustSession()
		open := p.greeted(s)
		w := &byAnother{p: p}
		if _, err := s.GoBy(t.Context(), w.dial); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		before := w.dialed()
		for range 10 {
			s.prewarm.short()
			s.pool.look()
			time.Sleep(2 * prewarmPause)
		}
		synctest.Wait()
		own := p.dialed
		s.lookAfterQuiet(time.Now().Add(2 * probeAfter))
		time.Sleep(time.Second)
		synctest.Wait()
		if n := w.dialed() - before; n > 0 {
			t.Errorf("%d links have been made by the other way", n)
		}
		if p.dialed != own+1 {
			t.Errorf("%d links have been made to try the session's own way", p.dialed-own)
		}
		write(t, open, "still there?")
		expect(t, open, "still there?")
	})
}
