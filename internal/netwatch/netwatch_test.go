package netwatch

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is a network and clocks of a test's own.
type world struct {
	began time.Time
	hint  chan struct{}

	mu    sync.Mutex // guards what follows
	now   view
	err   error
	deaf  bool
	busy  bool
	looks int

	standsAt int           // a look, in which the process stands still
	slept    time.Duration // by which the time of day is ahead
	stood    time.Duration // by which both clocks are
	told     []Change
	at       []time.Duration // when
}

func (w *world) look() (view, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	if w.looks == w.standsAt {
		w.stood += 40 * time.Second
	}
	return view{slices.Clone(w.now.addresses), slices.Clone(w.now.ways)}, w.err
}
func (w *world) hints() <-chan struct{} { return w.hint }
func (w *world) isDeaf() bool           { return w.deaf } // which no test changes
func (w *world) close()                 { close(w.hint) }

func (w *world) clocks() reading {
	w.mu.Lock()
	defer w.mu.Unlock()
	passed := time.Since(w.began) + w.stood
	return reading{passed: passed, day: passed + w.slept}
}

// is has something be different, and nobody say so.
func (w *world) is(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// happens has the network be another one, and the kernel say so.
func (w *world) happens(change func(v *view)) {
	w.is(func() { change(&w.now) })
	select {
	case w.hint <- struct{}{}:
	default:
	}
}

// looked returns how often the network has been looked at.
func (w *world) looked() int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.looks
}

// watched runs f with a watcher of a world, in a bubble.
func watched(t *testing.T, begin func(w *world), f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{began: time.Now(), hint: make(chan struct{}, 1)}
		w.now = view{addresses: addresses("10.0.0.2"), ways: ways("10.0.0.1")}
		if begin != nil {
			begin(w)
		}
		watcher := New(Config{
			Tell: func(c Change) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.told = append(w.told, c)
				w.at = append(w.at, time.Since(w.began))
			},
			Busy: func() bool { return w.busy },
		})
		watcher.open, watcher.now = func() source { return w }, w.clocks
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			watcher.Run(ctx)
		}()
		synctest.Wait()
		f(t, w)
		cancel()
		<-ended
	})
}

