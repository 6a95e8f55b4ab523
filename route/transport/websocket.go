package transport

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/route/mux"
	"github.com/secureportal/sp/wire"
)

const (
	// webProtocol is what both sides say that they speak on a WebSocket.
	webProtocol = "sp.1"

	// maxHead is the most bytes of a request or a response.
	maxHead = 16 << 10

	// carriersBudget bounds what the windows of all links on one node's WebSockets grow by.
	carriersBudget = 256 << 20

	// dialerIdle and acceptorIdle are for how long a carrier may be without a link. Who dials ends it
	// first: only he knows whether there will be another link.
	dialerIdle   = 5 * time.Second
	acceptorIdle = 3 * dialerIdle

	// heardLately is within which something has come on a carrier that is used without asking.
	heardLately = 2 * time.Second

	// takenWithin is for a link to be taken on a carrier that has been quiet, before another carrier
	// is made: the network may be another one by now.
	takenWithin = 2 * time.Second
)

// webSocket makes links on WebSockets. A WebSocket has no half-close, so it is a carrier: there is
// one between two nodes, and a mux on it.
type webSocket struct {
	config        Config // set once, as are the next two
	lately, taken time.Duration
	budget        *mux.Budget

	tasks sync.WaitGroup

	mu     sync.Mutex // guards what follows
	places map[Address]*webPlace
	open   map[*bearing]struct{} // all carriers, also those that lead nowhere by now
	closed bool
}

// webPlace is where somebody listens, and the carrier that leads there.
type webPlace struct {
	turn chan struct{} // full while somebody makes a carrier; who does owns what follows
	now  *bearing      // nil if there is none
}

func newWebSocket(c Config) Transport {
	return &webSocket{
		config: c, lately: heardLately, taken: takenWithin, budget: mux.NewBudget(carriersBudget),
		places: make(map[Address]*webPlace), open: make(map[*bearing]struct{}),
	}
}

func newWebSocketTLS(c Config) Transport { return newWebSocket(c) }

// Source implements Transport.
func (*webSocket) Source(peer net.Addr) admission.Source { return sourceBeneath(peer) }

// Close implements Transport.
func (w *webSocket) Close() error {
	w.mu.Lock()
	w.closed = true
	open := slices.Collect(maps.Keys(w.open))
	w.places = nil
	w.mu.Unlock()
	for _, b := range open {
		_ = b.on.Close()
	}
	w.tasks.Wait()
	return nil
}

// run runs f on a goroutine that Close waits for.
func (w *webSocket) run(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.tasks.Go(f)
	return true
}

