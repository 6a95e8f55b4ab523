package channel

import (
	"io"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// Of a way that takes so much in a second, and says so after a while, marks let through what it
// takes, and have no more on it than what it takes in little more than that while and a second.
func TestMarks(t *testing.T) {
	const (
		tick   = time.Millisecond
		lasts  = 10 * time.Second
		record = 1000
	)
	for name, way := range map[string]struct {
		rate, offered int           // records a second
		trip          time.Duration // there and back, with what an acknowledgement waits
		most          time.Duration // that one waits on the way
		least         int           // records that pass in all
	}{
		"slow":                   {100, 200, 300 * time.Millisecond, 2 * time.Second, 900},
		"offered very much":      {100, 5000, 300 * time.Millisecond, 3 * time.Second, 900},
		"as much as it takes":    {100, 100, 300 * time.Millisecond, 100 * time.Millisecond, 990},
		"far":                    {200, 50, 700 * time.Millisecond, 100 * time.Millisecond, 495},
		"farther than it may be": {200, 50, 1500 * time.Millisecond, 100 * time.Millisecond, 450},
		"fast":                   {40e3, 20e3, 60 * time.Millisecond, 100 * time.Millisecond, 190e3},
		"fast, and more so":      {10e3, 20e3, 60 * time.Millisecond, 3 * time.Second, 90e3},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMarks()
			began := time.Unix(1, 0)
			var sent, passed, acked, offered int
			var when, known []time.Duration // by record: it was sent, and acknowledged
			var worst time.Duration
			var takes float64
			for now := time.Duration(0); now < lasts; now += tick {
				for acked < passed && known[acked] <= now {
					acked++
				}
				for ; offered < way.offered*int(now/tick)/int(time.Second/tick); offered++ {
					at := mark{position: uint64(sent), bytes: record * uint64(sent), at: began.Add(now)}
					if !m.late(at, uint64(acked)) {
						sent++
						when = append(when, now)
					}
				}
				takes += float64(way.rate) * time.Duration(tick).Seconds()
				for ; passed < sent && takes >= 1; passed++ {
					worst = max(worst, now-when[passed])
					known = append(known, now+way.trip)
					takes--
				}
				if passed == sent {
					takes = min(takes, 1)
				}
			}
			if passed < way.least || worst > way.most {
				t.Errorf("%d passed, want %d; one has waited for %v, want %v at most",
					passed, way.least, worst, way.most)
			}
		})
	}
}

// A flow tells that what it has sent waits somewhere when nobody has opened it for a while, and
// that it does not when somebody has.
func TestLateFlow(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		f, far := p.both(p.mustSession(), flows)
		defer far.release()
		write(t, f, "something")
		if n := f.Unsent(); n == netio.UnsentForNow {
			t.Error("what has just been sent is late")
		}
		time.Sleep(2 * lateAfter)
		if n := f.Unsent(); n != netio.UnsentForNow {
			t.Errorf("nobody reads, and %d bytes wait", n)
		}
		go func() { _, _ = far.WriteTo(io.Discard) }()
		time.Sleep(2 * ackDelay)
		if n := f.Unsent(); n == netio.UnsentForNow {
			t.Error("all has been read, and it is late")
		}
		_ = f.Close()
	})
}
