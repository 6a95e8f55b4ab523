package logthrottle

import (
	"testing"
	"time"
)

// TestOutage follows something that is down for a day, and is tried each second.
func TestOutage(t *testing.T) {
	var o Outage
	begin := time.Unix(1e9, 0)
	for range 2 { // it is up in between
		var lines []time.Duration
		for d := time.Duration(0); d < 4*time.Hour; d += time.Second {
			due, since := o.Failed("refused", begin.Add(d))
			if due {
				lines = append(lines, d)
			}
			if first := d == 0; first != since.IsZero() || !first && !since.Equal(begin) {
				t.Fatalf("after %v: since %v", d, since)
			}
		}
		want := []time.Duration{
			0, 30 * time.Second, 5 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour,
		}
		if len(lines) != len(want) {
			t.Fatalf("lines after %v, want %v", lines, want)
		}
		for i := range want {
			if lines[i] != want[i] {
				t.Errorf("lines after %v, want %v", lines, want)
			}
		}
		end := begin.Add(5 * time.Hour)
		if lasted := o.Ended(end); lasted != 5*time.Hour {
			t.Errorf("it has lasted %v", lasted)
		}
		if lasted := o.Ended(end); lasted != 0 {
			t.Errorf("nothing has lasted %v", lasted)
		}
	}
}

// TestOutageRarelyTried has no line be more than one, however long there was none.
func TestOutageRarelyTried(t *testing.T) {
	var o Outage
	begin := time.Unix(1e9, 0)
	lines := 0
	for _, after := range []time.Duration{0, 5 * time.Hour, 5*time.Hour + time.Minute} {
		if due, _ := o.Failed("x", begin.Add(after)); due {
			lines++
		}
	}
	if lines != 2 {
		t.Errorf("%d lines", lines)
	}
}

// TestOutageReasons has each reason get a line, once, and no more than a few: a peer may make them
// up.
func TestOutageReasons(t *testing.T) {
	var o Outage
	now := time.Unix(1e9, 0)
	lines := 0
	for i := range 1000 {
		for _, reason := range []string{"refused", "no answer", string(rune('a' + i%30))} {
			if due, _ := o.Failed(reason, now); due {
				lines++
			}
		}
	}
	if lines != maxReasons {
		t.Errorf("%d lines", lines)
	}
}

// TestRepeats has many who wait be told apart, and each come back as new after a while.
func TestRepeats(t *testing.T) {
	var r Repeats[string]
	begin := time.Unix(1e9, 0)
	lines, omitted := 0, 0
	for d := time.Duration(0); d < 11*time.Minute; d += time.Second {
		for _, who := range []string{"a", "b"} {
			due, since, n := r.Due(who, begin.Add(d))
			if due {
				lines++
				omitted += n
			}
			if d > 0 && !since.Equal(begin) {
				t.Fatalf("after %v: since %v", d, since)
			}
		}
	}
	if lines != 6 || omitted != 2*(5*60-2) {
		t.Errorf("%d lines, %d left out", lines, omitted)
	}
	now := begin.Add(11*time.Minute + 2*forgetAfter)
	if due, since, n := r.Due("a", now); !due || !since.IsZero() || n != 0 {
		t.Errorf("forgotten: %t, %v, %d", due, since, n)
	}
}

// TestRepeatsFull has memory stay bounded, and nothing be hidden for want of it.
func TestRepeatsFull(t *testing.T) {
	var r Repeats[int]
	now := time.Unix(1e9, 0)
	for i := range 3 * maxSources {
		if due, _, _ := r.Due(i, now); !due {
			t.Fatalf("%d is not new", i)
		}
	}
	if len(r.of) > maxSources {
		t.Errorf("%d are kept", len(r.of))
	}
	now = now.Add(2 * forgetAfter)
	r.Due(-1, now)
	if due, _, _ := r.Due(-1, now); due || len(r.of) != 1 {
		t.Errorf("%d are kept", len(r.of))
	}
}