// Dial implements Transport: a link is made on the carrier that is there, or on a new one.
func (w *webSocket) Dial(ctx context.Context, a Address) (Link, error) {
	ctx, cancel := context.WithTimeout(ctx, w.config.sooner())
	defer cancel()
	place := w.place(a)
	if place == nil {
		return nil, net.ErrClosed
	}
	select {
	case place.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	now := place.now
	if now != nil && now.enter() {
		<-place.turn
		link, err := w.openOn(ctx, now)
		if err == nil {
			return link, nil
		}
		now.retire()
		select {
		case place.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if place.now == now { // nobody else has made one meanwhile
		fresh, err := w.connect(ctx, a)
		if err != nil {
			<-place.turn
			return nil, err
		}
		place.now = fresh
		w.alsoAt(fresh, a, place)
	}
	now = place.now
	entered := now.enter()
	<-place.turn
	if !entered {
		return nil, errCarrierEnded
	}
	return w.openOn(ctx, now)
}

var errCarrierEnded = errors.New("the WebSocket has ended")

// place returns the place of an address, or nil once the transport is closed.
func (w *webSocket) place(a Address) *webPlace {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	p := w.places[a]
	if p == nil {
		p = &webPlace{turn: make(chan struct{}, 1)}
		w.places[a] = p
	}
	return p
}

// alsoAt has whoever dials the one of a name's addresses that a carrier leads to use it as well.
func (w *webSocket) alsoAt(b *bearing, a Address, of *webPlace) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at := b.remote.at; at != a && w.places != nil {
		w.places[at] = of
	}
}

// openOn opens a link on a carrier, which has been counted there. Where nothing has come for a
// while, it waits until the other side has taken it.
func (w *webSocket) openOn(ctx context.Context, b *bearing) (Link, error) {
	type result struct {
		link *mux.Link
		err  error
	}
	by := time.Now().Add(w.taken)
	results := make(chan result, 1)
	running := w.run(func() {
		l, err := b.mux.Open()
		if err == nil && b.on.quietFor() > w.lately {
			err = l.AwaitTaken(by)
		}
		results <- result{l, err}
	})
	if !running {
		b.leave()
		return nil, net.ErrClosed
	}
	waiting, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	select {
	case r := <-results:
		link := b.link(r.link)
		if r.err == nil {
			return link, nil
		}
		if r.link == nil {
			b.leave()
		} else {
			_ = link.Close()
		}
		return nil, r.err
	case <-waiting.Done():
		w.run(func() { // the place has not been taken
			if r := <-results; r.link != nil {
				_ = r.link.Close()
			}
			b.leave()
		})
		return nil, context.Cause(waiting)
	}
}

// connect makes a carrier to whoever listens at a.
func (w *webSocket) connect(ctx context.Context, a Address) (*bearing, error) {
	under, err := w.dialUnder(ctx, a)
	if err != nil {
		return nil, err
	}
	on := newBearer(under)
	ws, err := upgrade(ctx, on, a)
	if err != nil {
		_ = on.Link.Close()
		return nil, err
	}
	scheme := urlScheme(a.Kind)
	b := &bearing{
		on: on, idle: dialerIdle,
		local: urlAddr{Addr: socketAddr(under.LocalAddr()), scheme: scheme},
		remote: urlAddr{
			Addr: socketAddr(under.RemoteAddr()), scheme: scheme,
			at: dialedAs(a, socketAddr(under.RemoteAddr())),
		},
	}
	config := mux.Config{Run: w.run, Reads: true, Budget: w.budget}
	b.mux, err = mux.NewOpener(newCarrier(ws, on), config)
	if err != nil {
		_ = on.Link.Close()
		return nil, err
	}
	if !w.begin(b) {
		_ = on.Link.Close()
		return nil, net.ErrClosed
	}
	return b, b.mux.AcceptNone()
}

// begin reads a carrier until it ends. It reports false if the transport is closed.
func (w *webSocket) begin(b *bearing) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	b.begin(b.idle)
	w.open[b] = struct{}{}
	w.tasks.Go(func() {
		b.mux.Read()
		_ = b.mux.Close()
		b.over()
		b.on.linger()
		w.forget(b)
	})
	return true
}

// forget takes out the places of a carrier that has ended.
func (w *webSocket) forget(b *bearing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, b)
	for at, p := range w.places {
		select {
		case p.turn <- struct{}{}:
		default:
			continue // somebody is about to make another carrier
		}
		if p.now == b {
			delete(w.places, at)
		}
		<-p.turn
	}
}

// socketAddr is the address of the socket beneath.
func socketAddr(a net.Addr) net.Addr {
	if over, ok := a.(urlAddr); ok {
		return over.Addr
	}
	return a
}

// dialUnder makes the connection that a WebSocket is to be on.
func (w *webSocket) dialUnder(ctx context.Context, a Address) (Link, error) {
	if a.Kind == wire.WS {
		return dialSocket(ctx, w.config, a)
	}
	l, err := dialTLS(ctx, w.config, a)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// upgrade asks whoever is at the other end of a connection for a WebSocket.
func upgrade(ctx context.Context, on *bearer, a Address) (*websocket.Conn, error) {
	give := func(context.Context, string, string) (net.Conn, error) { return on, nil }
	web := &http.Transport{
		DialContext: give, DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: maxHead,
	}
	defer web.CloseIdleConnections()
	host, _, _ := strings.Cut(authority(a), "/")
	ws, response, err := websocket.Dial(ctx, "ws://"+host+pathOf(a), &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     web,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Host: host, HTTPHeader: http.Header{"User-Agent": {"sp"}}, Subprotocols: []string{webProtocol},
	})
	switch {
	case err != nil && response != nil:
		return nil, refused(response)
	case err != nil:
		return nil, fmt.Errorf("no WebSocket was made: %w", withoutOperation(err))
	case ws.Subprotocol() != webProtocol:
		return nil, errors.New("there is a WebSocket there, which speaks something else than sp")
	}
	return ws, nil
}

// refused says how a web server has answered who asked it for a WebSocket.
func refused(r *http.Response) error {
	said := Printable(r.Status)
	if to := r.Header.Get("Location"); to != "" {
		said += ", and leads to " + Printable(to)
	}
	return fmt.Errorf("the web server there makes no WebSocket of this path: it says %s", said)
}

// Listen implements Transport.
func (w *webSocket) Listen(ctx context.Context, a Address) (Listener, error) {
	return listenURL(ctx, w.config, a, func(socket Link) Link {
		under := socket
		if a.Kind == wire.WSS {
			under = acceptTLS(w.config, socket)
		}
		scheme := urlScheme(a.Kind)
		return &webCaller{
			Link: under, path: pathOf(a), budget: w.budget,
			local:  urlAddr{Addr: socket.LocalAddr(), scheme: scheme},
			remote: urlAddr{Addr: socket.RemoteAddr(), scheme: scheme},
		}
	})
}
