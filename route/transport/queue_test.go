package transport

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/brokertest"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/queue"
)

// queues are addresses of queues at brokers that atBroker starts.
var queues = []string{"nats://BROKER/sp.test", "kafka://BROKER/sp.test"}

// atBroker returns text with the address of a broker that it has started, if it is one of a queue.
func atBroker(t *testing.T, text string) string {
	t.Helper()
	if !strings.Contains(text, "BROKER") {
		return text
	}
	if strings.HasPrefix(text, "kafka:") {
		return strings.Replace(text, "BROKER", startKafka(t).Address, 1)
	}
	return strings.Replace(text, "BROKER", brokertest.NATS(t, "").Address, 1)
}

// TestQueueIsDown has a listener tell that nobody can come by it while its broker is gone, and that
// somebody can again when it is back. One that needs no broker is never down.
func TestQueueIsDown(t *testing.T) {
	server := brokertest.NATS(t, "")
	listen := func(text string) net.Listener {
		t.Helper()
		at, err := ParseListen(text, "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		set := NewSet(Config{ConnectTimeout: testkit.Patience})
		t.Cleanup(func() { _ = set.Close() })
		l, err := set.Listen(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	becomes := func(l net.Listener, down bool) {
		t.Helper()
		late := time.After(testkit.Patience)
		for {
			changed, why := Down(l)
			if down == (why != nil) {
				if down && !strings.Contains(why.Error(), "its broker is not reached") {
					t.Errorf("it says %v", why)
				}
				return
			}
			select {
			case <-changed:
			case <-late:
				t.Fatalf("down: %v, want %v", why, down)
			}
		}
	}
	queue := "nats://" + server.Address + "/sp.test"
	l := listen(queue)
	becomes(l, false)
	server.Kill()
	becomes(l, true)
	becomes(listen(queue), true)
	server.Start()
	becomes(l, false)
	if changed, why := Down(listen("127.0.0.1:0")); changed != nil || why != nil {
		t.Errorf("TCP is down: %v", why)
	}
}

// testBroker is one in this process, as a transport is joined to it. Who listens first hears first.
type testBroker struct {
	*interruption
	mu   sync.Mutex
	hubs map[queue.ID]*queue.Hub
	all  []*queue.Hub // of who listens
}

func (*testBroker) mute()    {}
func (*testBroker) hurried() {}
func (*testBroker) Close()   {}

func (b *testBroker) send(to queue.Box, m []byte) error {
	b.mu.Lock()
	hubs := b.all
	if to != (queue.Box{}) {
		hubs = []*queue.Hub{b.hubs[to.ID]}
	}
	b.mu.Unlock()
	for i, h := range hubs {
		if i > 0 {
			time.Sleep(time.Millisecond) // which is for the one before to answer
		}
		h.Receive(slices.Clone(m))
	}
	return nil
}

func (b *testBroker) join(_ context.Context, _ Address, j joining) (*queue.Hub, joined, error) {
	h := queue.NewHub(queue.Config{
		Send: b.send, Most: queue.MaxMessage, Self: queue.Box{ID: j.self}, Accept: j.accept,
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hubs[j.self] = h
	if j.accept != nil {
		b.all = append(b.all, h)
	}
	return h, b, nil
}

// Who has answered first and proved nothing is not who is asked the next time, and who has proved
// something is.
func TestWhoAnswersAtAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := &testBroker{interruption: newInterruption(), hubs: make(map[queue.ID]*queue.Hub)}
		taken := make(map[string]int)
		for _, who := range []string{"stranger", "meant"} { // in the order in which they answer
			hub, _, _ := broker.join(t.Context(), Address{}, joining{
				self:   queue.NewID(),
				accept: func(*queue.Carrier) bool { taken[who]++; return true },
			})
			defer hub.Close()
		}
		s := NewSet(Config{})
		defer s.Close()
		near := newBrokered(s.config)
		near.join = broker.join
		s.made["nats"] = near
		a, err := Parse("nats://Broker/sp")
		if err != nil {
			t.Fatal(err)
		}
		dial := func(stranger, meant int) {
			t.Helper()
			l, err := s.Dial(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			if taken["stranger"] != stranger || taken["meant"] != meant {
				t.Errorf("carriers: %v", taken)
			}
			_ = l.Close()
		}
		dial(1, 0)
		if !s.Doubt(a) || s.Doubt(a) {
			t.Error("nobody is doubted, or twice")
		}
		dial(1, 1)
		s.Proved(a)
		dial(1, 1) // on the same carrier
		if s.Doubt(a) {
			t.Error("who has proved who he is, is doubted")
		}
		time.Sleep(2 * dialerIdle)
		clear(near.doubted)
		dial(1, 2)
		time.Sleep(2 * dialerIdle)
	})
}
