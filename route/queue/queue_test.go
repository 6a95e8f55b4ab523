package queue

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
)

// broker is one in this process. meddle may change what passes, which is then each of what it
// returns, in that order. Nil changes nothing.
type broker struct {
	mu     sync.Mutex
	hubs   map[ID]*Hub
	listen []*Hub
	meddle func(m []byte) [][]byte
}

func (b *broker) send(to Box, m []byte) error {
	b.mu.Lock()
	all := []*Hub{b.hubs[to.ID]}
	if to == (Box{}) {
		all = b.listen
	}
	pass := [][]byte{slices.Clone(m)}
	if b.meddle != nil {
		pass = b.meddle(pass[0])
	}
	b.mu.Unlock()
	for _, h := range all {
		for _, one := range pass {
			if h != nil {
				h.Receive(slices.Clone(one))
			}
		}
	}
	return nil
}

func (b *broker) hub(accept func(*Carrier) bool) *Hub {
	self := Box{ID: NewID()}
	h := NewHub(Config{Send: b.send, Most: MaxMessage, Self: self, Accept: accept})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hubs == nil {
		b.hubs = make(map[ID]*Hub)
	}
	b.hubs[self.ID] = h
	if accept != nil {
		b.listen = append(b.listen, h)
	}
	return h
}

// ends is a broker with a carrier between two hubs.
type ends struct {
	*broker
	nearHub, farHub *Hub
	near, far       *Carrier
}

func newEnds(t *testing.T) *ends {
	t.Helper()
	e := &ends{broker: new(broker)}
	came := make(chan *Carrier, 1)
	e.farHub = e.hub(func(c *Carrier) bool { came <- c; return true })
	e.nearHub = e.hub(nil)
	var err error
	if e.near, _, err = e.nearHub.Dial(t.Context(), Dialing{}); err != nil {
		t.Fatal(err)
	}
	e.far = <-came
	return e
}

func (e *ends) close() {
	e.nearHub.Close()
	e.farHub.Close()
}

// Much goes both ways, and each direction ends.
func TestCarrier(t *testing.T) {
	e := newEnds(t)
	defer e.close()
	want := testkit.Pattern(3 * mostWindow)
	var tasks sync.WaitGroup
	tasks.Go(func() { testkit.Write(t, e.near, want) })
	got := make([]byte, len(want))
	if _, err := io.ReadFull(e.far, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, or other bytes", err)
	}
	tasks.Wait()
	testkit.Write(t, e.far, "the last")
	if err := e.far.Close(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(e.near); string(got) != "the last" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// Who reads nothing has the other side send no more than a window.
func TestWindow(t *testing.T) {
	e := newEnds(t)
	defer e.close()
	_ = e.near.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	n, err := e.near.Write(testkit.Pattern(2 * mostWindow))
	if n == 0 || n > mostWindow || err == nil {
		t.Errorf("%d bytes were taken, %v", n, err)
	}
}

// Messages that are lost, repeated or turned around end a carrier: nobody reads a byte in a wrong
// place. That one was changed, the channel notices.
func TestMeddling(t *testing.T) {
	for name, meddle := range map[string]func(m []byte) [][]byte{
		"lost":   func([]byte) [][]byte { return nil },
		"twice":  func(m []byte) [][]byte { return [][]byte{m, m} },
		"turned": nil, // see below
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnds(t)
			defer e.close()
			testkit.Write(t, e.near, "first")
			testkit.Expect(t, io.LimitReader(e.far, 5), "first")
			var held []byte
			number := 0
			e.mu.Lock()
			e.meddle = func(m []byte) [][]byte {
				if kind(m[1]) != kindData {
					return [][]byte{m}
				}
				number++
				switch {
				case name == "turned" && number == 1:
					held = m
					return nil
				case name == "turned" && number == 2:
					return [][]byte{m, held}
				case number == 1:
					return meddle(m)
				}
				return [][]byte{m}
			}
			e.mu.Unlock()
			_, _ = e.near.Write([]byte("second"))
			_, _ = e.near.Write([]byte("third!"))
			got, err := io.ReadAll(e.far)
			if !netio.IsReset(err) || len(got) > 0 && string(got) != "second" {
				t.Errorf("%q, %v", got, err)
			}
			if _, err := io.ReadAll(e.near); !netio.IsReset(err) {
				t.Errorf("the other side: %v", err)
			}
		})
	}
}

