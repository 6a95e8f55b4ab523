package queue

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stuckBroker takes nothing for a box, or for any, until it is free, and counts the rest.
type stuckBroker struct {
	free  chan struct{}
	stuck *Box // nil: any

	mu   sync.Mutex
	sent map[Box]int
}

func (b *stuckBroker) send(to Box, _ []byte) error {
	if b.stuck == nil || *b.stuck == to {
		<-b.free
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent[to]++
	return nil
}

// with makes a hub that has a carrier to each of some boxes.
func (b *stuckBroker) with(boxes ...Box) (h *Hub, all []*Carrier) {
	b.free, b.sent = make(chan struct{}), make(map[Box]int)
	h = NewHub(Config{Most: MaxMessage, Self: Box{ID: NewID()}, Send: b.send})
	for _, to := range boxes {
		c := h.newCarrier(NewID(), to, mostWindow, mostWindow)
		h.mu.Lock()
		h.carriers[c.id] = c
		h.mu.Unlock()
		all = append(all, c)
	}
	return h, all
}

func (c *Carrier) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// The time in which this process has stood still is no silence of the other side's.
func TestStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b stuckBroker
		h, all := b.with(Box{ID: NewID()})
		defer h.Close()
		h.answer(Box{}, message{kind: kindWelcome}) // for which all stands still
		time.Sleep(deadAfter + beatEvery)
		close(b.free)
		time.Sleep(beatEvery)
		if err := all[0].failed(); err != nil {
			t.Errorf("it is given up: %v", err)
		}
		time.Sleep(deadAfter)
		if err := all[0].failed(); !errors.Is(err, errSilent) {
			t.Errorf("who is silent is not given up: %v", err)
		}
	})
}

// Who waits for the broker keeps the hub from nobody else, and is given up like others.
func TestStuckWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, other := Box{ID: NewID()}, Box{ID: NewID()}
		b := stuckBroker{stuck: &stuck}
		h, all := b.with(stuck, other)
		defer h.Close()
		written := make(chan error, 1)
		go func() {
			_, err := all[0].Write([]byte("x"))
			written <- err
		}()
		time.Sleep(deadAfter - beatEvery)
		b.mu.Lock()
		if b.sent[other] == 0 {
			t.Error("the other carrier says nothing")
		}
		b.mu.Unlock()
		time.Sleep(3 * beatEvery)
		for i, c := range all {
			if err := c.failed(); !errors.Is(err, errSilent) {
				t.Errorf("carrier %d: who is silent is not given up: %v", i, err)
			}
		}
		close(b.free)
		<-written
	})
}

// Whoever closes a carrier does not wait for long for a broker that takes nothing, be it that
// somebody else waits for it already. The other side is told as soon as the broker takes that.
func TestStuckClose(t *testing.T) {
	for name, writes := range map[string]bool{"alone": false, "beside a writer": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				to := Box{ID: NewID()}
				var b stuckBroker
				h, all := b.with(to)
				written := make(chan error, 1)
				if writes {
					go func() {
						_, err := all[0].Write([]byte("x"))
						written <- err
					}()
					synctest.Wait()
				}
				began := time.Now()
				closed := make(chan error)
				go func() { closed <- all[0].Close() }()
				select {
				case err := <-closed:
					if took := time.Since(began); err == nil || took != closeTimeout {
						t.Errorf("closed after %v, %v", took, err)
					}
				case <-time.After(deadAfter):
					t.Error("it waits for the broker")
					go func() { <-closed }()
				}
				close(b.free)
				synctest.Wait()
				if n := b.sent[to]; n < 1 || writes && n < 2 {
					t.Errorf("%d messages have been sent", n)
				}
				h.Close()
				if writes {
					<-written
				}
				if err := all[0].Close(); err != nil {
					t.Errorf("a second time: %v", err)
				}
			})
		})
	}
}

// Those who ask for a carrier at the same time share what there is with each other as well.
func TestWindowsOfManyHellos(t *testing.T) {
	const many = 256
	// Each has its share with those before, and the first eight the largest window that there is:
	// 1 + 1/9 + … + 1/256.
	const most = 5 * windows
	var b stuckBroker
	b.stuck = new(Box)
	b.free, b.sent = make(chan struct{}), make(map[Box]int)
	h := NewHub(Config{
		Most: MaxMessage, Self: Box{ID: NewID()}, Send: b.send,
		Accept: func(*Carrier) bool { return true },
	})
	defer h.Close()
	for range many {
		h.Receive(message{
			kind: kindHello, carrier: NewID(), box: Box{ID: NewID()}, window: mostWindow,
		}.append(nil))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	sum := 0
	for _, known := range h.hellos {
		sum += known.ours
	}
	if len(h.hellos) != many || sum > most {
		t.Errorf("%d are promised %d bytes, and there are %d", len(h.hellos), sum, windows)
	}
}
