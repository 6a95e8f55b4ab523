package netio

import (
	"sync"
	"sync/atomic"

	"github.com/secureportal/sp/internal/metrics"
)

// Tally knows what Proxies have copied, those that still run included. The zero value is ready. It
// is safe for concurrent use.
type Tally struct {
	mu    sync.Mutex
	first *Proxy // of those that run, a list
	open  int
	all   uint64 // that have begun
	aToB  uint64 // by those that have ended
	bToA  uint64
}

// tallied is a Proxy's place in a Tally.
type tallied struct {
	next, prev *Proxy
	aToB, bToA atomic.Uint64 // that had gone through the conns when it began
}

// Open returns how many Proxies run.
func (t *Tally) Open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}

// All returns how many Proxies have begun.
func (t *Tally) All() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}

// Bytes returns how many bytes Proxies have copied from A to B and from B to A. It never returns
// less than before. Where neither conn counts, a Proxy's bytes are known when it ends.
func (t *Tally) Bytes() (aToB, bToA uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	aToB, bToA = t.aToB, t.bToA
	for p := t.first; p != nil; p = p.tallied.next {
		there, back, _ := p.Moved()
		aToB += there
		bToA += back
	}
	return aToB, bToA
}

// Add counts bytes that have been copied by another way than a Proxy's.
func (t *Tally) Add(aToB, bToA uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.aToB += aToB
	t.bToA += bToA
}

func (t *Tally) begin(p *Proxy) {
	if t == nil {
		return
	}
	aToB, bToA, _ := p.Moved()
	p.tallied.aToB.Store(aToB) // others may ask already
	p.tallied.bToA.Store(bToA)
	defer metrics.Changed() // when it has been
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open++
	t.all++
	if t.first != nil {
		t.first.tallied.prev = p
	}
	p.tallied.next = t.first
	t.first = p
}

// end is called when p copies nothing any more, and before its conns are closed.
func (t *Tally) end(p *Proxy, aToB, bToA int64) {
	if t == nil {
		return
	}
	defer metrics.Changed() // when it has been
	t.mu.Lock()
	defer t.mu.Unlock()
	there, back, known := p.Moved()
	if !known {
		there, back = uint64(aToB), uint64(bToA)
	}
	t.aToB += there
	t.bToA += back
	t.open--
	at := &p.tallied
	if at.prev != nil {
		at.prev.tallied.next = at.next
	} else {
		t.first = at.next
	}
	if at.next != nil {
		at.next.tallied.prev = at.prev
	}
	at.next, at.prev = nil, nil
}

// Moved returns how many bytes p has copied so far, counted from when it began if it has a Tally,
// and false where neither of its conns counts.
func (p *Proxy) Moved() (aToB, bToA uint64, known bool) {
	if aToB, bToA, known = Moved(p.A); !known {
		bToA, aToB, known = Moved(p.B)
	}
	return aToB - p.tallied.aToB.Load(), bToA - p.tallied.bToA.Load(), known
}

// NewTally returns a Tally that the metrics show, of connections that this process carries as what
// role says, which no other Tally has. aIsClient says that A is nearer to the client than B.
func NewTally(role string, aIsClient bool) *Tally {
	t := new(Tally)
	label := metrics.Label{Name: "role", Value: role}
	metrics.NewGaugeFunc("connections_open", "connections that are open",
		func() float64 { return float64(t.Open()) }, label)
	metrics.NewCounterFunc("connections_total", "connections that have been opened", t.All, label)
	toB := func() uint64 { there, _ := t.Bytes(); return there }
	toA := func() uint64 { _, back := t.Bytes(); return back }
	toService, toClient := toB, toA
	if !aIsClient {
		toService, toClient = toA, toB
	}
	const help = "bytes that connections have carried, those that are open included"
	metrics.NewCounterFunc("bytes_total", help, toService,
		label, metrics.Label{Name: "direction", Value: "to_service"})
	metrics.NewCounterFunc("bytes_total", help, toClient,
		label, metrics.Label{Name: "direction", Value: "to_client"})
	return t
}
