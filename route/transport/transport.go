// Package transport is where links come from: it dials addresses, listens at them, says where a
// peer is, and reads and prints the text of addresses. It does not know what a route is.
//
// There are link transports, whose links are connections of their own: TCP, Unix sockets, TLS and
// QUIC. The others are carriers: WebSocket, the queues of NATS and Kafka, Bluetooth, and direct
// connections, which both ends dial. Another transport is one file that implements Transport, and
// one line in registry.go; nothing else changes for it.
//
// What a transport lacks it says by type, and the rest adapts:
//
//   - Half-close: a Link has it. What has none, as a WebSocket, is no Link: it is a carrier, on
//     which package mux makes links (see Carrying).
//   - Reset: a Link may be a netio.Resetter. Where it is not, a reset closes it, and a secure
//     channel over it tells a cut from an end.
//   - Quiet, AwaitReset and Stuck: netio asks for these by type as well, and does without.
//   - Splice: between two *netio.Socket bytes stay in the kernel; all else is copied.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"time"

	"github.com/secureportal/sp/internal/brokers"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
)

// DefaultConnectTimeout is for a link to be made.
const DefaultConnectTimeout = 10 * time.Second

// Link is a connection between two nodes, each of whose directions can be ended on its own.
type Link = netio.Conn

// Transport makes links of one kind for one node. It is safe for concurrent use.
type Transport interface {
	// Dial makes a link to whoever listens at a. ctx and Config.ConnectTimeout bound it. Nobody is
	// waiting on it when it has failed.
	Dial(ctx context.Context, a Address) (Link, error)

	// Listen listens at a. ctx bounds only that: whoever listens closes the listener.
	Listen(ctx context.Context, a Address) (Listener, error)

	// Source says where a peer is, as far as limits tell sources apart. peer is the RemoteAddr of
	// a link, whose Network is the transport's scheme. Peers of whom nothing is known have the zero
	// Source, and share one limit.
	Source(peer net.Addr) admission.Source

	// Close ends what the transport's links have in common, and waits for it. Links and listeners
	// belong to whoever made them, and have been closed before.
	Close() error
}

// Listener is a net.Listener for links.
type Listener interface {
	Accept() (Link, error)
	Close() error
	Addr() net.Addr
}

// Config is what the transports of a node have in common. A Maker gets it without zero fields.
type Config struct {
	ConnectTimeout time.Duration // for a link to be made; 0 means DefaultConnectTimeout

	// Reach tells, before anything is sent, whether a link to a, a host's name, may be made to ip,
	// one of the addresses that the name stands for just now. Nil lets all be.
	Reach func(a Address, ip netip.Addr) error

	// Proxy returns the proxy through which a TCP connection is made to a, or to what a is over, or
	// nil if it is made without. A nil Proxy returns nil.
	Proxy func(a Address) *Proxy

	// From is where TCP connections go out from.
	From netio.From

	// TLS is what the node shows and believes in TLS.
	TLS TLSConfig

	// Brokers is how the node logs in at brokers. Nil is without.
	Brokers *brokers.Logins

	// AdmitTLS tells whether what a TLS handshake takes is computed for a peer who has come in. Nil
	// lets it be for all.
	AdmitTLS func(peer net.Addr) error

	// Unheard is told when somebody listens by radio at a, and this process cannot have the adapter
	// tell others that it can be connected to. Nil is told nothing.
	Unheard func(a Address, err error)

	// Secret is the node's own, and the same when it is started again: by it who has had a QUIC
	// connection with it learns that this is gone. The zero value has nobody learn of that.
	Secret [32]byte

	// SocketMode is the mode of the files of Unix sockets that are listened at. 0 means
	// DefaultSocketMode.
	SocketMode fs.FileMode

	// Sockets are those at which the process listens. Nil holds none.
	Sockets *Sockets
}

// sooner is ConnectTimeout for a link that is made in several steps: who waits for it as long as
// that learns which one has failed.
func (c Config) sooner() time.Duration { return c.ConnectTimeout * 9 / 10 }

func (c Config) withDefaults() Config {
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = DefaultConnectTimeout
	}
	if c.SocketMode == 0 {
		c.SocketMode = DefaultSocketMode
	}
	c.TLS.accepts = c.TLS.server(c.AdmitTLS)
	c.TLS.sessions = tls.NewLRUClientSessionCache(resumedSessions)
	return c
}

// ErrNoHalfClose says that a connection is no link: its directions do not end one by one.
var ErrNoHalfClose = fmt.Errorf("the connection has no half-close: %w", errors.ErrUnsupported)

// ToLink returns a connection that anybody may have made as a link, with all that this system
// offers for it, or ErrNoHalfClose. It does not close c.
func ToLink(c net.Conn) (Link, error) {
	half, ok := c.(netio.Conn)
	if !ok {
		return nil, ErrNoHalfClose
	}
	return netio.Wrap(half), nil
}
