package channel

import (
	"context"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
)

// box is somebody in the middle of all links of a lab, who ends those that carry nothing for a
// while, and counts what passes.
type box struct {
	lab      *lab
	patience time.Duration

	mu     sync.Mutex
	timers map[int]*time.Timer
	cut    map[int]bool
	passed map[int]int // pieces, by link
	times  map[int][]time.Time
}

// inBox runs f with a lab whose links go through a box.
func inBox(
	t *testing.T, patience time.Duration, change func(a, b *Config), f func(t *testing.T, b *box),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, func(a, b *Config) {
			a.Probe = true
			if change != nil {
				change(a, b)
			}
		})
		defer l.close()
		b := &box{
			lab: l, patience: patience, timers: make(map[int]*time.Timer),
			cut: make(map[int]bool), passed: make(map[int]int), times: make(map[int][]time.Time),
		}
		l.plan = func(int) faultnet.Plan { return nil }
		l.tap = func(link int, _ faultnet.Direction, _ []byte) { b.passes(link) }
		f(t, b)
		for _, timer := range b.timers {
			timer.Stop()
		}
	})
}

func (b *box) passes(link int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passed[link]++
	b.times[link] = append(b.times[link], time.Now())
	if timer := b.timers[link]; timer != nil {
		timer.Reset(b.patience)
	}
}

// boxed is an end of a link through a box.
type boxed struct {
	*faultnet.Conn
	box  *box
	link int
}

func (c boxed) TakesMore() bool { return c.Quiet() }

func (c boxed) Quiet() bool {
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	return !c.box.cut[c.link]
}

func (b *box) dial(context.Context) (Conn, error) {
	client, server := b.lab.pipe()
	link, n := b.lab.lastLink(), b.lab.dialed-1
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timers[n] = time.AfterFunc(b.patience, func() {
		select {
		case <-link.Done():
			return
		default:
		}
		b.mu.Lock()
		b.cut[n] = true
		b.mu.Unlock()
		link.Cut()
	})
	b.lab.serve(boxed{server, b, n})
	return boxed{client, b, n}, nil
}

// accepts is accepted, but for empty flows, which are answered.
func (b *box) accepts() chan *acceptedFlow {
	flows := b.lab.accepted()
	handle := b.lab.handle
	b.lab.handle = func(ctx context.Context, f *Flow) {
		f.receiving.Lock()
		empty := f.receiving.err == io.EOF
		f.receiving.Unlock()
		if empty {
			_ = f.CloseWrite()
			_, _ = f.Read(make([]byte, 1))
			return
		}
		handle(ctx, f)
	}
	return flows
}

func (b *box) session() *Session { return b.lab.sessionBy(b.dial) }

func (b *box) cuts() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.cut)
}

// during returns when pieces pass on each link while d goes by.
func (b *box) during(d time.Duration) map[int][]time.Time {
	b.mu.Lock()
	clear(b.times)
	b.mu.Unlock()
	time.Sleep(d)
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.times)
}

// pieces returns how many pieces pass on a link while d goes by.
func (b *box) pieces(link int, d time.Duration) int {
	count := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.passed[link]
	}
	before := count()
	time.Sleep(d)
	return count() - before
}

// What is open stays so through a box that ends what carries nothing, whatever direction has ended,
// and however many links are open. The box ends few links: those that were to be ended.
func TestQuietLinksLive(t *testing.T) {
	for _, patience := range []time.Duration{6, 10, 60, 350} {
		inBox(t, patience*time.Second, nil, func(t *testing.T, b *box) {
			flows := b.accepts()
			s := b.session()
			open, atOpen := b.lab.both(s, flows)
			mine, atMine := b.lab.both(s, flows)
			if err := mine.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			expectEnd(t, atMine)
			// Who has written in time does not take the deadline back.
			for _, f := range []*Flow{open, atOpen.Flow} {
				_ = f.SetWriteDeadline(time.Now().Add(time.Second))
			}
			theirs, atTheirs := b.lab.both(s, flows)
			if err := atTheirs.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			expectEnd(t, theirs)
			time.Sleep(time.Hour / 2)
			for _, f := range []*Flow{open, atOpen.Flow} {
				_ = f.SetWriteDeadline(time.Time{})
			}
			for _, pass := range []struct {
				from io.Writer
				to   io.Reader
			}{{open, atOpen}, {atOpen, open}, {atMine, mine}, {theirs, atTheirs}} {
				write(t, pass.from, "still here")
				expect(t, pass.to, "still here")
			}
			if n := b.cuts(); n > 1 {
				t.Errorf("with %v: %d links have been ended for carrying nothing", patience*time.Second, n)
			}
			for _, a := range []*acceptedFlow{atOpen, atMine, atTheirs} {
				a.release()
			}
			_ = s.Close()
		})
	}
}