// A hello that several answer makes one carrier, and one of who dials again goes to whom he knows.
func TestSeveralListen(t *testing.T) {
	b := new(broker)
	var mu sync.Mutex
	taken := make(map[int]int)
	var hubs []*Hub
	for i := range 3 {
		hubs = append(hubs, b.hub(func(*Carrier) bool {
			mu.Lock()
			defer mu.Unlock()
			taken[i]++
			return true
		}))
	}
	near := b.hub(nil)
	_, who, err := near.Dial(t.Context(), Dialing{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, again, err := near.Dial(t.Context(), Dialing{Known: who}); err != nil || again != who {
			t.Errorf("another one has answered: %v", err)
		}
	}
	mu.Lock()
	if len(taken) != 1 {
		t.Errorf("they have taken %v", taken)
	}
	mu.Unlock()
	near.Close()
	for _, h := range hubs {
		h.Close()
	}
}

// Who is doubted is taken if nobody else answers, and who is asked first is alone with that for a
// while: others who say that they are meant have read what was for him.
func TestStrangerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(broker)
		var stranger Box
		far := b.hub(func(*Carrier) bool { return true })
		defer far.Close()
		honest := far.config.Self
		near := b.hub(nil)
		defer near.Close()
		b.meddle = func(m []byte) [][]byte {
			hello, err := parse(m)
			if err != nil || hello.kind != kindHello {
				return [][]byte{m}
			}
			near.Receive(message{
				kind: kindWelcome, carrier: hello.carrier, box: stranger, window: mostWindow,
			}.append(nil))
			return [][]byte{m}
		}
		stranger = Box{ID: NewID()}
		doubted := func(b Box) bool { return b == stranger }
		for name, c := range map[string]struct {
			d    Dialing
			want Box
			away bool // nobody else listens
			took time.Duration
		}{
			"the first":             {Dialing{}, stranger, false, 0},
			"known":                 {Dialing{Known: honest}, honest, false, 0},
			"doubted":               {Dialing{Doubted: doubted}, honest, false, 0},
			"doubted, and alone":    {Dialing{Doubted: doubted}, stranger, true, helloEvery},
			"known, and gone":       {Dialing{Known: Box{ID: NewID()}}, stranger, false, helloEvery},
			"known, gone, and none": {Dialing{Box{ID: NewID()}, doubted}, stranger, true, 2 * helloEvery},
		} {
			b.mu.Lock()
			b.listen = []*Hub{far}
			if c.away {
				b.listen = nil
			}
			b.mu.Unlock()
			began := time.Now()
			made, who, err := near.Dial(t.Context(), c.d)
			if err != nil || who != c.want || time.Since(began) != c.took {
				t.Errorf("%s: %v after %v, %v", name, who == stranger, time.Since(began), err)
			}
			if made != nil {
				_ = made.Close()
			}
		}
	})
}

// Nobody listens, which the broker says, or says nothing about.
func TestNobodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(broker)
		near := b.hub(nil)
		defer near.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, _, err := near.Dial(ctx, Dialing{}); !errors.Is(err, ErrNoAnswer) {
			t.Error(err)
		}
		says := NewHub(Config{
			Send: func(Box, []byte) error { return nil }, Most: MaxMessage, Self: Box{ID: NewID()},
		})
		defer says.Close()
		done := make(chan struct{})
		defer close(done)
		go func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
					says.Missed(Box{})
				}
			}
		}()
		began := time.Now()
		if _, _, err := says.Dial(t.Context(), Dialing{}); !errors.Is(err, errNobody) {
			t.Error(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("that took %v", took)
		}
	})
}

// Who is silent is given up, and who has nothing to say is not.
func TestBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(t)
		defer e.close()
		time.Sleep(10 * deadAfter)
		testkit.Write(t, e.near, "x")
		testkit.Expect(t, io.LimitReader(e.far, 1), "x")
		e.mu.Lock()
		e.meddle = func([]byte) [][]byte { return nil }
		e.mu.Unlock()
		began := time.Now()
		if _, err := io.ReadAll(e.far); !netio.IsReset(err) {
			t.Error(err)
		}
		if took := time.Since(began); took > 2*deadAfter {
			t.Errorf("it was given up after %v", took)
		}
	})
}