// expects that so much was told since the last call, in words.
func (w *world) expects(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var got []string
	for _, c := range w.told {
		text := c.String()
		if c.Offline {
			text += ", offline"
		}
		got = append(got, text)
	}
	w.told, w.at = nil, nil
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func addresses(all ...string) (parsed []netip.Addr) {
	for _, text := range all {
		parsed = append(parsed, netip.MustParseAddr(text))
	}
	return parsed
}

func ways(gateway string) []way {
	return []way{{family: "IPv4", gateway: netip.MustParseAddr(gateway)}}
}

// TestTellsOnce checks that what comes one after the other is told as one change, soon.
func TestTellsOnce(t *testing.T) {
	watched(t, nil, func(t *testing.T, w *world) {
		time.Sleep(3 * time.Second)
		begin := time.Since(w.began)
		w.happens(func(v *view) { v.addresses, v.ways = nil, nil })
		time.Sleep(settleTime / 2)
		w.happens(func(v *view) { v.addresses = addresses("10.9.0.2", "2001:db8::2") })
		time.Sleep(settleTime / 2)
		w.happens(func(v *view) { v.ways = ways("10.9.0.1") })
		time.Sleep(settleTime)
		w.looked()
		w.is(func() {
			if len(w.at) != 1 || w.at[0]-begin > time.Second {
				t.Errorf("told at %v, and it began at %v", w.at, begin)
			}
		})
		w.expects(t, "10.0.0.2 is gone, 10.9.0.2 is new, 2001:db8::2 is new, "+
			"no longer IPv4 by 10.0.0.1, now IPv4 by 10.9.0.1")
	})
}

// TestNeverSettles checks that a change is told although something goes on happening.
func TestNeverSettles(t *testing.T) {
	watched(t, nil, func(t *testing.T, w *world) {
		w.happens(func(v *view) { v.addresses = addresses("10.9.0.2") })
		for range 9 {
			time.Sleep(settleTime / 2)
			w.happens(func(*view) {})
		}
		w.expects(t, "10.0.0.2 is gone, 10.9.0.2 is new")
	})
}

// TestNothingToTell has things happen that make no difference, and looks fail.
func TestNothingToTell(t *testing.T) {
	watched(t, nil, func(t *testing.T, w *world) {
		w.happens(func(*view) {})
		time.Sleep(time.Minute)
		w.happens(func(v *view) { v.addresses = nil }) // and is back in a moment
		time.Sleep(settleTime / 2)
		w.happens(func(v *view) { v.addresses = addresses("10.0.0.2") })
		time.Sleep(time.Minute)
		w.expects(t)

		w.is(func() { w.err = errors.New("no descriptor") })
		w.happens(func(v *view) { v.addresses = addresses("10.9.0.2") })
		time.Sleep(time.Minute)
		w.expects(t)
		w.is(func() { w.err = nil })
		time.Sleep(restInterval)
		w.expects(t, "10.0.0.2 is gone, 10.9.0.2 is new")
	})
}

// TestIdle checks how rarely is looked while the kernel has nothing to tell, and how often where it
// does not tell.
func TestIdle(t *testing.T) {
	for _, c := range []struct {
		deaf, busy bool
		most       int // in a minute
	}{{false, false, 1}, {false, true, 1}, {true, false, 6}, {true, true, 60}} {
		watched(t, func(w *world) { w.deaf, w.busy = c.deaf, c.busy },
			func(t *testing.T, w *world) {
				before := w.looked()
				time.Sleep(time.Minute)
				if n := w.looked() - before; n != c.most {
					t.Errorf("deaf %v, busy %v: %d looks, want %d", c.deaf, c.busy, n, c.most)
				}
				w.is(func() { w.now.addresses = addresses("10.9.0.2") })
				time.Sleep(time.Minute / time.Duration(c.most))
				w.expects(t, "10.0.0.2 is gone, 10.9.0.2 is new")
			})
	}
}

// TestOffline checks when there is nothing to try: from when the last way out has gone until
// something comes, and never where there has been none.
func TestOffline(t *testing.T) {
	watched(t, nil, func(t *testing.T, w *world) {
		next := func(change func(v *view), want string) {
			t.Helper()
			w.happens(change)
			time.Sleep(time.Second)
			w.expects(t, want)
		}
		next(func(v *view) { v.addresses = addresses("10.0.0.2", "172.17.0.1") },
			"172.17.0.1 is new")
		next(func(v *view) { v.ways = nil }, "no longer IPv4 by 10.0.0.1, offline")
		next(func(v *view) { v.addresses = addresses("172.17.0.1") }, "10.0.0.2 is gone, offline")
		w.is(func() { w.slept += time.Minute })
		next(func(*view) {}, "the clock has jumped by 1m0s, offline")
		next(func(v *view) { v.addresses = addresses("172.17.0.1", "10.0.0.2") }, "10.0.0.2 is new")
		next(func(v *view) { v.addresses = nil }, "10.0.0.2 is gone, 172.17.0.1 is gone, offline")
		next(func(v *view) { v.ways = ways("10.0.0.1") }, "now IPv4 by 10.0.0.1")
	})
	nothing := func(w *world) { w.now = view{} }
	watched(t, nothing, func(t *testing.T, w *world) {
		w.is(func() { w.slept += time.Minute })
		w.happens(func(*view) {})
		time.Sleep(time.Second)
		w.expects(t, "the clock has jumped by 1m0s")
	})
}

// TestClocks has the machine sleep, the process stand still, and the time of day be put right.
func TestClocks(t *testing.T) {
	for name, c := range map[string]struct {
		slept, stood time.Duration
		hint         bool
		want         string // empty: nothing
	}{
		"slept":                {slept: 40 * time.Second, hint: true, want: "40s"},
		"slept, nobody says":   {slept: 40 * time.Second, want: "40s"},
		"stood still":          {stood: 40 * time.Second, want: "40s"},
		"stood still, hint":    {stood: 40 * time.Second, hint: true, want: "35s"}, // 5 s are not due
		"slept and stood":      {slept: 30 * time.Second, stood: 40 * time.Second, want: "1m10s"},
		"a busy machine":       {stood: lateStep},
		"a clock that is slow": {slept: clockStep, hint: true},
		"put back":             {slept: -time.Hour, hint: true},
	} {
		t.Run(name, func(t *testing.T) {
			watched(t, nil, func(t *testing.T, w *world) {
				time.Sleep(5 * time.Second)
				w.is(func() { w.slept, w.stood = c.slept, c.stood })
				if c.hint {
					w.happens(func(*view) {})
				}
				time.Sleep(time.Minute)
				if c.want == "" {
					w.expects(t)
				} else {
					w.expects(t, "the clock has jumped by "+c.want)
				}
			})
		})
	}
}

// TestStandsStillAtTheStart checks that this is told soon, and not with the next look.
func TestStandsStillAtTheStart(t *testing.T) {
	watched(t, func(w *world) { w.standsAt = 1 }, func(t *testing.T, w *world) {
		time.Sleep(time.Second)
		w.expects(t, "the clock has jumped by 40s")
	})
}

func TestCounts(t *testing.T) {
	const others = "127.0.0.1 ::1 169.254.1.2 fe80::1 :: 0.0.0.0 224.0.0.1 ff02::1 ::ffff:127.0.0.1"
	for _, a := range addresses(strings.Fields(others)...) {
		if counts(a) {
			t.Error(a, "counts")
		}
	}
	for _, a := range addresses("10.0.0.2", "192.0.2.1", "fd00::1", "2001:db8::1") {
		if !counts(a) {
			t.Error(a, "does not count")
		}
	}
}

// TestLooked looks at the network that this machine has, as is done where nobody tells.
func TestLooked(t *testing.T) {
	v, err := looked{}.look()
	if err != nil {
		t.Fatal(err)
	}
	again, _ := looked{}.look()
	var c Change
	(&outlook{view: v}).learn(again, &c)
	if c.differs() {
		t.Logf("another test may have changed it: %v", c)
	}
	for _, a := range v.addresses {
		if !counts(a) {
			t.Error(a)
		}
	}
	t.Log(v)
}

// TestWay checks what is said of a way, and that it is the same by another name.
func TestWay(t *testing.T) {
	w := way{
		family: "IPv6", device: 3, gateway: netip.MustParseAddr("fe80::1"),
		source: netip.MustParseAddr("2001:db8::2"),
	}
	if got, want := w.String(), "IPv6 by fe80::1 on device 3 from 2001:db8::2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	named := w
	named.name = "eth0"
	if got, want := named.String(), "IPv6 by fe80::1 on eth0 from 2001:db8::2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if indexOf([]way{{}, named}, w) != 1 || indexOf([]way{{}}, w) != -1 {
		t.Error("ways are not found")
	}
}