// Where nothing is ever ended, next to nothing is sent.
func TestQuietLinksCostLittle(t *testing.T) {
	inBox(t, time.Hour, nil, func(t *testing.T, b *box) {
		flows := b.accepts()
		s := b.session()
		_, a := b.lab.both(s, flows)
		if n := b.pieces(1, time.Minute); n > 15 {
			t.Errorf("%d pieces in the first minute", n)
		}
		time.Sleep(5 * time.Minute)
		if n := b.pieces(1, 10*time.Minute); n < 10 || n > 16 {
			t.Errorf("%d pieces in ten minutes", n)
		}
		a.release()
		_ = s.Close()
	})
}

// What was found out about a way holds for the next session, unless the one before was cut off.
func TestWayIsRemembered(t *testing.T) {
	inBox(t, 10*time.Second, nil, func(t *testing.T, b *box) {
		_ = b.accepts()
		first := b.session()
		time.Sleep(time.Minute)
		if n := b.cuts(); n != 1 {
			t.Fatalf("%d links were ended to find out", n)
		}
		_ = first.Close()
		second := b.session()
		second.Follows(first)
		time.Sleep(10 * time.Minute)
		if n := b.cuts(); n != 1 {
			t.Errorf("%d more links were ended", n-1)
		}
		if err := second.Err(); err != nil {
			t.Error(err)
		}
		second.end(ErrCut)
		_ = second.Close()
		third := b.session()
		third.Follows(second)
		if third.quiet.way.Load().isKnown(time.Now()) {
			t.Error("a way on which a session was cut off is believed to be known")
		}
		_ = third.Close()
	})
}

// Many flows that carry nothing are not all written to at once.
func TestQuietLinksAreSpread(t *testing.T) {
	const many, window = 500, 10 * time.Millisecond
	inBox(t, time.Hour, nil, func(t *testing.T, b *box) {
		flows := b.accepts()
		s := b.session()
		var all []*acceptedFlow
		for range many {
			_, a := b.lab.both(s, flows)
			all = append(all, a)
		}
		time.Sleep(5 * time.Minute)
		passed := b.during(boldQuiet)
		delete(passed, 0) // the session's own
		times := slices.Concat(slices.Collect(maps.Values(passed))...)
		slices.SortFunc(times, time.Time.Compare)
		if len(times) < many {
			t.Errorf("%d pieces for %d flows", len(times), many)
		}
		most := 0
		for i, at := range times {
			n := 0
			for _, other := range times[i:] {
				if other.Sub(at) >= window {
					break
				}
				n++
			}
			most = max(most, n)
		}
		if most > quietBurst+1 {
			t.Errorf("%d pieces within %v", most, window)
		}
		for _, a := range all {
			a.release()
		}
		_ = s.Close()
	})
}

// A flow that nobody would miss soon lives through a box as well, and where that is patient nobody
// wakes up for it but for the session's pings.
func TestBackgroundGoesWithPings(t *testing.T) {
	change := func(a, b *Config) {
		a.Activity, b.Activity = new(Activity), new(Activity)
		a.RenewAfter = maxRenewAfter // a renewal takes the place of a ping
	}
	for _, patience := range []time.Duration{6, 10, 60, 350} {
		inBox(t, patience*time.Second, change, func(t *testing.T, b *box) {
			flows := b.accepts()
			s := b.session()
			f, far := b.lab.both(s, flows)
			f.Background()
			far.Background()
			time.Sleep(time.Hour / 2)
			passed := b.during(10 * time.Minute)
			if len(passed[1]) == 0 {
				t.Error("nothing passes in the flow")
			}
			for _, at := range passed[1] {
				if patience == 350 && !slices.ContainsFunc(passed[0], at.Equal) {
					t.Error("something passes in the flow by itself")
				}
			}
			write(t, f, "still here")
			expect(t, far, "still here")
			if n := b.cuts(); n > 1 {
				t.Errorf("with %v: %d links have been ended for carrying nothing", patience*time.Second, n)
			}
			far.release()
			_ = s.Close()
		})
	}
}

