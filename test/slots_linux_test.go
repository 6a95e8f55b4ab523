package test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/wire"
)

const (
	// before a stranger who has been ended comes again, at most
	slotPause   = 2 * time.Second
	slotAgain   = 100 * time.Millisecond // between attempts of who is trusted
	slotOversub = 4                      // strangers for each slot
)

// TestSlotsTaken has strangers take every slot for unauthenticated links, and say nothing on them.
// Who is trusted gets through all the same, and has no more trouble once he has.
func TestSlotsTaken(t *testing.T) {
	alone(t)
	for _, through := range []bool{false, true} {
		for _, crowd := range []bool{false, true} {
			name := map[bool]string{false: "outlet", true: "relay"}[through] +
				map[bool]string{false: ", few", true: ", many"}[crowd]
			t.Run(name, func(t *testing.T) {
				alone(t)
				slotsTaken(t, through, crowd)
			})
		}
	}
}

// slotsTaken attacks a relay, or an outlet, from addresses of which there are as many as strangers
// if they are a crowd.
func slotsTaken(t *testing.T, through, crowd bool) {
	t.Helper()
	slots, attempts := testenv.OfFull(32, 1024), testenv.OfFull(10, 100)
	strangers, addresses := slotOversub*slots, testenv.OfFull(2, 16)
	if crowd {
		addresses = strangers
	}
	me := newPerson(t)
	m := newMirror(t, meanwhile)
	limit := fmt.Sprintf("--max-unauthenticated=%d", slots)
	var victim string
	var attempt func(k int) bool
	if through {
		_, victim = me.startRelay("--log-level", "error", limit)
		me.startNamed(victim, "db", m.address, "--log-level", "error")
		attempt = func(k int) bool {
			return asksForName(stranger{net.IPv4(127, 2, 0, byte(k)), victim}, "db")
		}
	} else {
		_, victim = me.startOutlet(m.address, "--log-level", "error", limit)
		attempt = func(int) bool { return me.saidHello(step(victim)) }
	}
	s := takeSlots(t, victim, strangers, addresses)
	first, well := 0, 0
	again := time.NewTicker(slotAgain)
	defer again.Stop()
	for k := 1; k <= attempts || first == 0 && time.Since(s.began) < patience; k++ {
		<-again.C
		if attempt(k) {
			well++
			if first == 0 {
				first = k
			}
		}
	}
	tried := max(attempts, first)
	t.Logf("%d slots, %d strangers of %d addresses who came %d times in %v: "+
		"of %d attempts %d went well, the first was number %d",
		slots, strangers, addresses, s.came.Load(), time.Since(s.began).Round(time.Second),
		tried, well, first)
	switch {
	case first == 0:
		t.Error("nobody gets through")
	case !crowd && well != tried:
		t.Errorf("few addresses keep others out, %d times of %d", tried-well, tried)
	case !through && well != tried-first+1:
		t.Errorf("an outlet refuses who is known to it: %d attempts of %d", tried-first+1-well,
			tried-first+1)
	}
}

// TestRelayFilled has a stranger take all connections through a relay that he can. Who comes from
// elsewhere still gets through, and both are told when there is no more.
func TestRelayFilled(t *testing.T) {
	t.Parallel()
	t.Run("connections", func(t *testing.T) {
		t.Parallel()
		// Fewer than an outlet lets wait that say nothing, or it makes room there.
		relayFilled(t, plan{relayFlags: []string{"--max-connections", "150"}})
	})
	t.Run("descriptors", func(t *testing.T) {
		t.Parallel()
		relayFilled(t, plan{few: "relay"})
	})
}

func relayFilled(t *testing.T, p plan) {
	t.Helper()
	p.relay, p.outlet = true, []string{"--log-level", "error"}
	w := newTopology(t, p)
	ask, err := wire.AppendMessage(nil, wire.Message{
		Onward: wire.Route{
			{Kind: wire.Service, Name: "forward_to_db"},
			{Kind: wire.Secure, Name: "api"},
		},
		Return: wire.Route{{Kind: wire.Label, Name: "stranger"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "there are no more connections for the stranger", func() bool {
		for range 10 {
			if c, err := (stranger{
				net.IPv4(127, 3, 0, 1),
				w.relayAt,
			}).dial(t.Context()); err == nil {
				t.Cleanup(func() { _ = c.Close() })
				_, _ = c.Write(ask) // he may have been reset for coming too often
			}
		}
		return w.relay.said(`error="too many connections"`) > 0
	})
	for range 10 {
		w.saysHello(step(w.relayAt) + forwardTo("db"))
	}
}

// asksForName reports whether a relay answers somebody of whom it knows nothing, and who asks for a
// name.
func asksForName(s stranger, name string) bool {
	b, err := wire.AppendMessage(nil, wire.Message{
		Flags:  wire.Probe,
		Onward: wire.Route{{Kind: wire.Service, Name: "forward_to_" + name}},
		Return: wire.Route{{Kind: wire.Label, Name: "stranger"}},
	})
	if err != nil {
		return false
	}
	c, err := s.dial(context.Background())
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = c.Write(b)
	status := make([]byte, 3)
	if err == nil {
		_, err = io.ReadFull(c, status)
	}
	return err == nil && wire.Code(status[0]) == wire.OK
}

// slotTakers are strangers who take all slots that they can, until the test ends.
type slotTakers struct {
	began time.Time
	came  atomic.Int64
}

// takeSlots returns when all strangers have come once.
func takeSlots(t *testing.T, victim string, n, addresses int) *slotTakers {
	t.Helper()
	p := &slotTakers{began: time.Now()}
	ctx, cancel := context.WithCancel(context.Background())
	var once, tasks sync.WaitGroup
	t.Cleanup(tasks.Wait)
	t.Cleanup(cancel)
	for k := range n {
		from := k % addresses
		s := stranger{net.IPv4(127, 1, byte(from>>8), byte(from)), victim}
		once.Add(1)
		tasks.Go(func() {
			came := sync.OnceFunc(once.Done)
			defer came()
			for ctx.Err() == nil {
				if c, err := s.dial(ctx); err == nil {
					came()
					p.came.Add(1)
					stay(ctx, c)
				}
				select {
				case <-ctx.Done():
				case <-time.After(rand.N(slotPause)):
				}
			}
		})
	}
	once.Wait()
	return p
}

// stay is on a connection until the other end has ended it.
func stay(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	_, _ = c.Read(make([]byte, 1))
}
