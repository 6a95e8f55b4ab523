package testkit

import (
	"testing"
	"time"
)

// TestPulse stretches a limit by what was measured since, and by nothing on a machine that is as
// fast as can be.
func TestPulse(t *testing.T) {
	now := time.Now()
	p := &Pulse{}
	for k := range 2 * beatsKept { // the early ones are forgotten
		took := beatQuiet / 2
		if k >= 2*beatsKept-10 {
			took = 4 * beatQuiet
		}
		p.addLocked(beat{now.Add(time.Duration(k) * beatEvery), took})
	}
	last := now.Add((2*beatsKept - 1) * beatEvery)
	for name, test := range map[string]struct {
		since time.Time
		want  time.Duration
	}{
		"the slow ones":     {last.Add(-9 * beatEvery), 40 * time.Second},
		"none since":        {last.Add(time.Hour), 40 * time.Second},
		"half of them":      {last.Add(-19 * beatEvery), 22500 * time.Millisecond},
		"hardly any of all": {now, 10 * time.Second},
	} {
		if got := p.Stretch(10*time.Second, test.since); got != test.want {
			t.Errorf("%s: 10 s are stretched to %v, want %v", name, got, test.want)
		}
	}
}

// TestPulseIsLate counts a beat that is due, as soon as that says more than nothing.
func TestPulseIsLate(t *testing.T) {
	now := time.Now()
	for late, want := range map[time.Duration]float64{
		-beatEvery: 2, 0: 2, beatQuiet: 2, // too early to tell
		6 * beatQuiet: 3, // on average
		time.Hour:     slowest,
	} {
		p := &Pulse{}
		for k := range 3 {
			p.addLocked(beat{now.Add(time.Duration(k-3) * beatEvery), 2 * beatQuiet})
		}
		p.due = now.Add(-late)
		if got := p.slownessLocked(now.Add(-time.Hour), now); got != want {
			t.Errorf("late by %v: %v times slower, want %v", late, got, want)
		}
	}
}

// TestPulseMeasures has a pulse beat, and end.
func TestPulseMeasures(t *testing.T) {
	p := StartPulse()
	Eventually(t, "a few beats", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.next > 3
	})
	p.Stop()
	s := p.Slowness(time.Time{})
	if s < 1 || s > slowest {
		t.Errorf("this machine is %.1f times slower than a quiet one", s)
	}
	t.Logf("this machine is %.1f times slower than a quiet one", s)
}
