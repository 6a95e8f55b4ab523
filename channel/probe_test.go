package channel

import (
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
