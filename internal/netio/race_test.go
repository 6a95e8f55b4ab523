package netio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// course is a name's addresses, and how each of them does: it answers after a time, or fails after
// one if that is negative.
type course struct {
	takes  map[string]time.Duration
	closed atomic.Int32

	mu     sync.Mutex
	dialed []string
}

var errCourse = errors.New("refused")

func (c *course) one(ctx context.Context, at netip.AddrPort) (net.Conn, error) {
	c.mu.Lock()
	c.dialed = append(c.dialed, at.Addr().String())
	c.mu.Unlock()
	takes := c.takes[at.Addr().String()]
	select {
	case <-time.After(max(takes, -takes)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if takes < 0 {
		return nil, errCourse
	}
	return &raced{at: at, closed: &c.closed}, nil
}

type raced struct {
	net.Conn
	at     netip.AddrPort
	closed *atomic.Int32
}

func (r *raced) Close() error { r.closed.Add(1); return nil }

func addresses(text string) (all []netip.AddrPort) {
	for a := range strings.FieldsSeq(text) {
		all = append(all, netip.AddrPortFrom(netip.MustParseAddr(a), 1))
	}
	return all
}

const swallows = time.Hour

var names atomic.Int64

// newName returns a name of which nothing is remembered.
func newName(t *testing.T) string { return fmt.Sprint(t.Name(), " ", names.Add(1)) }

// An address that does not answer, or refuses, costs no more than a moment, whatever its family,
// and nothing the next time.
func TestRace(t *testing.T) {
	for _, test := range []struct {
		name, all   string
		takes       map[string]time.Duration
		wins        string
		first, next time.Duration // what it takes
	}{
		{"the first answers", "10.0.0.1 10.0.0.2", map[string]time.Duration{}, "10.0.0.1", 0, 0},
		{
			"one of the same family swallows packets", "10.0.0.1 10.0.0.2",
			map[string]time.Duration{"10.0.0.1": swallows},
			"10.0.0.2", connectDelay, 0,
		},
		{
			"three swallow packets", "10.0.0.1 10.0.0.2 ::3 10.0.0.4",
			map[string]time.Duration{"10.0.0.1": swallows, "10.0.0.2": swallows, "::3": swallows},
			"10.0.0.4", 3 * connectDelay, 0,
		},
		{
			"one refuses at once", "::1 10.0.0.2",
			map[string]time.Duration{"::1": -1},
			"10.0.0.2", 1, 0,
		},
		{
			"a slow one is overtaken", "10.0.0.1 10.0.0.2",
			map[string]time.Duration{"10.0.0.1": connectDelay + time.Second, "10.0.0.2": 2},
			"10.0.0.2", connectDelay + 2, 2,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, name := &course{takes: test.takes}, newName(t)
				for _, want := range []time.Duration{test.first, test.next, test.next} {
					began := time.Now()
					conn, err := race(t.Context(), name, addresses(test.all), c.one)
					if err != nil {
						t.Fatal(err)
					}
					if at := conn.(*raced).at.Addr().String(); at != test.wins {
						t.Errorf("connected to %s", at)
					}
					if took := time.Since(began); took != want {
						t.Errorf("took %v, not %v", took, want)
					}
				}
			})
		})
	}
}

// What has helped out is dropped again after a while, and at once when the first one works.
func TestRaceForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &course{takes: map[string]time.Duration{"10.0.0.1": swallows}}
		name := newName(t)
		dial := func(want string) {
			t.Helper()
			conn, err := race(t.Context(), name, addresses("10.0.0.1 10.0.0.2"), c.one)
			if err != nil || conn.(*raced).at.Addr().String() != want {
				t.Errorf("%v, %v", conn, err)
			}
		}
		dial("10.0.0.2")
		c.takes = nil // it is well again
		dial("10.0.0.2")
		time.Sleep(helpsFor + 1)
		dial("10.0.0.1")
		dial("10.0.0.1")
	})
}

// The error is of the address that went first, when all have failed or time is over. What has come
// too late is closed.
func TestRaceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &course{takes: map[string]time.Duration{"10.0.0.1": swallows, "10.0.0.2": -1}}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		_, err := race(ctx, t.Name(), addresses("10.0.0.1 10.0.0.2"), c.one)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		c.takes["10.0.0.1"] = -time.Second
		if _, err = race(t.Context(), t.Name(), addresses("10.0.0.1 10.0.0.2"), c.one); err != errCourse {
			t.Error(err)
		}
		late := func(context.Context, netip.AddrPort) (net.Conn, error) {
			time.Sleep(connectDelay + time.Second) // whatever becomes of ctx
			return &raced{closed: &c.closed}, nil
		}
		if _, err = race(t.Context(), t.Name(), addresses("10.0.0.1 10.0.0.2"), late); err != nil {
			t.Error(err)
		}
		if n := c.closed.Load(); n != 1 {
			t.Errorf("%d have been closed", n)
		}
	})
}

func TestInterleave(t *testing.T) {
	for _, test := range []struct{ all, want string }{
		{"10.0.0.1", "10.0.0.1"},
		{"10.0.0.1 10.0.0.2 ::1", "10.0.0.1 ::1 10.0.0.2"},
		{"::1 ::2 ::3 10.0.0.1", "::1 10.0.0.1 ::2 ::3"},
	} {
		if got := interleave(addresses(test.all)); !slices.Equal(got, addresses(test.want)) {
			t.Errorf("%s becomes %v", test.all, got)
		}
	}
}

// Only so many names are remembered.
func TestMemoryIsBounded(t *testing.T) {
	m := memory{last: make(map[string]helper)}
	at := addresses("10.0.0.1 10.0.0.2")
	for i := range 2 * maxHelpers {
		m.note(strings.Repeat("x", i), at[1], at[0], time.Now())
	}
	if len(m.last) != maxHelpers {
		t.Errorf("%d names", len(m.last))
	}
}

// localhost is both loopbacks, as it is for who listens there, and nobody is asked.
func TestLocalhost(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // whoever is asked now does not answer
	for _, name := range []string{"localhost", "LocalHost", "localhost."} {
		all, err := lookUp(ctx, name, "80")
		if want := addresses("127.0.0.1 ::1"); err != nil || len(all) != 2 ||
			all[0].Addr() != want[0].Addr() || all[1].Addr() != want[1].Addr() {
			t.Errorf("%s: %v, %v", name, all, err)
		}
	}
	for _, name := range []string{"localhost.example", "mylocalhost"} {
		if isLocalhost(name) {
			t.Error(name)
		}
	}
}

// A name is dialed at whichever of its addresses answers, and one that is none says so.
func TestDialName(t *testing.T) {
	l, err := ListenConfig().Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for name, guarded := range map[string]bool{"links": false, "guarded": true} {
		dial := Dial
		if guarded {
			dial = DialGuarded
		}
		c, err := dial(t.Context(), "tcp", "localhost:"+port, 10*time.Second)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = c.Close()
	}
	_, err = Dial(t.Context(), "tcp", "no-such-host.invalid:1", 10*time.Second)
	var dns *net.DNSError
	if !errors.As(err, &dns) {
		t.Errorf("%v", err)
	}
}
