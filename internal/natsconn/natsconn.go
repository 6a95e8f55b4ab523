// Package natsconn connects to NATS servers: the one place that knows how. It says who this node
// is, speaks TLS where it is to, believes no server more than it has to, and tells in a user's
// words what went wrong.
package natsconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/secureportal/sp/internal/brokers"
)

const (
	// ConnectTimeout is for one attempt to connect to one server, until it has let this node in.
	ConnectTimeout = 9 * time.Second

	// writeTimeout is for a server to take what is written. One that does not is lost.
	writeTimeout = 10 * time.Second

	// pingInterval is between two questions whether a server is there, and pingsOut how many may be
	// without an answer.
	pingInterval = 15 * time.Second
	pingsOut     = 2

	// reconnectWait is between two attempts at one server, and reconnectJitter how much more that may
	// be: those that were cut in one moment do not come back in one.
	reconnectWait   = time.Second
	reconnectJitter = time.Second
)

// Server is where a server listens.
type Server struct {
	Address string        // HOST:PORT
	Login   brokers.Login // for it and no other
}

// Config is what a connection is to be.
type Config struct {
	// Servers are those of one cluster, of which one is connected to: the first that can be.
	// There is one at least. What a server says of others is not followed.
	Servers []Server

	// Name is what the servers' operator sees of this node; "" is nothing.
	Name string

	// Dial makes the connection beneath to HOST:PORT.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	// Reconnect has a connection that is lost made anew, and again, until it is closed;
	// subscriptions are there again then. Otherwise a connection that is lost is closed. Either way
	// nothing is kept that is published meanwhile: that fails.
	Reconnect bool

	// Lost is called when the connection is lost or closed, with why, which may be nil; Back when
	// it is there again; and Failed when a server refuses something, or one subscription does not
	// keep up, of which what came meanwhile is lost. They are called one by one, in the order in
	// which things happened, and must not wait for the connection. Each may be nil.
	Lost   func(error)
	Back   func()
	Failed func(*nats.Subscription, error)
}

// Conn is a connection to a server.
type Conn struct {
	*nats.Conn
	closed chan struct{}
}

// Connect connects to a server. ctx bounds that, and no more. The caller closes the connection.
func Connect(ctx context.Context, c Config) (*Conn, error) {
	d := &dialer{config: c, ctx: ctx}
	conn := &Conn{closed: make(chan struct{})}
	o := nats.GetDefaultOptions()
	for _, s := range c.Servers {
		o.Servers = append(o.Servers, "nats://"+s.Address)
	}
	o.Name, o.CustomDialer, o.SkipHostLookup = c.Name, d, true
	o.IgnoreDiscoveredServers, o.NoRandomize = true, true
	o.Timeout = ConnectTimeout
	if by, ok := ctx.Deadline(); ok {
		o.Timeout = max(min(time.Until(by), o.Timeout), time.Millisecond)
	}
	o.FlusherTimeout, o.PingInterval, o.MaxPingsOut = writeTimeout, pingInterval, pingsOut
	o.AllowReconnect, o.MaxReconnect, o.ReconnectBufSize = c.Reconnect, -1, -1
	o.ReconnectWait, o.ReconnectJitter = reconnectWait, reconnectJitter
	o.IgnoreAuthErrorAbort = true // who is not let in now may be later
	o.DisconnectedErrCB = func(of *nats.Conn, err error) {
		if err == nil {
			err = of.LastError()
		}
		if c.Lost != nil {
			c.Lost(Explain(err))
		}
	}
	o.ReconnectedCB = func(*nats.Conn) {
		if c.Back != nil {
			c.Back()
		}
	}
	o.AsyncErrorCB = func(_ *nats.Conn, s *nats.Subscription, err error) {
		if c.Failed != nil {
			c.Failed(s, Explain(err))
		}
	}
	o.ClosedCB = func(*nats.Conn) { close(conn.closed) }
	d.logIn(&o)
	stop := context.AfterFunc(ctx, d.abandon)
	inner, err := o.Connect()
	ended := !stop()
	d.began()
	if ended && err == nil {
		inner.Close()
		<-conn.closed
		return nil, Explain(context.Cause(ctx))
	}
	if err != nil {
		if d.last() != nil {
			err = d.last()
		} else if ended {
			err = context.Cause(ctx)
		}
		return nil, Explain(err)
	}
	conn.Conn = inner
	return conn, nil
}

// Close ends the connection, and waits until it has.
func (c *Conn) Close() {
	c.Conn.Close()
	<-c.closed
}

// Closed returns a channel that is closed when the connection has ended for good.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

// noResponders is what a server answers in place of whoever would have subscribed to a subject.
const noResponders = "503"

