package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

// hostile is a relay that does what it likes with the links that go through it, and has all that
// was ever said on them.
type hostile struct {
	*peer
	seed uint64

	mu      sync.Mutex
	links   int
	said    [2][][]byte // on each link, in each direction
	waiting *passage    // for another one to be exchanged with
	tame    bool        // it does what it should from now on
	served  map[[2]byte]int

	passages sync.WaitGroup
}

// passage is a link through a hostile relay.
type passage struct {
	*hostile
	number     int
	r          *rand.Rand
	initiator  *faultnet.Conn
	responders []*faultnet.Conn
	exchanged  chan *faultnet.Conn // gets the other link's responder
}

// mischiefs are what a hostile relay does with a link.
var mischiefs = map[string]func(p *passage){
	"late": func(p *passage) {
		p.pause(15 * time.Second)
		p.splice(p.initiator, p.responds())
	},
	// Who makes two links of it may have either answer.
	"fork": func(p *passage) {
		one, two := p.responds(), p.responds()
		if p.r.IntN(2) == 0 {
			one, two = two, one
		}
		var tasks sync.WaitGroup
		tasks.Go(func() { _, _ = io.Copy(io.Discard, two) })
		tasks.Go(func() { p.pump(p.initiator, one, faultnet.ServerToClient) })
		p.pump(both{one, two}, p.initiator, faultnet.ClientToServer)
		tasks.Wait()
	},
	// In the middle, two links are exchanged.
	"exchange": func(p *passage) {
		to := p.responds()
		var tasks sync.WaitGroup
		tasks.Go(func() { p.pump(p.initiator, to, faultnet.ServerToClient) })
		p.pass(to, p.initiator, faultnet.ClientToServer, 12)
		p.pump(p.exchange(to), p.initiator, faultnet.ClientToServer)
		tasks.Wait()
	},
	// It answers what somebody has answered before.
	"old answer": func(p *passage) {
		go func() { _, _ = io.Copy(io.Discard, p.initiator) }()
		_, _ = p.initiator.Write(p.recorded(faultnet.ServerToClient, p.r))
		p.pause(10 * time.Second)
	},
	"answer of another's": func(p *passage) {
		to := p.responds()
		go func() { _, _ = io.Copy(io.Discard, to) }()
		go func() { p.pump(to, p.initiator, faultnet.ClientToServer) }()
		_, _ = p.initiator.Write(p.recorded(faultnet.ServerToClient, p.r))
		p.pause(10 * time.Second)
	},
	// It ends a direction that its sender has not ended.
	"false end": func(p *passage) {
		from, to, dir := p.initiator, p.responds(), faultnet.ClientToServer
		if p.r.IntN(2) == 0 {
			from, to, dir = to, from, faultnet.ServerToClient
		}
		var tasks sync.WaitGroup
		tasks.Go(func() { p.pump(from, to, dir.Other()) })
		p.pass(to, from, dir, 17)
		_ = to.CloseWrite()
		_, _ = io.Copy(io.Discard, from)
		tasks.Wait()
	},
	"old words between": func(p *passage) {
		to := p.responds()
		var tasks sync.WaitGroup
		tasks.Go(func() { p.pump(p.initiator, to, faultnet.ServerToClient) })
		p.pass(to, p.initiator, faultnet.ClientToServer, 12)
		_, _ = to.Write(p.recorded(faultnet.ClientToServer, p.r))
		p.pump(to, p.initiator, faultnet.ClientToServer)
		tasks.Wait()
	},
}

// both writes to two.
type both [2]*faultnet.Conn

func (b both) Write(p []byte) (int, error) {
	_, _ = b[1].Write(p)
	return b[0].Write(p)
}

func (b both) CloseWrite() error { return errors.Join(b[0].CloseWrite(), b[1].CloseWrite()) }

func (b both) Reset() error { return errors.Join(b[0].Reset(), b[1].Reset()) }

// end is what a relay writes to.
type end interface {
	io.Writer
	CloseWrite() error
	Reset() error
}

