package cli

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// serviceTrial is a service whose manager and command are the test.
type serviceTrial struct {
	hosted[serviceOrder]
	mu    sync.Mutex
	told  []serviceReport // guarded by mu
	asks  chan serviceOrder
	ready chan struct{}
	ended chan int
	stops int
	code  chan int // what the manager is told of its end
}

func hostTrial() *serviceTrial {
	s := &serviceTrial{
		asks: make(chan serviceOrder), ready: make(chan struct{}), ended: make(chan int, 1),
		code: make(chan int, 1),
	}
	s.hosted = hosted[serviceOrder]{
		requests: s.asks, order: func(o serviceOrder) serviceOrder { return o },
		report: func(r serviceReport) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told = append(s.told, r)
		},
		ready: s.ready, ended: s.ended, stop: func() { s.stops++ },
	}
	go func() { s.code <- s.run() }()
	synctest.Wait()
	return s
}

// reports is what the manager has been told.
func (s *serviceTrial) reports() []serviceReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told)
}

// states are those that the manager was told, one after the other.
func (s *serviceTrial) states() (all []serviceState) {
	for _, r := range s.reports() {
		all = append(all, r.state)
	}
	return slices.Compact(all)
}

// TestServiceHost takes services through their lives: the manager is told how far they have come,
// and of an exit code only by what it is to start anew.
func TestServiceHost(t *testing.T) {
	for _, test := range []struct {
		name  string
		story func(s *serviceTrial)
		want  []serviceState
		code  int
		stops int
	}{
		{"ready, then stopped", func(s *serviceTrial) {
			close(s.ready)
			synctest.Wait()
			s.asks <- orderStop
			s.asks <- orderStop // nobody is stopped twice: that would cut what is open
			time.Sleep(time.Minute)
			s.ended <- exitFailed
		}, []serviceState{serviceStarting, serviceRunning, serviceStopping}, exitDone, 1},
		{"it cannot be started", func(s *serviceTrial) {
			s.ended <- exitUsage
		}, []serviceState{serviceStarting}, exitUsage, 0},
		{"not ready, and runs all the same", func(s *serviceTrial) {
			time.Sleep(startTime + time.Second)
			s.ended <- exitUnreachable
		}, []serviceState{serviceStarting, serviceRunning}, exitUnreachable, 0},
		{"stopped before it was ready", func(s *serviceTrial) {
			s.asks <- orderStop
			close(s.ready)
			time.Sleep(2 * startTime)
			s.ended <- exitDone
		}, []serviceState{serviceStarting, serviceStopping}, exitDone, 1},
		{"asked how it is, and other things", func(s *serviceTrial) {
			close(s.ready)
			synctest.Wait()
			n := len(s.reports())
			time.Sleep(time.Hour)
			s.asks <- orderNothing
			s.asks <- orderReport
			synctest.Wait()
			if more := s.reports()[n:]; len(more) != 1 || more[0].within != 0 || more[0].step != 0 {
				t.Errorf("while it runs it says %v", more)
			}
			s.ended <- exitDone
		}, []serviceState{serviceStarting, serviceRunning}, exitDone, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := hostTrial()
			test.story(s)
			if code := <-s.code; code != test.code || s.stops != test.stops {
				t.Errorf("%s: exit code %d, stopped %d times", test.name, code, s.stops)
			}
			if got := s.states(); !slices.Equal(got, test.want) {
				t.Errorf("%s: states %v", test.name, got)
			}
		})
	}
}

// TestServiceHostGivesSigns has a service that drains for long say so, again and again, with
// numbers that grow.
func TestServiceHostGivesSigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hostTrial()
		close(s.ready)
		synctest.Wait()
		s.asks <- orderStop
		synctest.Wait()
		before := len(s.reports())
		for range 3 {
			last := s.reports()[len(s.reports())-1]
			time.Sleep(last.within)
			synctest.Wait()
			if now := s.reports()[len(s.reports())-1]; now.step <= last.step {
				t.Fatalf("%v after %v", now, last)
			}
		}
		if len(s.reports()) < before+3 {
			t.Errorf("%d reports", len(s.reports())-before)
		}
		s.ended <- exitDone
		<-s.code
	})
}

// events are what was written to an event log.
type events []string

func (e *events) Info(_ uint32, text string) error    { return e.add("info: " + text) }
func (e *events) Warning(_ uint32, text string) error { return e.add("warning: " + text) }
func (e *events) Error(_ uint32, text string) error   { return e.add("error: " + text) }

func (e *events) add(text string) error { *e = append(*e, text); return nil }

// TestServiceIsReady has a service be ready with its first line, and once, and the line be kept.
func TestServiceIsReady(t *testing.T) {
	var got strings.Builder
	f := &firstLine{to: &got, ready: make(chan struct{})}
	for _, line := range []string{"127.0.0.1:6000", "127.0.0.1:6001"} {
		say(f, "%s", line)
		select {
		case <-f.ready:
		default:
			t.Error("not ready")
		}
	}
	if got.String() != "127.0.0.1:6000\n127.0.0.1:6001\n" {
		t.Errorf("%q", got.String())
	}
}

// TestEventLines has each line be an event, of the level that it is of, whatever is in it.
func TestEventLines(t *testing.T) {
	var got events
	log := eventLines{&got}
	for _, format := range []string{"text", "json"} {
		logger, err := newLogger(format, "debug", log)
		if err != nil {
			t.Fatal(err)
		}
		logger.Info("a level=ERROR ", "name", `","level":"ERROR"`)
		logger.Warn("slow")
		logger.Error("gone")
	}
	say(log, "sp: it failed")
	say(log, "sp: hint: do something")
	say(log, "sp inlet --to level=ERROR ")
	want := strings.Fields("info: warning: error: info: warning: error: error: info: info:")
	if len(got) != len(want) {
		t.Fatalf("%d events: %q", len(got), got)
	}
	for i, text := range got {
		if !strings.HasPrefix(text, want[i]) || strings.HasSuffix(text, "\n") {
			t.Errorf("%q is not %s", text, want[i])
		}
	}
}
