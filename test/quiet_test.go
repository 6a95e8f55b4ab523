//go:build unix

package test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testenv"
)

// boxTime is for how long connections may carry nothing through a box, on a machine that is slow
// just then up to boxTimeMost.
const (
	boxTime     = 6 * time.Second
	boxTimeMost = 12 * time.Second
)

func boxPatience() time.Duration { return min(unhurried(boxTime), boxTimeMost) }

// bored ends what has carried nothing for as long as a box has patience by then: a machine that has
// stood still meanwhile is one that is slow.
type bored struct {
	mu    sync.Mutex
	last  time.Time
	timer *time.Timer
}

func newBored(end func()) *bored {
	b := &bored{last: time.Now()}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer = time.AfterFunc(boxPatience(), func() {
		b.mu.Lock()
		left := boxPatience() - time.Since(b.last)
		if left > 0 {
			b.timer.Reset(left)
		}
		b.mu.Unlock()
		if left <= 0 {
			end()
		}
	})
	return b
}

func (b *bored) hears() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = time.Now()
}

func (b *bored) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer.Stop()
}

// newBox listens in front of an address, and ends the connections through it that carry nothing for
// a while, as balancers, proxies and firewalls do. What TCP says to keep them does not count.
func newBox(t testing.TB, to string) (address string) {
	t.Helper()
	return service(t, func(c conn) {
		far, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		a, b := netio.Wrap(c), netio.Wrap(far)
		bored := newBored(func() { _, _ = a.Close(), b.Close() })
		defer bored.stop()
		var passing sync.WaitGroup
		pass := func(to, from netio.Conn) {
			_, err := io.Copy(to, alive{from, bored.hears})
			if err == nil {
				err = to.CloseWrite()
			}
			if err != nil {
				_, _ = netio.Reset(a), netio.Reset(b)
			}
		}
		passing.Go(func() { pass(a, b) })
		pass(b, a)
		passing.Wait()
		_ = b.Close()
	})
}

// alive is a reader that says when something comes.
type alive struct {
	io.Reader
	comes func()
}

func (r alive) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.comes()
	}
	return n, err
}

// TestQuietThroughBox has connections carry nothing, open both ways or only one, through somebody
// who ends those. They stay; so does the name that the outlet has claimed; and a new one finds its
// way at once.
func TestQuietThroughBox(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		relay, all bool // the box is in front of a relay; and the outlet comes through it too
		flags      []string
	}{
		"to an outlet":             {},
		"to a relay":               {relay: true},
		"to a relay, both sides":   {relay: true, all: true},
		"to a relay, and in a mux": {relay: true, all: true, flags: []string{"--mux"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan{relay: test.relay, outlet: test.flags}
			var at string // a box in front of the relay
			var relay *process
			if test.all {
				p.who = newPerson(t)
				relay, at = p.who.startRelay()
				at = newBox(t, at)
				p.relayAt = at
			}
			w := newTopology(t, p)
			route := w.route()
			if at == "" {
				where := hostPortOf(route)
				at = newBox(t, where)
				route = strings.Replace(route, step(where), step(at), 1)
				relay = w.relay
			}
			w.connect(route)
			client, target := w.open()
			half, halfTarget := w.open()
			send(t, half, "question")
			halfClose(t, half)
			receives(t, halfTarget, "question")
			receivesEnd(t, halfTarget)
			// and in the long form until it has been tried out what the way bears, and longer
			patience := boxPatience()
			time.Sleep(testenv.OfFull(patience*3/2, patience*5))
			send(t, client, "here still")
			receives(t, target, "here still")
			send(t, target, "here too")
			receives(t, client, "here too")
			send(t, halfTarget, "answer")
			receives(t, half, "answer")
			if relay != nil && relay.said("outlet gone") > 0 {
				t.Error("the name was lost")
			}
			began := time.Now()
			w.carries()
			if !inTime(began, time.Second) {
				t.Errorf("a new connection took %v", time.Since(began))
			}
		})
	}
}
