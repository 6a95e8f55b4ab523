package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/wire"
)

const (
	// webProtocol is what both sides say that they speak on a WebSocket.
	webProtocol = "sp.1"

	// maxHead is the most bytes of a request or a response.
	maxHead = 16 << 10
)

// webSocket makes links on WebSockets. A WebSocket has no half-close, so it is a carrier: there is
// one between two nodes, and a mux on it.
type webSocket struct {
	bearings
	config Config
}

func newWebSocket(c Config) Transport { return &webSocket{newBearings(0), c} }

func newWebSocketTLS(c Config) Transport { return newWebSocket(c) }

// Source implements Transport.
func (*webSocket) Source(peer net.Addr) admission.Source { return sourceBeneath(peer) }

// Dial implements Transport: a link is made on the carrier that is there, or on a new one.
func (w *webSocket) Dial(ctx context.Context, a Address) (Link, error) {
	ctx, cancel := context.WithTimeout(ctx, w.config.sooner())
	defer cancel()
	return w.carriers.dial(ctx, a, func(ctx context.Context, a Address) (shared, error) {
		b, err := w.connect(ctx, a)
		if err != nil {
			return nil, err // and not a shared that is none
		}
		return b, nil
	})
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
	b := newBearing(on, dialerIdle,
		urlAddr{Addr: socketAddr(under.LocalAddr()), scheme: scheme},
		urlAddr{
			Addr: socketAddr(under.RemoteAddr()), scheme: scheme,
			at: dialedAs(a, socketAddr(under.RemoteAddr())),
		})
	return b, w.begin(b, newCarrier(ws, on))
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
