package test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/brokertest"
	"github.com/secureportal/sp/internal/natsconn"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/directory/natsbus"
	"github.com/secureportal/sp/route/relay/sets"
)

// mostLookup is how long a look-up may take in the middle, where all is on one machine.
const mostLookup = 50 * time.Millisecond

// manyNames is three relays, each a set of its own, which a directory of three servers joins, and
// names on all of them, each of somebody else's.
type manyNames struct {
	t       *testing.T
	servers []*brokertest.Process
	at      []string
	relays  []*process

	mu   sync.Mutex
	back map[string]time.Time // when each name was registered last
}

// TestManyNames has names be held on three relays, 10,000 with SP_FULL=1, looks them up, and has
// one of the relays be killed and start again.
func TestManyNames(t *testing.T) {
	alone(t)
	testenv.NeedTool(t, "nats-server")
	n := testenv.OfRun(45, 90, 10_000)
	m := &manyNames{
		t: t, servers: brokertest.NATSCluster(t, 3, ""), back: make(map[string]time.Time),
	}
	me := newPerson(t)
	for i := range 3 {
		at := testkit.Address(t)
		args := []string{
			"--advertise", at, "--allow-anyone", "--max-unauthenticated", "16384", "--max-names", "20000",
			"--max-connections", "65536", "--handshake-rate", "10000", "--log-level", "warn",
		}
		for _, s := range m.servers {
			args = append(args, "--directory", "nats://"+s.Address)
		}
		m.at = append(m.at, at)
		m.relays = append(m.relays, me.another().start(me.relayAt(at, args...)...))
		m.relays[i].ready()
	}
	first := m.use()
	began := time.Now()
	m.register(n)
	m.said("%d names on three relays after %v", n, since(began))
	m.cost(first, n)
	m.lookUp(min(n, 2000), n)
	m.restart(n)
}

func (m *manyNames) said(format string, about ...any) {
	m.t.Helper()
	m.t.Logf(format, about...)
}

type cost struct {
	cpu time.Duration
	rss int64
}

// use is what all relays have used together.
func (m *manyNames) use() (all cost) {
	for _, p := range m.relays {
		all.cpu += p.cpu()
		all.rss += int64(p.use().rss)
	}
	return all
}

func (m *manyNames) cost(before cost, n int) {
	m.t.Helper()
	now := m.use()
	m.said("the relays computed %v, and have %.1f KiB for each name", now.cpu-before.cpu,
		float64(now.rss-before.rss)/float64(n))
}

func manyName(i int) string { return fmt.Sprint("many-", i) }

// register has n people hold a name each, until the test has ended, a third on each relay.
func (m *manyNames) register(n int) {
	m.t.Helper()
	registerAll(m.t, n, func(i int) *relay.Client {
		return &relay.Client{
			Relay: relayOf(m.t, m.at[i%3]), Name: manyName(i),
			Registered: func() {
				m.mu.Lock()
				m.back[manyName(i)] = time.Now()
				m.mu.Unlock()
			},
		}
	})
}

// lookUp asks the directory for names, one after the other, as a relay does.
func (m *manyNames) lookUp(times, n int) {
	m.t.Helper()
	bus := natsbus.New(natsbus.Config{
		Servers: func() ([]natsconn.Server, error) {
			return []natsconn.Server{{Address: m.servers[0].Address}}, nil
		},
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(m.t.Context())
	var running sync.WaitGroup
	running.Go(func() { bus.Run(ctx) })
	defer running.Wait()
	defer stop()
	eventually(m.t, "the directory is there", func() bool {
		s, _ := bus.State()
		return s.Up
	})
	var took []time.Duration
	for i := range times {
		name := manyName(i * n / times)
		var nonce sets.Nonce
		_, _ = rand.Read(nonce[:])
		began, found := time.Now(), false
		asking, cancel := context.WithTimeout(ctx, patience)
		_ = bus.Ask(asking, sets.SubjectOf(name).Held(), sets.AppendAsk(nil, nonce), func(b []byte) bool {
			a, err := sets.ParseAnswer(b, nonce, name)
			found = err == nil && a.Held
			return found
		})
		cancel()
		if !found {
			m.t.Fatalf("%s is not found", name)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	m.said("looked up %d names: median %v, p99 %v, max %v", times, took[len(took)/2],
		took[(len(took)-1)*99/100], took[len(took)-1])
	if middle := took[len(took)/2]; middle > unhurried(mostLookup) {
		m.t.Errorf("a look-up took %v in the middle", middle)
	}
}

// restart kills a relay, starts it again, and says when its names were back.
func (m *manyNames) restart(n int) {
	m.t.Helper()
	m.relays[0].kill()
	began := time.Now()
	m.relays[0] = m.relays[0].again()
	m.relays[0].ready()
	var back []time.Duration
	eventually(m.t, "all names are back", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		back = back[:0]
		for i := 0; i < n; i += 3 {
			if at := m.back[manyName(i)]; at.After(began) {
				back = append(back, at.Sub(began))
			}
		}
		return len(back) == (n+2)/3
	})
	slices.Sort(back)
	part := func(percent int) time.Duration { return back[(len(back)-1)*percent/100] }
	m.said("a relay was killed and started again: of its %d names 50 %% were back after %v, 99 %% "+
		"after %v, all after %v, for which it computed %v", len(back), part(50).Round(time.Millisecond),
		part(99).Round(time.Millisecond), part(100).Round(time.Millisecond), m.relays[0].cpu())
}