// IsNobody tells whether a message is what a server answers to one that nobody has got.
func IsNobody(m *nats.Msg) bool {
	return len(m.Data) == 0 && m.Header.Get("Status") == noResponders
}

// dialer dials servers for the library.
type dialer struct {
	config Config

	mu  sync.Mutex      // guards what follows
	ctx context.Context // of Connect; nil once that has returned
	to  net.Conn        // which that has dialed last
	err error           // what the last attempt has failed for
	at  brokers.Login   // how the server that was dialed last is logged in at
}

// SkipTLSHandshake tells the library that there is TLS already.
func (*dialer) SkipTLSHandshake() bool { return true }

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(_, address string) (net.Conn, error) {
	c, err := d.dial(address)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	if d.ctx == nil || err != nil {
		return c, err
	}
	if d.to = c; d.ctx.Err() != nil { // abandon may have come before
		_ = c.Close()
	}
	return c, nil
}

// abandon ends the connection over which Connect waits for a server to let this node in: the
// library does not look at its context there.
func (d *dialer) abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.to != nil {
		_ = d.to.Close()
	}
}

func (d *dialer) dial(address string) (net.Conn, error) {
	d.mu.Lock()
	ctx := d.ctx
	d.mu.Unlock()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	login := brokers.Login{}
	for _, s := range d.config.Servers {
		if s.Address == address {
			login = s.Login
		}
	}
	d.mu.Lock()
	d.at = login
	d.mu.Unlock()
	c, err := d.config.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return open(ctx, c, host, login)
}

func (d *dialer) began() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ctx, d.to = nil, nil
}

func (d *dialer) last() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

func (d *dialer) login() brokers.Login {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at
}

// logIn has the library show to a server what is for that one: it asks when it has dialed.
func (d *dialer) logIn(o *nats.Options) {
	one := func(has func(brokers.Login) bool) bool {
		return slices.ContainsFunc(d.config.Servers, func(s Server) bool { return has(s.Login) })
	}
	if one(func(l brokers.Login) bool { return l.User != "" }) {
		o.UserInfo = func() (string, string) {
			l := d.login()
			return l.User, l.Password
		}
	}
	if one(func(l brokers.Login) bool { return l.Token != "" }) {
		o.TokenHandler = func() string { return d.login().Token }
	}
	if one(func(l brokers.Login) bool { return l.Creds != nil }) {
		o.UserJWT, o.SignatureCB = d.token, d.sign
	}
}

// token returns what is in a file of credentials for all to see.
func (d *dialer) token() (string, error) {
	if creds := d.login().Creds; creds != nil {
		return nkeys.ParseDecoratedJWT(creds)
	}
	return "", nil
}

// sign proves that this node has the key in a file of credentials.
func (d *dialer) sign(nonce []byte) ([]byte, error) {
	key, err := nkeys.ParseDecoratedNKey(d.login().Creds)
	if err != nil {
		return nil, errors.New("the file of credentials has no key of a user")
	}
	defer key.Wipe()
	return key.Sign(nonce)
}

// Explain returns err in words of what the user has to do with.
func Explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var foreign tls.RecordHeaderError
	var bad *tls.CertificateVerificationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		return errors.New("the certificate of the broker is signed by nobody who is believed here: " +
			"ca in the file of brokers says who is to be")
	case errors.As(err, &bad):
		return fmt.Errorf("the certificate of the broker is not good: %w", bad.Err)
	case errors.As(err, &foreign):
		return errors.New("what listens there speaks no TLS")
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired),
		errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired),
		errors.Is(err, nats.ErrNkeysNotSupported):
		return errNotIn
	case errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Errorf("%w: %s", errDenied,
			strings.TrimPrefix(err.Error(), "nats: "))
	case errors.Is(err, nats.ErrSlowConsumer):
		return errors.New("messages of the broker came faster than they were read, and some are lost")
	case errors.Is(err, nats.ErrNoServers):
		return errors.New("no server of the broker can be reached")
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, context.DeadlineExceeded):
		return errors.New("the broker does not answer in time")
	case errors.Is(err, nats.ErrStaleConnection):
		return errors.New("the broker has not answered for a while")
	}
	return err
}

var errNotIn = errors.New("the broker does not let this node in: the file of brokers has to have " +
	"what it asks for, under the host that the address has")

var errDenied = errors.New("the broker does not permit it")

// IsDenial tells whether err, which Explain has returned, says that this node, which is let in, may
// not publish or subscribe something.
func IsDenial(err error) bool { return errors.Is(err, errDenied) }

// IsRefusal tells whether err, which Explain has returned, says that the broker does not let this
// node in: to try again at once does not help.
func IsRefusal(err error) bool { return errors.Is(err, errNotIn) }
