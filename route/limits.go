package route

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/wire"
)

// Defaults of Limits, and limits that are nobody's choice.
const (
	DefaultConnections   = 16384 // of a node at once: what its descriptors allow is usually less
	DefaultPerIdentity   = 16384 // of them for one identity
	DefaultPerSource     = 16384 // of them from one source
	DefaultOpening       = 1024  // links at once that nothing is known of
	DefaultHandshakeRate = 32    // handshakes a second from one source

	strangersKept = 4  // of all connections, this part is not for sources of which nothing else is known,
	strangersPart = 16 // unless they have less than this part of it,
	strangersMost = 64 // or than so many,
	strangersFew  = 4  // but at least so many

	handshakeBurst = 4    // seconds' worth of handshakes that may come at once
	sourcesKept    = 4096 // sources whose handshakes are counted one by one
	sourceBits6    = 64   // an IPv6 source is a network of this size
)

// Limits says how much a node takes on. Zero fields are the defaults. What is over a limit is refused; what is there
// already does not suffer, but for links that nothing is known of after a second, which make room for others.
type Limits struct {
	Connections   int // at once
	PerIdentity   int // at once, of one identity
	PerSource     int // at once, from one source address: an IPv4 address, or an IPv6 /64
	Opening       int // links at once that nothing is known of: who made them, or where they lead
	HandshakeRate int // a second, from one source address
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, otherwise int) {
		if *v <= 0 {
			*v = otherwise
		}
	}
	set(&l.Connections, DefaultConnections)
	set(&l.PerIdentity, DefaultPerIdentity)
	set(&l.PerSource, DefaultPerSource)
	set(&l.Opening, DefaultOpening)
	set(&l.HandshakeRate, DefaultHandshakeRate)
	return l
}

// source is where a connection comes from, as far as limits tell sources apart. The zero value is this machine.
type source netip.Prefix

// sourceOf returns the source of a connection from addr.
func sourceOf(addr net.Addr) source {
	t, ok := addr.(*net.TCPAddr)
	if !ok {
		return source{}
	}
	ip := t.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = sourceBits6
	}
	prefix, _ := ip.Prefix(bits)
	return source(prefix)
}

// forStranger returns the limits for a source of n connections, which a relay or a bridge carries for whoever comes: a
// few sources that take all they can do not keep the others out.
func (l Limits) forStranger(n int) Limits {
	kept := l.Connections / strangersKept
	if n >= min(strangersMost, max(kept/strangersPart, strangersFew)) {
		l.Connections -= kept
	}
	return l
}

// census counts what is there, in all and by identity or source.
type census struct {
	all int
	by  map[any]int // identity.Identifier or source
}

func newCensus() census { return census{by: make(map[any]int)} }

// admit counts one more for key, or says which limit is in the way.
func (c *census) admit(l Limits, key any) error {
	most := l.PerSource
	if _, ok := key.(identity.Identifier); ok {
		most = l.PerIdentity
	}
	switch {
	case c.all >= l.Connections:
		return Refuse(wire.Busy, "too many connections")
	case c.by[key] >= most:
		return Refuse(wire.Busy, "too many connections from there")
	}
	c.enter(key)
	return nil
}

func (c *census) enter(key any) {
	c.all++
	c.by[key]++
}

func (c *census) leave(key any) {
	c.all--
	if c.by[key]--; c.by[key] == 0 {
		delete(c.by, key)
	}
}

// buckets is a token bucket for each source. It is safe for concurrent use.
type buckets struct {
	rate, burst float64

	mu sync.Mutex
	by map[source]*bucket
}

type bucket struct {
	tokens float64
	filled time.Time
}

func newBuckets(rate, burst int) *buckets {
	return &buckets{rate: float64(rate), burst: float64(burst), by: make(map[source]*bucket)}
}

// take takes a token of from's, and reports whether there was one.
func (b *buckets) take(from source, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.by[from]
	if !ok {
		k = b.add(from, now)
	}
	k.tokens = min(b.burst, k.tokens+b.rate*now.Sub(k.filled).Seconds())
	k.filled = now
	if k.tokens < 1 {
		return false
	}
	k.tokens--
	return true
}

// add makes a bucket for a new source. When there are too many, those that are full again are forgotten; the sources
// beyond that share one.
func (b *buckets) add(from source, now time.Time) *bucket {
	if len(b.by) >= sourcesKept {
		for s, k := range b.by {
			if k.tokens+b.rate*now.Sub(k.filled).Seconds() >= b.burst {
				delete(b.by, s)
			}
		}
	}
	if len(b.by) >= sourcesKept {
		from = source{}
		if k, ok := b.by[from]; ok {
			return k
		}
	}
	k := &bucket{tokens: b.burst, filled: now}
	b.by[from] = k
	return k
}
