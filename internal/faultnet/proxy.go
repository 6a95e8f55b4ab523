package faultnet

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// dialTimeout bounds the dial to the target.
	dialTimeout = 5 * time.Second
	// acceptPause follows an accept that failed, out of descriptors for one.
	acceptPause = 5 * time.Millisecond
)

// ProxyConfig says what the links of a proxy are like. The zero ProxyConfig is
// a clean proxy. Connections are numbered from 0 as they are accepted.
type ProxyConfig struct {
	// Plan returns the plan of a connection; one that can not work panics. Nil
	// means nothing goes wrong.
	Plan func(conn int) Plan
	// Split, see Config.
	Split func(Direction) Splitter
	// Tap, see Config. It is called from many goroutines.
	Tap func(conn int, dir Direction, p []byte)
	// Buffer, see Config.
	Buffer int
}

func (c ProxyConfig) link(conn int) Config {
	cfg := Config{Split: c.Split, Buffer: c.Buffer}
	if c.Plan != nil {
		cfg.Plan = c.Plan(conn)
	}
	if c.Tap != nil {
		cfg.Tap = func(dir Direction, p []byte) { c.Tap(conn, dir, p) }
	}
	return cfg
}

// Event is a fault that happened on a connection of a proxy.
type Event struct {
	Conn  int
	Fault Fault
}

// ProxyServer is a TCP proxy whose connections are links.
type ProxyServer struct {
	// Set once.
	cfg      ProxyConfig
	listener net.Listener
	cancel   context.CancelFunc
	done     chan struct{} // closed when all it started has ended

	// Guarded by mu.
	mu      sync.Mutex
	targets []string // in turn
	turn    int
	refuse  bool
	hole    [2]bool
	links   map[int]*Link // that are not done, or held
	past    []Event       // of links that are done
	closed  bool
}

// Proxy listens on the TCP address listen and joins each connection with one of
// its own to target, until ctx is done or Close is called. A client whose
// target can not be reached is reset.
func Proxy(ctx context.Context, listen, target string, cfg ProxyConfig) (*ProxyServer, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &ProxyServer{
		cfg: cfg, listener: ln, cancel: cancel, targets: []string{target},
		done:  make(chan struct{}),
		links: make(map[int]*Link),
	}
	go p.run(ctx)
	return p, nil
}

// run returns when all that the proxy started has ended.
func (p *ProxyServer) run(ctx context.Context) {
	defer close(p.done)
	var wg sync.WaitGroup
	wg.Go(func() { p.accept(ctx, &wg) })
	<-ctx.Done()
	p.listener.Close()
	for _, k := range p.shut() {
		wg.Go(func() { k.Close() })
	}
	wg.Wait()
}

// shut lets no link begin any more, and returns those there are.
func (p *ProxyServer) shut() []*Link {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return p.live()
}

func (p *ProxyServer) accept(ctx context.Context, wg *sync.WaitGroup) {
	for n := 0; ctx.Err() == nil; {
		conn, err := p.listener.Accept()
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		number := n
		n++
		wg.Go(func() { p.serve(ctx, number, conn) })
	}
}

// serve runs the link of one connection to its end.
func (p *ProxyServer) serve(ctx context.Context, n int, client net.Conn) {
	server, err := p.dial(ctx)
	if err != nil {
		(&end{conn: client}).reset()
		return
	}
	k := join(client, server, p.cfg.link(n), func(k *Link) { p.add(n, k) })
	if p.isClosed() {
		k.Close()
	}
	<-k.Done()
	p.remove(n, k)
}

func (p *ProxyServer) dial(ctx context.Context) (net.Conn, error) {
	p.mu.Lock()
	target, refuse := p.targets[p.turn%len(p.targets)], p.refuse
	p.turn++
	p.mu.Unlock()
	if refuse {
		return nil, net.ErrClosed
	}
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, "tcp", target)
}

// add makes k known, with the switches as they are.
func (p *ProxyServer) add(n int, k *Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links[n] = k
	for dir, on := range p.hole {
		k.BlackHole(on, Direction(dir))
	}
}

func (p *ProxyServer) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// remove forgets k, unless somebody still has to believe in it.
func (p *ProxyServer) remove(n int, k *Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k.isHeld() && !p.closed {
		return
	}
	delete(p.links, n)
	for _, f := range k.Fired() {
		p.past = append(p.past, Event{n, f})
	}
}

// live returns the links in the order of their numbers. p.mu must be held.
func (p *ProxyServer) live() []*Link {
	var links []*Link
	for _, n := range p.numbers() {
		links = append(links, p.links[n])
	}
	return links
}

func (p *ProxyServer) numbers() []int {
	var ns []int
	for n := range p.links {
		ns = append(ns, n)
	}
	slices.Sort(ns)
	return ns
}

// Addr returns the address on which the proxy listens, as "host:port".
func (p *ProxyServer) Addr() string { return p.listener.Addr().String() }

// Conns returns the links that are up, oldest first, and those left half-open.
func (p *ProxyServer) Conns() []*Link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live()
}

// Fired returns the faults that have happened: on connections that are over,
// in the order in which they ended, then on those that are up.
func (p *ProxyServer) Fired() []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	events := slices.Clone(p.past)
	for _, n := range p.numbers() {
		for _, f := range p.links[n].Fired() {
			events = append(events, Event{n, f})
		}
	}
	return events
}

// SetTarget makes new connections go to another address, or to several in turn, as a balancer has
// it. There must be one.
func (p *ProxyServer) SetTarget(targets ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.targets = slices.Clone(targets)
}

// Refuse switches whether new connections are reset at once. Those that are up
// do not notice.
func (p *ProxyServer) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = on
}

// BlackHole is Link.BlackHole for every connection, those to come included.
func (p *ProxyServer) BlackHole(on bool, dirs ...Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for dir := range p.hole {
		if len(dirs) == 0 || slices.Contains(dirs, Direction(dir)) {
			p.hole[dir] = on
		}
	}
	for _, k := range p.links {
		k.BlackHole(on, dirs...)
	}
}

// Cut is Link.Cut for every connection that is up.
func (p *ProxyServer) Cut() {
	for _, k := range p.Conns() {
		k.Cut()
	}
}

// Reset is Link.Reset for every connection that is up.
func (p *ProxyServer) Reset() {
	for _, k := range p.Conns() {
		k.Reset()
	}
}

// Close stops listening, resets every connection, and returns when all that the
// proxy started has ended.
func (p *ProxyServer) Close() error {
	p.cancel()
	<-p.done
	return nil
}