// A flood of hellos takes bounded memory, and the latest are still answered.
func TestFloodOfHellos(t *testing.T) {
	b := new(broker)
	far := b.hub(func(*Carrier) bool { return true })
	defer far.Close()
	for range 3 * maxHellos {
		far.Receive(message{
			kind: kindHello, carrier: NewID(), box: Box{ID: NewID()}, window: mostWindow,
		}.append(nil))
	}
	far.mu.Lock()
	if len(far.hellos) > maxHellos || len(far.order) > maxHellos {
		t.Errorf("%d hellos are kept, in %d turns", len(far.hellos), len(far.order))
	}
	far.mu.Unlock()
	near := b.hub(nil)
	defer near.Close()
	if _, _, err := near.Dial(testkit.Context(t), Dialing{}); err != nil {
		t.Error(err)
	}
}

// Who names a place that the broker does not have is not answered, and nor is he asked again.
func TestNoSuchPlace(t *testing.T) {
	b := new(broker)
	var mu sync.Mutex
	to := make(map[uint32]bool)
	far := NewHub(Config{
		Send: func(box Box, _ []byte) error {
			mu.Lock()
			defer mu.Unlock()
			to[box.Place] = true
			return nil
		},
		Most: MaxMessage, Self: Box{ID: NewID()}, Accept: func(*Carrier) bool { return true },
		Has: func(place uint32) bool { return place < 3 },
	})
	for _, place := range []uint32{0, 2, 3, 1 << 31, 1<<32 - 1} {
		far.Receive(message{
			kind: kindHello, carrier: NewID(), box: Box{NewID(), place}, window: mostWindow,
		}.append(nil))
	}
	testkit.Eventually(t, "an answer to both", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return to[0] && to[2]
	})
	far.Close()
	if len(to) != 2 {
		t.Errorf("answers went to the places %v", to)
	}
	listens := b.hub(func(*Carrier) bool { return true })
	defer listens.Close()
	near := b.hub(nil)
	defer near.Close()
	d := Dialing{Known: Box{NewID(), 7}}
	if _, who, err := near.Dial(testkit.Context(t), d); err != nil || who.Place != 0 {
		t.Errorf("%v, %v", who, err)
	}
}

// Who says hello again and again is answered, and may begin late.
func TestHelloAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		came := 0
		far := NewHub(Config{
			Send: func(Box, []byte) error { return nil }, Most: MaxMessage, Self: Box{ID: NewID()},
			Accept: func(*Carrier) bool { came++; return true },
		})
		defer far.Close()
		m := message{kind: kindHello, carrier: NewID(), box: Box{ID: NewID()}, window: mostWindow}
		for range 3 {
			far.Receive(m.append(nil))
			time.Sleep(helloFor - time.Second)
		}
		far.Receive(message{kind: kindBeat, carrier: m.carrier}.append(nil))
		if came != 1 {
			t.Errorf("%d carriers", came)
		}
	})
}

// When no more are taken, those that are there go on, and their end is told.
func TestDrain(t *testing.T) {
	e := newEnds(t)
	defer e.close()
	drained := e.farHub.Drain()
	testkit.Write(t, e.near, "x")
	testkit.Expect(t, io.LimitReader(e.far, 1), "x")
	select {
	case <-drained:
		t.Error("a carrier is there")
	default:
	}
	_ = e.near.Close()
	_ = e.far.Close()
	testkit.Within(t, drained, "the end")
}

func FuzzParse(f *testing.F) {
	f.Add(message{kind: kindHello, box: Box{ID: NewID()}, window: mostWindow}.append(nil))
	f.Add(message{kind: kindData, number: 1, body: []byte("x")}.append(nil))
	f.Add(message{kind: kindEnd, number: 1, taken: 2}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err == nil && !bytes.Equal(m.append(nil), b) {
			t.Errorf("%x is read as %+v", b, m)
		}
	})
}

// FuzzReceive has strangers say what they like to one who listens, of which there is a carrier: all
// that is read from it is what its own messages had.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{1, 3, 0, 0}, uint64(1), uint64(0))
	f.Add([]byte("x"), uint64(7), uint64(9))
	f.Fuzz(func(t *testing.T, b []byte, number, taken uint64) {
		e := newEnds(t)
		defer e.close()
		e.farHub.Receive(slices.Clone(b))
		if len(b) > 0 {
			m := message{kind: kind(b[0]), carrier: e.near.id, number: number, taken: taken, body: b[1:]}
			e.farHub.Receive(m.append(nil))
			e.nearHub.Receive(m.append(nil))
		}
		_ = e.near.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = e.near.Write([]byte("good"))
		_ = e.near.Close()
		got, err := io.ReadAll(e.far)
		if err == nil && !bytes.HasSuffix(got, []byte("good")) && number != 1 {
			t.Errorf("%q, without an error", got)
		}
	})
}
