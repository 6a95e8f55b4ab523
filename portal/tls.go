package portal

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// overTLS is a connection to a service that speaks TLS. Its end of data is the one that TLS has: a
// connection that ends without is one that was cut.
type overTLS struct {
	*tls.Conn
	below netio.Conn
}

var _ netio.Conn = overTLS{}

// dialTLS shakes hands over a connection to the service, which is reset if that fails within
// timeout.
func dialTLS(
	ctx context.Context, c net.Conn, config *tls.Config, timeout time.Duration,
) (net.Conn, error) {
	below := wrap(c)
	over := overTLS{tls.Client(withoutEnd{below}, config), below}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := over.HandshakeContext(ctx); err != nil {
		_ = netio.Reset(below)
		return nil, err
	}
	return over, nil
}

// withoutEnd is a connection whose end is an error: that of TLS, which comes before, is what
// counts, and anybody can make this one. Package tls would take it for an end.
type withoutEnd struct{ netio.Conn }

var errCutTLS = errors.New("the service's connection has ended, and TLS has not")

// Read implements net.Conn.
func (c withoutEnd) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = errCutTLS
	}
	return n, err
}

// Reset implements netio.Resetter.
func (c overTLS) Reset() error { return netio.Reset(c.below) }
