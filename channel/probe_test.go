package channel

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
)

// inProbe runs f with a session on a slow line, of which it gets the link.
func inProbe(
	t *testing.T, keepalive time.Duration,
	f func(t *testing.T, l *lab, s *Session, link *faultnet.Link),
) {
	t.Helper()
	change := func(a, b *Config) { a.Keepalive, b.Keepalive = keepalive, keepalive }
	inBubble(t, change, func(t *testing.T, l *lab) {
		l.plan = func(int) faultnet.Plan { return faultnet.Line(200*time.Millisecond, 0) }
		s := l.session()
		f(t, l, s, l.lastLink())
	})
}

// TestProbe checks that a probe ends whoever does not answer, soon, and nobody else.
func TestProbe(t *testing.T) {
	for keepalive, want := range map[time.Duration]time.Duration{
		time.Second: time.Second, 6 * time.Second: 2 * time.Second,
	} {
		inProbe(t, keepalive, func(t *testing.T, l *lab, s *Session, link *faultnet.Link) {
			begin := time.Now()
			l.initiator.Probe()
			if took := time.Since(begin); took != 400*time.Millisecond || s.Err() != nil {
				t.Errorf("somebody who answers: %v after %v", s.Err(), took)
			}
			link.BlackHole(true)
			l.responder.Probe() // which has made no session
			begin = time.Now()
			l.initiator.Probe()
			if took := time.Since(begin); took != want || !errors.Is(s.Err(), ErrMissedPongs) {
				t.Errorf("nobody answers: %v after %v, want %v", s.Err(), took, want)
			}
			l.initiator.Probe() // nobody is left
		})
	}
}

// TestOpenAfterStandstill checks that nothing is opened in a session of which nothing has been
// heard since this side stood still, before the far end has answered; and never, if it does not.
func TestOpenAfterStandstill(t *testing.T) {
	stand := func(s *Session, unanswered int) {
		h := &s.heartbeat
		h.mu.Lock()
		defer h.mu.Unlock()
		since := h.interval*pingSlowdown + 2*standstill
		h.heard, h.missed = h.heard.Add(-since), unanswered
		if unanswered > 0 {
			h.asked = time.Now().Add(-since)
		}
	}
	inProbe(t, time.Minute, func(t *testing.T, l *lab, s *Session, link *faultnet.Link) {
		for unanswered := range 2 {
			time.Sleep(time.Second) // nothing of what was before is under way
			before := s.heartbeat.pings()
			for i := range 2 {
				begin := time.Now()
				if i == 0 {
					stand(s, unanswered)
				}
				_ = l.open(s).Close()
				asked := s.heartbeat.pings() - before
				if took := time.Since(begin); asked != 1 || i == 0 && took < 400*time.Millisecond {
					t.Errorf("%d, %d: opened after %v, and %d pings", unanswered, i, took, asked)
				}
			}
		}
		time.Sleep(time.Second)
		stand(s, 0)
		link.BlackHole(true)
		l.tasks.Go(func() { // who does not wait so long decides nothing
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := s.Open(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("without the time: %v", err)
			}
		})
		time.Sleep(1500 * time.Millisecond)
		for range 2 { // at once, and one after another
			if _, err := s.Open(t.Context()); !errors.Is(err, ErrMissedPongs) {
				t.Errorf("nobody is there: %v", err)
			}
		}
	})
}

// TestLatestProbeDecides checks that a far end may answer again by the time of the next probe.
func TestLatestProbeDecides(t *testing.T) {
	inProbe(t, 3*time.Second, func(t *testing.T, l *lab, s *Session, link *faultnet.Link) {
		link.BlackHole(true)
		for i := range 3 {
			l.tasks.Go(l.initiator.Probe)
			time.Sleep(900 * time.Millisecond)
			if i < 2 && s.Err() != nil {
				t.Fatalf("probe %d: %v", i, s.Err())
			}
		}
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if !errors.Is(s.Err(), ErrMissedPongs) {
			t.Error(s.Err())
		}
	})
}

// TestProbeOfStuckLink checks that a link that takes nothing holds up nobody, and that the end of
// the endpoint is that of a probe.
func TestProbeOfStuckLink(t *testing.T) {
	inProbe(t, time.Second, func(t *testing.T, l *lab, s *Session, link *faultnet.Link) {
		link.BlackHole(true)
		l.tasks.Go(func() {
			for s.control.write(typeData, make([]byte, 10_000)) == nil {
			}
		})
		time.Sleep(100 * time.Millisecond)
		begin := time.Now()
		l.initiator.Probe()
		if took := time.Since(begin); took > leastProbeTimeout+abortTimeout {
			t.Errorf("after %v", took)
		}
	})
	inProbe(t, time.Hour, func(t *testing.T, l *lab, s *Session, link *faultnet.Link) {
		link.BlackHole(true)
		l.tasks.Go(l.initiator.Probe)
		synctest.Wait()
		begin := time.Now()
		_ = l.initiator.Close()
		if took := time.Since(begin); took > 2*abortTimeout {
			t.Errorf("closed after %v", took)
		}
	})
}