// take has a link go through the relay.
func (h *hostile) take(initiator *faultnet.Conn) {
	h.mu.Lock()
	p := &passage{
		hostile: h, number: h.links, r: rand.New(rand.NewPCG(h.seed, uint64(h.links))),
		initiator: initiator, exchanged: make(chan *faultnet.Conn, 1),
	}
	h.links++
	for dir := range h.said {
		h.said[dir] = append(h.said[dir], nil)
	}
	tame := h.tame
	h.mu.Unlock()
	all := slices.Sorted(maps.Keys(mischiefs))
	h.passages.Go(func() {
		defer p.close()
		if i := p.r.IntN(2 * len(all)); i < len(all) && !tame {
			mischiefs[all[i]](p)
		} else {
			p.splice(p.initiator, p.responds())
		}
	})
}

// responds makes a link to the responder.
func (p *passage) responds() *faultnet.Conn {
	to, server := faultnet.Pipe()
	p.serve(server)
	p.responders = append(p.responders, to)
	return to
}

func (p *passage) close() {
	_ = p.initiator.Close()
	for _, c := range p.responders {
		_ = c.Close()
	}
}

// pause waits for any time up to most.
func (p *passage) pause(most time.Duration) { time.Sleep(time.Duration(p.r.Int64N(int64(most)))) }

// splice does what a relay should.
func (p *passage) splice(initiator, responder *faultnet.Conn) {
	var tasks sync.WaitGroup
	tasks.Go(func() { p.pump(initiator, responder, faultnet.ServerToClient) })
	p.pump(responder, initiator, faultnet.ClientToServer)
	tasks.Wait()
}

// pump brings what comes from one end to the other one, to its end.
func (p *passage) pump(to end, from io.Reader, dir faultnet.Direction) {
	if _, err := io.Copy(noted{to, p, dir}, from); err != nil {
		_ = to.Reset()
		return
	}
	_ = to.CloseWrite()
}

// pass brings the first bytes, of any number below 1<<n for any n below bits.
func (p *passage) pass(to io.Writer, from io.Reader, dir faultnet.Direction, bits int) {
	_, _ = io.CopyN(noted{to, p, dir}, from, int64(p.r.IntN(1<<p.r.IntN(bits))))
}

// noted is a writer that notes what is said.
type noted struct {
	io.Writer
	p   *passage
	dir faultnet.Direction
}

func (n noted) Write(b []byte) (int, error) {
	n.p.mu.Lock()
	all := &n.p.said[n.dir][n.p.number]
	*all = append(*all, b...)
	n.p.mu.Unlock()
	return n.Writer.Write(b)
}

// exchange returns the responder of another link, which gets to. If none comes it returns to.
func (p *passage) exchange(to *faultnet.Conn) *faultnet.Conn {
	p.mu.Lock()
	other := p.waiting
	if p.waiting = nil; other == nil {
		p.waiting = p
	} else {
		other.exchanged <- to
		to = other.responders[0]
	}
	p.mu.Unlock()
	if other != nil {
		return to
	}
	select {
	case other := <-p.exchanged:
		return other
	case <-time.After(3 * time.Second):
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == p {
		p.waiting = nil
	}
	return to
}

// recorded returns what was said on a link before, or some of that.
func (h *hostile) recorded(dir faultnet.Direction, r *rand.Rand) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clone(h.said[dir][r.IntN(len(h.said[dir]))])
	if r.IntN(2) == 0 {
		all = all[:r.IntN(len(all)+1)]
	}
	return all
}

// play says to the responder what was said before, on a link of its own.
func (h *hostile) play(b []byte, hold time.Duration) {
	to, server := faultnet.Pipe()
	h.serve(server)
	go func() { _, _ = io.Copy(io.Discard, to) }()
	stop := time.AfterFunc(hold, func() { _ = to.Reset() })
	defer stop.Stop()
	_, _ = to.Write(b)
	time.Sleep(hold)
	_ = to.Close()
}

// answered returns a flow that the service has answered. Each that is opened says who it is.
func (h *hostile) answered(number byte) *Flow {
	return h.answeredIn(testSurvive/2, func(try byte) []byte { return []byte{number, try} })
}

// serves has the service hear what clients say, and say what it has to.
func (h *hostile) serves(clients, services []talk) {
	h.handle = func(_ context.Context, f *Flow) {
		var who [2]byte
		if _, err := io.ReadFull(f, who[:]); err != nil {
			return
		}
		h.mu.Lock()
		h.served[who]++
		n, i := h.served[who], int(who[0])
		h.mu.Unlock()
		if n > 1 {
			h.t.Errorf("seed %d: flow %v is served %d times", h.seed, who, n)
			return
		}
		if !confirmed(f, who[:]) {
			return
		}
		if err := (voice{}).speak(f, services[i], clients[i], i < len(clients)-1); err != nil {
			h.t.Errorf("seed %d: service %d: %v", h.seed, i, err)
		}
	}
}

