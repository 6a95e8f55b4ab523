package portal

import (
	"net"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/portal/udp"
	"github.com/secureportal/sp/route"
)

// proxy is an application's connection and a stream that are being copied to each other: see
// netio.Proxy. A stream ends with its node, and so does the proxy.
type proxy struct {
	netio.Proxy // A is the application's connection, B the stream
	stream      *route.Stream
}

// newProxy returns a proxy that fails when the stream's channel ends, even while both directions
// wait for app.
func newProxy(app netio.Conn, stream *route.Stream, tally *netio.Tally) *proxy {
	p := &proxy{stream: stream}
	p.A, p.B, p.Owner, p.Tally = app, stream, p, tally
	if flow, ok := app.(*udp.Conn); ok {
		flow.GoesOn(stream)
	}
	stream.OnEnd(p.cut)
	return p
}

// cut is called when the stream's channel has ended.
func (p *proxy) cut() { p.Fail(net.ErrClosed) }

// Failed implements netio.Owner: the stream may know better.
func (p *proxy) Failed(err error) error {
	if reason := p.stream.Err(); reason != nil {
		return reason
	}
	return err
}

// Copied implements netio.Owner.
func (p *proxy) Copied(int64, int64) { p.stream.OnEnd(nil) }