// Pings that somebody else asks for take the place of the session's own. A flow that nobody would
// miss soon does not depend on those.
func TestBackgroundBesidePings(t *testing.T) {
	change := func(a, b *Config) { a.Activity, b.Activity = new(Activity), new(Activity) }
	inBox(t, time.Minute, change, func(t *testing.T, b *box) {
		flows := b.accepts()
		s := b.session()
		f, far := b.lab.both(s, flows)
		f.Background()
		far.Background()
		time.Sleep(time.Hour / 3) // and no other try is made within an hour
		before := b.cuts()
		for _, every := range []time.Duration{5, 30, 35, 39} {
			for range 10 {
				time.Sleep(every * time.Second)
				if _, err := s.Ping(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		write(t, f, "still here")
		expect(t, far, "still here")
		if n := b.cuts() - before; n > 0 {
			t.Errorf("%d links have been ended for carrying nothing", n)
		}
		far.release()
		_ = s.Close()
	})
}

func TestTolerance(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name       string
		lived, cut time.Duration
		want       time.Duration
		known      bool
	}{
		{"nothing is known", 0, 0, cautiousQuiet, false},
		{"a little", 30 * time.Second, 0, 20 * time.Second, false},
		{"enough", provenQuiet, 0, boldQuiet, true},
		{"more than enough", time.Hour, 0, boldQuiet, true},
		{"cut after 10 s", 9 * time.Second, 10 * time.Second, 6 * time.Second, true},
		{"cut after a minute", time.Minute, time.Minute, 36 * time.Second, true},
		{"cut at once, which is no box", 0, time.Second, cautiousQuiet, false},
	} {
		var w tolerance
		w.noteLived(test.lived)
		w.noteCut(test.cut, now)
		if got := w.allows(); got != test.want || w.isKnown(now) != test.known {
			t.Errorf("%s: allows %v, known: %v", test.name, got, w.isKnown(now))
		}
	}
	var w tolerance
	w.noteLived(provenQuiet)
	w.noteCut(10*time.Second, now)
	if w.isKnown(now.Add(cutForgotten + 1)) {
		t.Error("a cut is remembered for ever")
	}
}

// A session that nobody would miss is pinged four times as rarely, by one side, and as often as any
// when somebody would.
func TestRestingSession(t *testing.T) {
	for _, role := range []identity.Role{identity.Initiator, identity.Responder} {
		var activity Activity
		var records atomic.Int64
		change := func(a, b *Config) {
			a.Activity, b.Activity = new(Activity), new(Activity)
			if role == identity.Initiator {
				a.Activity = &activity
			} else {
				b.Activity = &activity
			}
		}
		inBubble(t, change, func(t *testing.T, l *lab) {
			l.plan = func(int) faultnet.Plan { return nil }
			l.tap = func(link int, _ faultnet.Direction, _ []byte) {
				if link == 0 {
					records.Add(1)
				}
			}
			s := l.session()
			s.quiet.way.Load().noteLived(provenQuiet)
			count := func(d time.Duration) int64 {
				before := records.Load()
				time.Sleep(d)
				return records.Load() - before
			}
			time.Sleep(time.Minute)
			if n := count(time.Minute); n > 8 {
				t.Errorf("%d records in a minute of a session that nobody would miss", n)
			}
			activity.Begin()
			if n := count(time.Minute); n < 18 || n > 28 {
				t.Errorf("%d records in a minute of a session that somebody would miss", n)
			}
			activity.End()
			time.Sleep(time.Minute)
			l.links[0].BlackHole(true)
			activity.Begin()
			began := time.Now()
			<-s.Done()
			wantErr(t, s.Err(), ErrMissedPongs)
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("a hole is known after %v", took)
			}
			activity.End()
		})
	}
}

// A flow that nobody would miss stays one when it moves to another link, or to another session.
func TestBackgroundMoves(t *testing.T) {
	for _, lost := range []string{"link", "session", "session that goes away"} {
		t.Run(lost, func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				flows := p.accepted()
				f, far := p.both(p.mustSession(), flows)
				defer far.release()
				f.Background()
				far.Background()
				synctest.Wait()
				switch links := p.liveLinks(); lost {
				case "link":
					links[1].Cut()
				case "session":
					links[0].Cut()
				default:
					p.responder.GoAway()
				}
				write(t, f, "x")
				expect(t, far, "x")
				time.Sleep(time.Minute)
				synctest.Wait()
				for _, f := range []*Flow{f, far.Flow} {
					s := f.Session()
					s.pool.mu.Lock()
					background := s.pool.background
					s.pool.mu.Unlock()
					if s.pool.activity.now() || background != 1 {
						t.Errorf("%v: a flow in the background counts: %d", s.Role(), background)
					}
				}
			})
		})
	}
}

// The claim of a name and the like is nothing that somebody would miss soon.
func TestBackground(t *testing.T) {
	change := func(a, b *Config) { a.Activity, b.Activity = new(Activity), new(Activity) }
	inBubble(t, change, func(t *testing.T, l *lab) {
		flows := l.accepted()
		s, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
		if err != nil {
			t.Fatal(err)
		}
		f, a := l.both(s, flows)
		f.Background()
		time.Sleep(time.Minute)
		if s.pool.activity.now() || s.pool.background != 1 {
			t.Error("a flow in the background counts")
		}
		g, b := l.both(s, flows)
		if !s.pool.activity.now() {
			t.Error("a flow does not count")
		}
		_, _ = f.Close(), g.Close()
		a.release()
		b.release()
		time.Sleep(time.Minute)
		if s.pool.activity.now() || s.pool.background != 0 {
			t.Error("flows that have ended count")
		}
	})
}