// Whatever a relay does with links: what arrives is what was sent, once, an end is never made up,
// and nothing is left of it. When it does what it should again, all is well; and what it says again
// much later does nothing.
func TestHostileRelay(t *testing.T) {
	for seed := range faultnet.Seeds(t, testenv.OfRun(20, 60, 3000)) {
		inSurvivingBubble(t, func(t *testing.T, p *peer) {
			h := &hostile{peer: p, seed: seed, served: make(map[[2]byte]int)}
			h.withstood()
			_, _ = h.initiator.Close(), h.responder.Close()
			for _, k := range h.linksFrom(0) {
				_ = k.Close()
			}
			h.passages.Wait()
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
		})
	}
}

func (h *hostile) withstood() {
	t, r := h.t, rand.New(rand.NewPCG(h.seed, 3))
	h.relay = h.take
	h.plan = func(link int) faultnet.Plan {
		q := rand.New(rand.NewPCG(h.seed, uint64(link)))
		if q.IntN(4) > 0 {
			return randomLosses(q)
		}
		return faultnet.RandomPlan(q.Uint64(), faultnet.RandomOptions{Span: 1 << q.IntN(18)})
	}
	const flows = 4
	var clients, services []talk
	for range flows {
		clients, services = append(clients, randomTalk(r)), append(services, randomTalk(r))
	}
	plain := talk{data: pattern(10_000), piece: 1000}
	clients, services = append(clients, plain), append(services, plain)
	h.serves(clients, services)
	var tasks sync.WaitGroup
	for i := range flows {
		pause := time.Duration(r.IntN(3000)) * time.Millisecond
		tasks.Go(func() {
			time.Sleep(pause)
			if f := h.answered(byte(i)); f != nil {
				if err := (voice{}).speak(f, clients[i], services[i], true); err != nil {
					t.Errorf("seed %d: client %d: %v", h.seed, i, err)
				}
			}
		})
	}
	over := make(chan struct{})
	go h.replays(over)
	chaos := make(chan struct{})
	go func() {
		tasks.Wait()
		close(chaos)
	}()
	h.rage(r, chaos)
	close(over)
	h.repents()
	if f := h.answered(flows); f == nil {
		t.Error("there is no way although the relay does what it should")
	} else if err := (voice{}).speak(f, plain, plain, false); err != nil {
		t.Error(err)
	}
	time.Sleep(3 * testSurvive)
	h.wantNothingLeft()
	h.muchLater()
}

// replays says again what was said, until over is closed.
func (h *hostile) replays(over <-chan struct{}) {
	r := rand.New(rand.NewPCG(h.seed, 4))
	for {
		select {
		case <-over:
			return
		case <-time.After(time.Duration(r.IntN(4000)) * time.Millisecond):
		}
		h.mu.Lock()
		some := h.links > 0
		h.mu.Unlock()
		if some {
			hold := time.Duration(r.IntN(8000)) * time.Millisecond
			go h.play(h.recorded(faultnet.ClientToServer, r), hold)
		}
	}
}

// repents has the relay do what it should.
func (h *hostile) repents() {
	h.mu.Lock()
	h.tame = true
	h.mu.Unlock()
	h.calm()
	h.cutAll()
	time.Sleep(30 * time.Second) // until what it holds back is over
}

// muchLater says all of it again, which nobody serves.
func (h *hostile) muchLater() {
	h.cutAll()
	time.Sleep(time.Hour)
	before := len(h.ended())
	h.mu.Lock()
	all, served := slices.Clone(h.said[faultnet.ClientToServer]), fmt.Sprint(h.served)
	h.mu.Unlock()
	for _, b := range all {
		h.play(b, 10*time.Second)
	}
	time.Sleep(time.Minute)
	for _, err := range h.ended()[before:] {
		if err == nil {
			h.t.Error("what was said before is taken for something new")
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := fmt.Sprint(h.served); now != served {
		h.t.Errorf("served %v, and %v after it was said again", served, now)
	}
}
